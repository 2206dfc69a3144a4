/* SPDX-License-Identifier: Apache-2.0 */
#include "data/pairs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/image.h"
#include "data/pair.h"
#include "data/shards.h"
#include "tests/data/pair_files.h"

TestSuite(pairs, .fini = pair_directory_remove);

static td_pairs *open_pairs(const td_pairs_options *options) {
    td_pairs *pairs;
    cr_assert_eq(td_pairs_open(options, &pairs), TD_OK, "%s", td_error());
    return pairs;
}

Test(pairs, texts_keys_and_images) {
    enum { N = 7, SIZE = 8 };
    pair_shards(N, 2, NULL, 0);
    td_pairs *pairs = open_pairs(&(td_pairs_options){.path = pair_directory()});
    cr_assert_eq(td_pairs_count(pairs), N);
    static const int order[N] = {0, 2, 4, 6, 1, 3, 5};
    for (int i = 0; i < N; i++) {
        char *caption, *label, *key, wanted[32];
        float image[3 * SIZE * SIZE];
        cr_assert_eq(td_pairs_text(pairs, i, &caption, &label), TD_OK, "%s", td_error());
        cr_assert_eq(td_pairs_key(pairs, i, &key), TD_OK);
        cr_assert_eq(td_pairs_image(pairs, i, SIZE, image), TD_OK, "%s", td_error());
        snprintf(wanted, sizeof wanted, "caption %d", order[i]);
        cr_expect_str_eq(caption, wanted);
        snprintf(wanted, sizeof wanted, "label %d", order[i] % 3);
        cr_expect_str_eq(label, wanted);
        snprintf(wanted, sizeof wanted, "key-%d", order[i]);
        cr_expect_str_eq(key, wanted);
        float red = ((float)pair_level(order[i]) / 255.0F - 0.48145466F) / 0.26862954F;
        cr_expect(fabsf(image[0] - red) <= 1e-5F);
        td_free(caption);
        td_free(label);
        td_free(key);
    }
    td_pairs_close(pairs);
}

/* Both sides of a split together are the set, whatever the number of shards; the sides depend on
 * keys alone. */
Test(pairs, the_hold_out_is_a_partition_by_key) {
    enum { N = 200 };
    bool held[N] = {false};
    for (int n_shards = 1; n_shards <= 3; n_shards += 2) {
        int seen[N] = {0};
        pair_shards(N, n_shards, NULL, 0);
        for (int side = 0; side < 2; side++) {
            td_pairs_options options = {.path = pair_directory(),
                                        .holdout = 0.25,
                                        .held_out = side == 1,
                                        .seed = (uint64_t)n_shards};
            td_pairs *pairs = open_pairs(&options);
            if (side == 1) {
                cr_expect(td_pairs_count(pairs) > 25 && td_pairs_count(pairs) < 75, "%lld held out",
                          (long long)td_pairs_count(pairs));
            }
            for (int64_t i = 0; i < td_pairs_count(pairs); i++) {
                char *key;
                cr_assert_eq(td_pairs_key(pairs, i, &key), TD_OK);
                int pair = -1;
                cr_assert_eq(sscanf(key, "key-%d", &pair), 1);
                td_free(key);
                cr_assert(pair >= 0 && pair < N);
                seen[pair]++;
                if (n_shards == 1) {
                    held[pair] = side == 1;
                }
                cr_assert_eq(held[pair], side == 1, "pair %d changed sides", pair);
            }
            td_pairs_close(pairs);
        }
        for (int i = 0; i < N; i++) {
            cr_assert_eq(seen[i], 1);
        }
        pair_directory_remove();
    }
}

Test(pairs, the_procedural_set_needs_no_file) {
    enum { N = 40, SIZE = 32 };
    td_pairs_options options = {.n_synthetic = N, .seed = 3};
    td_pairs *pairs = open_pairs(&options);
    cr_assert_eq(td_pairs_count(pairs), N);
    char *caption, *label, *key;
    static float image[3 * SIZE * SIZE];
    cr_assert_eq(td_pairs_text(pairs, 11, &caption, &label), TD_OK, "%s", td_error());
    cr_assert_eq(td_pairs_key(pairs, 11, &key), TD_OK);
    cr_assert_eq(td_pairs_image(pairs, 11, SIZE, image), TD_OK, "%s", td_error());
    cr_expect_str_eq(key, "synth/3/11");
    cr_expect_gt(strlen(caption), 0u);
    td_free(caption);
    td_free(label);
    td_free(key);
    td_pairs_close(pairs);
}

