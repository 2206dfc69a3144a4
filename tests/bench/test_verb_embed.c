/* SPDX-License-Identifier: Apache-2.0
 * `tandem embed`, training from what it wrote, and training from augmented images.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/text.h"
#include "bench/verbs.h"
#include "data/pair.h"
#include "data/shards.h"
#include "data/synth.h"

enum { PAIRS = 60, EMBED = 32, BAD_IMAGE = 7, BAD_RECORD = 20 };

static char root[64];

static const char *at(const char *name) {
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

typedef td_status verb_fn(int argc, char **argv);

/* Runs a verb; the words end with NULL. */
static td_status run(verb_fn *verb, const char *const *words) {
    char *argv[40] = {td_strdup("verb")};
    int argc = 1;
    for (; words[argc - 1] != NULL; argc++) {
        cr_assert_lt(argc, 39);
        argv[argc] = td_strdup(words[argc - 1]);
    }
    td_status status = verb(argc, argv);
    fflush(stdout);
    for (int i = 0; i < argc; i++) {
        td_free(argv[i]);
    }
    return status;
}
#define EMBED_VERB(...) run(td_verb_embed, (const char *const[]){__VA_ARGS__, NULL})
#define TRAIN_VERB(...)                                                                            \
    run(td_verb_train, (const char *const[]){"--model", "mu", "--batch", "16", "--log-every",      \
                                             "100", __VA_ARGS__, NULL})

static void write_pair(td_shard_writer *writer, int64_t i) {
    td_image image = {0};
    char *caption = NULL, *label = NULL, key[24];
    void *png;
    size_t size;
    td_text record = {0};
    cr_assert_eq(td_synth_pair(1, i, &image, &caption, &label), TD_OK);
    cr_assert_eq(td_image_encode_png(&image, &png, &size), TD_OK);
    snprintf(key, sizeof key, "pair-%lld", (long long)i);
    if (i == BAD_RECORD) { /* a caption that is a number */
        int64_t number = 5;
        td_span text = td_span_text(key);
        td_feature features[] = {
            {.key = td_span_text("caption"), .kind = TD_FEATURE_INT64, .count = 1, .ints = &number},
            {.key = td_span_text("key"), .kind = TD_FEATURE_BYTES, .count = 1, .bytes = &text}};
        cr_assert_eq(td_example_encode(features, 2, &record), TD_OK);
    } else {
        cr_assert_eq(td_pair_encode(png, i == BAD_IMAGE ? 20 : size, caption, label, key, &record),
                     TD_OK);
    }
    cr_assert_eq(td_shard_writer_append(writer, record.data, record.size), TD_OK);
    td_text_destroy(&record);
    td_image_destroy(&image);
    td_free(png);
    td_free(caption);
    td_free(label);
}

static void set_up(void) {
    td_shard_writer *writer;
    snprintf(root, sizeof root, "/tmp/tandem_verb_embed_%ld", (long)getpid());
    cr_assert_eq(
        td_shard_writer_create(at("pairs"), "pairs", 3, TD_COMPRESSION_NONE, true, &writer), TD_OK);
    for (int64_t i = 0; i < PAIRS; i++) {
        write_pair(writer, i);
    }
    cr_assert_eq(td_shard_writer_commit(writer), TD_OK);
    cr_assert_eq(TRAIN_VERB("--data", at("pairs"), "--steps", "2", "--save", at("w")), TD_OK, "%s",
                 td_error());
}

static void tear_down(void) {
    static const char *const names[] = {"pairs", "one", "two", "features", "w", "lit", "given"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char command[192];
        snprintf(command, sizeof command, "rm -rf '%s'", at(names[i]));
        cr_assert_eq(system(command), 0);
    }
    cr_assert_eq(rmdir(root), 0, "something was left in %s", root);
}

static void expect_same_files(const char *a, const char *b) {
    char *x, *y;
    size_t x_bytes, y_bytes;
    cr_assert_eq(td_file_read(a, &x, &x_bytes), TD_OK, "%s", td_error());
    cr_assert_eq(td_file_read(b, &y, &y_bytes), TD_OK, "%s", td_error());
    cr_assert_eq(x_bytes, y_bytes, "%s, %s", a, b);
    cr_expect(memcmp(x, y, x_bytes) == 0, "%s and %s differ", a, b);
    td_free(x);
    td_free(y);
}

/* What numpy.load expects: magic, version 1.0, a header that ends at a multiple of 64. */
static void expect_matrix(const char *path, long rows) {
    char *data, shape[64];
    size_t bytes;
    cr_assert_eq(td_file_read(path, &data, &bytes), TD_OK, "%s", td_error());
    cr_assert(bytes > 128 && memcmp(data, "\x93NUMPY\x01\x00", 8) == 0);
    size_t start = 10 + (size_t)(unsigned char)data[8] + 256 * (size_t)(unsigned char)data[9];
    cr_assert_eq(start % 64, 0);
    cr_assert_eq(data[start - 1], '\n');
    snprintf(shape, sizeof shape, "'fortran_order': False, 'shape': (%ld, %d), }", rows, EMBED);
    cr_assert_not_null(strstr(data + 10, shape));
    cr_assert_not_null(strstr(data + 10, "'descr': '<f4'"));
    cr_assert_eq(bytes, start + (size_t)rows * EMBED * sizeof(float));
    for (long row = 0; row < rows; row++) {
        float values[EMBED];
        double norm = 0;
        memcpy(values, data + start + (size_t)row * sizeof values, sizeof values);
        for (int i = 0; i < EMBED; i++) {
            norm += (double)values[i] * (double)values[i];
        }
        cr_assert_float_eq(norm, 1, 1e-5, "row %ld has norm %g", row, norm);
    }
    td_free(data);
}

Test(verb_embed, matrices_are_the_same_on_every_layout, .init = set_up, .fini = tear_down) {
    const char *one = at("one"), *two = at("two");
    cr_assert_eq(EMBED_VERB("--weights", at("w"), "--data", at("pairs"), "--out", one), TD_OK, "%s",
                 td_error());
    cr_assert_eq(EMBED_VERB("--weights", at("w"), "--data", at("pairs"), "--out", two, "--layout",
                            "p2xt1:process+over", "--batch", "7"),
                 TD_OK, "%s", td_error());
    expect_matrix(at("one/images.npy"), PAIRS - 2);
    expect_matrix(at("one/texts.npy"), PAIRS - 2);
    expect_same_files(at("one/images.npy"), at("two/images.npy"));
    expect_same_files(at("one/texts.npy"), at("two/texts.npy"));
    expect_same_files(at("one/pairs.jsonl"), at("two/pairs.jsonl"));
    char *lines;
    size_t bytes;
    int n = 0;
    cr_assert_eq(td_file_read(at("one/pairs.jsonl"), &lines, &bytes), TD_OK);
    for (size_t i = 0; i < bytes; i++) {
        n += lines[i] == '\n';
    }
    cr_expect_eq(n, PAIRS - 2);
    cr_expect_null(strstr(lines, "\"pair-7\""));
    cr_expect_not_null(strstr(lines, "\"pair-8\""));
    td_free(lines);
}

/* The checkpoint, moments included, is that of a run of the frozen tower: also with pairs that
 * cannot be decoded, a hold-out, and on another layout. */
Test(verb_embed, training_from_features_is_lit, .init = set_up, .fini = tear_down) {
    cr_assert_eq(EMBED_VERB("--weights", at("w"), "--data", at("pairs"), "--features-out",
                            at("features"), "--towers", "image"),
                 TD_OK, "%s", td_error());
    cr_assert_eq(TRAIN_VERB("--init", at("w"), "--freeze", "image", "--data", at("pairs"),
                            "--steps", "9", "--holdout", "0.2", "--save", at("lit")),
                 TD_OK, "%s", td_error());
    cr_assert_eq(TRAIN_VERB("--init", at("w"), "--freeze", "image", "--data", at("features"),
                            "--steps", "9", "--holdout", "0.2", "--save", at("given"), "--layout",
                            "p2xt1:process", "--accum", "2"),
                 TD_OK, "%s", td_error());
    expect_same_files(at("lit"), at("given"));
    /* What cannot work says why. */
    const char *features = at("features");
    cr_expect_eq(TRAIN_VERB("--init", at("w"), "--data", features, "--steps", "1"), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "--freeze image"));
    cr_expect_eq(TRAIN_VERB("--freeze", "image", "--data", features, "--steps", "1"), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "--init"));
    cr_expect_eq(TRAIN_VERB("--init", at("w"), "--freeze", "image", "--patch-mask", "0.5", "--data",
                            features, "--steps", "1"),
                 TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "whole images"));
    cr_expect_eq(TRAIN_VERB("--init", at("w"), "--freeze", "image", "--aug-scale", "0.9", "--data",
                            features, "--steps", "1"),
                 TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "--aug-scale"));
}