/* What is wrong with a pair is said with file, record and byte; its neighbours are untouched. */
Test(pairs, bad_pairs_are_named) {
    enum { CASES = 5 };
    static const char *const reasons[CASES] = {"caption", "image/encoded", "", "Example",
                                               "caption"};
    const td_span text = td_span_text("words"), image = td_span_text("nonsense");
    const int64_t number = 3;
    const td_feature only_image = {
        .key = td_span_text(TD_PAIR_IMAGE), .kind = TD_FEATURE_BYTES, .count = 1, .bytes = &image};
    const td_feature only_text = {
        .key = td_span_text(TD_PAIR_CAPTION), .kind = TD_FEATURE_BYTES, .count = 1, .bytes = &text};
    const td_feature both[] = {only_image, only_text};
    const td_feature wrong[] = {only_image,
                                {.key = td_span_text(TD_PAIR_CAPTION),
                                 .kind = TD_FEATURE_INT64,
                                 .count = 1,
                                 .ints = &number}};
    td_text records[CASES + 1] = {0};
    cr_assert_eq(td_example_encode(&only_image, 1, &records[0]), TD_OK);
    cr_assert_eq(td_example_encode(&only_text, 1, &records[1]), TD_OK);
    cr_assert_eq(td_example_encode(both, 2, &records[2]), TD_OK);
    td_text_append(&records[3], "\x0a\x7f garbage", 10);
    cr_assert_eq(td_example_encode(wrong, 2, &records[4]), TD_OK);
    pair_record(9, &records[5]);
    td_shard_writer *writer;
    cr_assert_eq(
        td_shard_writer_create(pair_directory(), "bad", 1, TD_COMPRESSION_NONE, false, &writer),
        TD_OK);
    for (int i = 0; i <= CASES; i++) {
        cr_assert_eq(td_shard_writer_append(writer, records[i].data, records[i].size), TD_OK);
        td_text_destroy(&records[i]);
    }
    cr_assert_eq(td_shard_writer_commit(writer), TD_OK);
    td_pairs *pairs = open_pairs(&(td_pairs_options){.path = pair_directory()});
    float pixels[3 * 8 * 8];
    for (int i = 0; i < CASES; i++) {
        char place[32];
        snprintf(place, sizeof place, "record %d at byte", i);
        cr_expect_eq(td_pairs_image(pairs, i, 8, pixels), TD_EINPUT, "pair %d", i);
        cr_expect_not_null(strstr(td_error(), "bad-00000-of-00001"), "%s", td_error());
        cr_expect_not_null(strstr(td_error(), place), "%s", td_error());
        cr_expect_not_null(strstr(td_error(), reasons[i]), "%s", td_error());
    }
    cr_expect_eq(td_pairs_image(pairs, CASES, 8, pixels), TD_OK, "%s", td_error());
    td_pairs_close(pairs);
}

Test(pairs, odd_options) {
    td_pairs *pairs;
    cr_expect_eq(td_pairs_open(&(td_pairs_options){.n_synthetic = 5, .holdout = 1}, &pairs),
                 TD_EUSAGE);
    cr_expect_eq(td_pairs_open(&(td_pairs_options){.n_synthetic = 0}, &pairs), TD_EINPUT);
    cr_expect_eq(td_pairs_open(&(td_pairs_options){.path = "/nonexistent/dir"}, &pairs), TD_EIO);
    cr_expect_eq(td_pairs_open(&(td_pairs_options){.n_synthetic = 5, .held_out = true}, &pairs),
                 TD_EINPUT);
}

/* ---- sets that are read where they lie ---- */

static void put_octal(char *field, size_t n, uint64_t value) {
    char digits[24];
    snprintf(digits, sizeof digits, "%023llo", (unsigned long long)value);
    memcpy(field, digits + 24 - n, n);
}

/* A member of a tar file; type '0' a file, 'L' a long name, 'x' a pax header. */
static void put_member(td_text *tar, const char *name, char type, const void *bytes, size_t size) {
    char header[512] = {0};
    snprintf(header, 100, "%s", name);
    put_octal(header + 124, 12, size);
    header[156] = type;
    memcpy(header + 257, "ustar\00000", 8);
    memset(header + 148, ' ', 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++) {
        sum += (unsigned char)header[i];
    }
    put_octal(header + 148, 7, sum);
    td_text_append(tar, header, sizeof header);
    td_text_append(tar, bytes, size);
    while (tar->size % 512 != 0) {
        td_text_append(tar, "", 1);
    }
}

static void put_text(td_text *tar, const char *name, const char *text) {
    put_member(tar, name, '0', text, strlen(text));
}

static void picture(int level, void **png, size_t *size) {
    td_image image = {0};
    cr_assert_eq(td_image_create(16, 16, &image), TD_OK);
    memset(image.pixels, level, 3 * 16 * 16);
    cr_assert_eq(td_image_encode_png(&image, png, size), TD_OK);
    td_image_destroy(&image);
}

static char tar_path[96];

static void write_tar(const td_text *tar, size_t size) {
    snprintf(tar_path, sizeof tar_path, "%s/set.tar", pair_directory());
    cr_assert_eq(td_make_directory(pair_directory()), TD_OK);
    cr_assert_eq(td_file_write(tar_path, tar->data, size), TD_OK, "%s", td_error());
}

static td_pairs *open_set(const char *path) {
    td_pairs *pairs;
    cr_assert_eq(td_pairs_open(&(td_pairs_options){.path = path}, &pairs), TD_OK, "%s", td_error());
    return pairs;
}

static void expect_pair(td_pairs *pairs, int64_t index, const char *key, const char *caption,
                        const char *label, int level) {
    char *got_caption, *got_label, *got_key;
    float pixels[3 * 8 * 8];
    cr_assert_eq(td_pairs_text(pairs, index, &got_caption, &got_label), TD_OK, "%s", td_error());
    cr_assert_eq(td_pairs_key(pairs, index, &got_key), TD_OK);
    cr_expect_str_eq(got_caption, caption);
    cr_expect_str_eq(got_label, label);
    cr_expect_str_eq(got_key, key);
    cr_assert_eq(td_pairs_image(pairs, index, 8, pixels), TD_OK, "%s", td_error());
    cr_expect_float_eq(pixels[0] * 0.26862954F + 0.48145466F, (float)level / 255, 1e-5);
    td_free(got_caption);
    td_free(got_label);
    td_free(got_key);
}

/* Members in any order, texts as .txt or .json, names longer than a header holds, and samples that
 * lack something: those are bad pairs, not a bad set. */
static void make_tar(td_text *tar) {
    void *png[3];
    size_t size[3];
    char longer[300], pax[400];
    for (int i = 0; i < 3; i++) {
        picture(40 + 60 * i, &png[i], &size[i]);
    }
    memset(longer, 'n', 280);
    snprintf(longer + 280, 20, ".png");
    put_member(tar, "./", '5', "", 0);
    put_member(tar, "a/001.png", '0', png[0], size[0]);
    put_text(tar, "a/001.txt", "first caption\n");
    put_text(tar, "a/001.cls", "7");
    put_text(tar, "a/002.json", "{\"caption\": \"second \\u00e9\", \"x\": 1}");
    put_member(tar, "a/002.seg.png", '0', png[1], size[1]);
    put_member(tar, "x", 'L', longer, strlen(longer) + 1);
    put_member(tar, "cut", '0', png[2], size[2]);
    snprintf(pax, sizeof pax, "%zu path=%.280s.txt\n", (size_t)294, longer);
    put_member(tar, "x", 'x', pax, strlen(pax));
    put_text(tar, "cut", "third");
    put_text(tar, "a/004.txt", "no image");
    put_text(tar, "a/005.png", "no picture");
    put_text(tar, "a/005.txt", "not an image");
    td_text_append(tar, (const char[1024]){0}, 1024);
    for (int i = 0; i < 3; i++) {
        td_free(png[i]);
    }
}