/* The weights and moments at the end of two checkpoints. */
static bool same_tails(const char *a, const char *b) {
    enum { TAIL = 1 << 16 };
    char *x, *y;
    size_t x_bytes, y_bytes;
    cr_assert_eq(td_file_read(a, &x, &x_bytes), TD_OK, "%s", td_error());
    cr_assert_eq(td_file_read(b, &y, &y_bytes), TD_OK, "%s", td_error());
    cr_assert(x_bytes > TAIL && y_bytes > TAIL);
    bool same = memcmp(x + x_bytes - TAIL, y + y_bytes - TAIL, TAIL) == 0;
    td_free(x);
    td_free(y);
    return same;
}

/* The whole checkpoint is the same, though a pair is bad; it goes on with the same augmentation
 * only. */
Test(verb_embed, augmented_training_has_one_answer, .init = set_up, .fini = tear_down) {
#define AUGMENTED(...)                                                                             \
    TRAIN_VERB("--data", at("pairs"), "--schedule", "const", "--aug-scale", "0.4,0.9",             \
               "--aug-flip", "0.5", "--save", __VA_ARGS__)
    cr_assert_eq(AUGMENTED(at("lit"), "--steps", "9"), TD_OK, "%s", td_error());
    cr_assert_eq(AUGMENTED(at("given"), "--steps", "9", "--layout", "p1xt2"), TD_OK);
    expect_same_files(at("lit"), at("given"));
    cr_assert_eq(AUGMENTED(at("given"), "--steps", "9", "--layout", "p2xt1:process",
                           "--loader-workers", "3", "--data-cache", "0"),
                 TD_OK);
    expect_same_files(at("lit"), at("given"));
    cr_assert_eq(TRAIN_VERB("--data", at("pairs"), "--schedule", "const", "--save", at("one"),
                            "--steps", "9"),
                 TD_OK);
    cr_expect(!same_tails(at("lit"), at("one")), "augmentation changes nothing");
    cr_assert_eq(AUGMENTED(at("one"), "--steps", "4"), TD_OK);
    cr_assert_eq(AUGMENTED(at("two"), "--steps", "9", "--resume", at("one"), "--loader-workers",
                           "2", "--prefetch", "3"),
                 TD_OK, "%s", td_error());
    expect_same_files(at("lit"), at("two"));
    cr_expect_eq(TRAIN_VERB("--data", at("pairs"), "--steps", "9", "--resume", at("one")),
                 TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "written with --aug-scale 0.4,0.9 --aug-flip 0.5"), "%s",
                       td_error());
    cr_expect_eq(
        TRAIN_VERB("--data", at("pairs"), "--steps", "9", "--resume", at("w"), "--aug-flip", "0.5"),
        TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "written with no augmentation"), "%s", td_error());
}

Test(verb_embed, usage) {
    cr_expect_eq(EMBED_VERB("--out", "x"), TD_EUSAGE);
    cr_expect_eq(EMBED_VERB("--weights", "x"), TD_EUSAGE);
    cr_expect_eq(EMBED_VERB("--weights", "/nowhere", "--out", "x"), TD_EIO);
    cr_expect_eq(EMBED_VERB("--weights", "x", "--features-out", "y", "--towers", "text"),
                 TD_EUSAGE);
    cr_expect_eq(EMBED_VERB("--weights", "x", "--out", "y", "--held-out"), TD_EUSAGE);
}