Test(pairs, tar_files_are_read_in_place) {
    td_text tar = {0};
    char longer[300];
    float pixels[3 * 8 * 8];
    make_tar(&tar);
    write_tar(&tar, tar.size);
    memset(longer, 'n', 280);
    longer[280] = '\0';
    const char *const ways[] = {tar_path, pair_directory()};
    for (int i = 0; i < 2; i++) {
        td_pairs *pairs = open_set(ways[i]);
        cr_assert_eq(td_pairs_count(pairs), 5);
        expect_pair(pairs, 0, "a/001", "first caption", "7", 40);
        expect_pair(pairs, 1, "a/002", "second \xc3\xa9", "", 100);
        expect_pair(pairs, 2, longer, "third", "", 160);
        cr_expect_eq(td_pairs_image(pairs, 3, 8, pixels), TD_EINPUT);
        cr_expect_not_null(strstr(td_error(), "sample 3 (a/004): no image"), "%s", td_error());
        cr_expect_eq(td_pairs_image(pairs, 4, 8, pixels), TD_EINPUT);
        cr_expect_not_null(strstr(td_error(), "sample 4 (a/005)"), "%s", td_error());
        td_pairs_close(pairs);
    }
    td_text_destroy(&tar);
}

/* Cut anywhere, or with any header byte changed: an error that names the file, or fewer pairs. */
Test(pairs, damaged_tar_files_are_named) {
    td_text tar = {0};
    td_pairs *pairs;
    make_tar(&tar);
    int refused = 0, read = 0;
    for (size_t cut = 1; cut < tar.size - 1024; cut += 61) {
        write_tar(&tar, cut);
        td_status status = td_pairs_open(&(td_pairs_options){.path = tar_path}, &pairs);
        if (status == TD_OK) { /* cut in the padding behind a member, or between two */
            cr_assert_leq(td_pairs_count(pairs), 5);
            read++;
            td_pairs_close(pairs);
        } else {
            cr_assert_eq(status, TD_EINPUT, "cut at %zu", cut);
            cr_assert_not_null(strstr(td_error(), tar_path), "%s", td_error());
            refused++;
        }
    }
    cr_expect_gt(refused, 5 * read / 4);
    cr_expect_gt(read, 0);
    for (size_t at = 512; at < 1024; at++) {
        tar.data[at] = (char)(tar.data[at] ^ 4);
        write_tar(&tar, tar.size);
        td_status status = td_pairs_open(&(td_pairs_options){.path = tar_path}, &pairs);
        if (at != 512 + 155) { /* behind the end of the checksum: nothing covers it */
            cr_assert_eq(status, TD_EINPUT, "byte %zu", at);
        } else if (status == TD_OK) {
            td_pairs_close(pairs);
        }
        tar.data[at] = (char)(tar.data[at] ^ 4);
    }
    td_text_destroy(&tar);
}

Test(pairs, tables_are_read_in_place) {
    void *png;
    size_t size;
    char path[128], table[128];
    float pixels[3 * 8 * 8];
    static const char lines[] = "path\tcaption\tlabel\none.png\ta drawing\tart\nbad line\n"
                                "none.png\tnot there\none.png\tagain\r\n";
    cr_assert_eq(td_make_directory(pair_directory()), TD_OK);
    picture(90, &png, &size);
    snprintf(path, sizeof path, "%s/one.png", pair_directory());
    snprintf(table, sizeof table, "%s/set.tsv", pair_directory());
    cr_assert_eq(td_file_write(path, png, size), TD_OK);
    cr_assert_eq(td_file_write(table, lines, sizeof lines - 1), TD_OK);
    td_pairs *pairs = open_set(table);
    cr_assert_eq(td_pairs_count(pairs), 3);
    expect_pair(pairs, 0, "one.png", "a drawing", "art", 90);
    expect_pair(pairs, 2, "one.png", "again", "", 90);
    cr_expect_eq(td_pairs_image(pairs, 1, 8, pixels), TD_EINPUT, "a missing file is a bad pair");
    cr_expect_not_null(strstr(td_error(), "set.tsv line 4"), "%s", td_error());
    td_pairs_close(pairs);
    td_free(png);
}
