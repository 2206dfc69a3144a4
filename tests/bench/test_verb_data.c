/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verb_data.h"
#include "data/shards.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "bench/verbs.h"
#include "folder_files.h"

static char directory[64], first_shard[128];

static void set_up(void) {
    snprintf(directory, sizeof directory, "/tmp/tandem_verb_data_%ld", (long)getpid());
    snprintf(first_shard, sizeof first_shard, "%s/synth-00000-of-00002.tfrecord", directory);
}

static void tear_down(void) {
    folder_files(directory, true);
}

/* Runs `tandem data <words>`; the words end with NULL. */
static td_status data(const char *const *words) {
    char *argv[16] = {td_strdup("data")};
    int argc = 1;
    for (; words[argc - 1] != NULL; argc++) {
        cr_assert_lt(argc, 15);
        argv[argc] = td_strdup(words[argc - 1]);
    }
    td_status status = td_verb_data(argc, argv);
    fflush(stdout);
    for (int i = 0; i < argc; i++) {
        td_free(argv[i]);
    }
    return status;
}
#define DATA(...) data((const char *const[]){__VA_ARGS__, NULL})

static void make(void) {
    td_status status =
        DATA("make", "--out", directory, "--count", "20", "--shards", "2", "--size", "32");
    cr_assert_eq(status, TD_OK, "%s", td_error());
    cr_assert_eq(folder_files(directory, false), 2);
}

/* Changes one byte of the first shard, or cuts it there. */
static void damage(size_t at, bool cut) {
    char *bytes;
    size_t size;
    cr_assert_eq(td_file_read(first_shard, &bytes, &size), TD_OK, "%s", td_error());
    cr_assert_lt(at, size);
    bytes[at] = (char)(bytes[at] ^ 1);
    cr_assert_eq(td_file_write(first_shard, bytes, cut ? at : size), TD_OK, "%s", td_error());
    td_free(bytes);
}

TestSuite(verb_data, .init = set_up, .fini = tear_down);

Test(verb_data, usage) {
    cr_expect_eq(data((const char *const[]){NULL}), TD_EUSAGE);
    cr_expect_eq(DATA("bogus"), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "bogus"));
    cr_expect_eq(DATA("make"), TD_EUSAGE);
    cr_expect_eq(DATA("make", "--out", directory, "--shards", "0"), TD_EUSAGE);
    cr_expect_eq(DATA("verify"), TD_EUSAGE);
    cr_expect_eq(DATA("import", "--out", directory), TD_EUSAGE);
    cr_expect_eq(DATA("import", "--out", directory, "--openclipart", "--tsv", "x"), TD_EUSAGE);
    cr_expect_eq(DATA("verify", "/nonexistent/file"), TD_EIO);
    cr_expect_eq(DATA("--help"), TD_OK);
    cr_expect_eq(DATA("stat", "--help"), TD_OK);
    cr_expect_eq(folder_files(directory, false), 0);
}

Test(verb_data, what_is_made_is_good) {
    make();
    cr_expect_eq(DATA("verify", directory, "--deep"), TD_OK, "%s", td_error());
    cr_expect_eq(DATA("cat", directory, "--limit", "3"), TD_OK, "%s", td_error());
    cr_expect_eq(DATA("stat", directory), TD_OK, "%s", td_error());
    cr_expect_eq(DATA("make", "--out", directory, "--count", "5"), TD_EUSAGE,
                 "the directory is taken");
}

Test(verb_data, damage_is_found) {
    static const size_t places[] = {0, 9, 13, 40};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        for (int cut = 0; cut < 2; cut++) {
            make();
            damage(places[i], cut == 1);
            td_status wanted =
                cut == 1 && places[i] == 0 ? TD_OK : TD_ECHECK; /* an empty file is good */
            cr_expect_eq(DATA("verify", directory), wanted, "byte %zu", places[i]);
            cr_expect_eq(DATA("cat", directory), wanted, "byte %zu", places[i]);
            cr_expect_eq(DATA("stat", directory), wanted, "byte %zu", places[i]);
            folder_files(directory, true);
        }
    }
}

/* A good frame around something that is no pair is found by --deep only. */
/* An index has a line a record; a repaired file is good, and has the others. */
Test(verb_data, index_and_repair) {
    char lines[160], repaired[160];
    snprintf(lines, sizeof lines, "%s.idx", first_shard);
    snprintf(repaired, sizeof repaired, "%s/repaired", directory);
    cr_assert_eq(
        data((const char *[]){"make", "--out", directory, "--count", "9", "--shards", "2", NULL}),
        TD_OK, "%s", td_error());
    cr_expect_eq(data((const char *[]){"index", first_shard, NULL}), TD_OK, "%s", td_error());
    char *text;
    size_t size;
    cr_assert_eq(td_file_read(lines, &text, &size), TD_OK);
    cr_expect_eq(strncmp(text, "0 ", 2), 0, "%s", text);
    int n = 0;
    for (size_t i = 0; i < size; i++) {
        n += text[i] == '\n';
    }
    cr_expect_eq(n, 5);
    td_free(text);
    cr_assert_eq(td_file_read(first_shard, &text, &size), TD_OK);
    text[200] = (char)(text[200] ^ 1);
    cr_assert_eq(td_file_write(first_shard, text, size), TD_OK);
    td_free(text);
    cr_expect_eq(data((const char *[]){"repair", first_shard, repaired, NULL}), TD_OK, "%s",
                 td_error());
    cr_expect_eq(data((const char *[]){"verify", repaired, NULL}), TD_OK, "%s", td_error());
    cr_expect_eq(data((const char *[]){"verify", first_shard, NULL}), TD_ECHECK);
    cr_expect_eq(data((const char *[]){"repair", first_shard, first_shard, NULL}), TD_EUSAGE);
    cr_assert_eq(truncate(first_shard, (off_t)size - 3), 0);
    cr_expect_eq(data((const char *[]){"index", first_shard, NULL}), TD_EINPUT);
}

/* A compressed set is looked at as any other; adding it to a shard renews the shard's index. */
Test(verb_data, compressed_sets_and_append) {
    char packed[160], index[160];
    td_shards *shards;
    snprintf(packed, sizeof packed, "%s_packed", directory);
    snprintf(index, sizeof index, "%s.index", first_shard);
    cr_assert_eq(DATA("make", "--out", packed, "--count", "7", "--shards", "2", "--size", "32",
                      "--compression", "gzip"),
                 TD_OK, "%s", td_error());
    cr_expect_eq(DATA("verify", packed, "--deep"), TD_OK, "%s", td_error());
    cr_expect_eq(DATA("cat", packed, "--limit", "1"), TD_OK, "%s", td_error());
    cr_expect_eq(DATA("stat", packed), TD_OK, "%s", td_error());
    cr_expect_eq(td_shards_open(packed, &shards), TD_EINPUT);
    cr_expect_eq(DATA("index", packed), TD_EINPUT);
    cr_expect(strstr(td_error(), ".gz is compressed (gzip)") != NULL &&
                  strstr(td_error(), "tandem data repair") != NULL,
              "%s", td_error());
    make();
    cr_assert_eq(DATA("index", directory), TD_OK, "%s", td_error());
    cr_expect_eq(DATA("append", first_shard), TD_EUSAGE);
    cr_assert_eq(DATA("append", first_shard, packed), TD_OK, "%s", td_error());
    cr_assert_eq(td_shards_open(directory, &shards), TD_OK, "%s", td_error());
    cr_expect_eq(td_shards_count(shards), 27);
    td_shards_close(shards);
    damage(40, false);
    cr_expect_eq(DATA("append", packed, first_shard), TD_EIO, "not a file");
    char second[160];
    snprintf(second, sizeof second, "%s/synth-00001-of-00002.tfrecord", directory);
    cr_expect_eq(DATA("append", second, first_shard), TD_EINPUT, "what is added is damaged");
    cr_assert_eq(td_shards_open(second, &shards), TD_OK, "%s", td_error());
    cr_expect_eq(td_shards_count(shards), 10, "and nothing was added");
    td_shards_close(shards);
    unlink(index);
    folder_files(packed, true);
}

Test(verb_data, deep_looks_into_records) {
    static const unsigned char frame[] = {3,    0,    0,   0,   0,   0,    0,    0,    0xb0, 0x99,
                                          0x49, 0x0e, 'f', 'o', 'o', 0x61, 0x8a, 0xbe, 0xfe};
    make();
    cr_assert_eq(td_file_write(first_shard, frame, sizeof frame), TD_OK);
    cr_expect_eq(DATA("verify", directory), TD_OK, "%s", td_error());
    cr_expect_eq(DATA("verify", directory, "--deep"), TD_ECHECK);
}

Test(verb_data, an_interrupted_make_leaves_no_file) {
    td_interrupt_install();
    raise(SIGINT);
    cr_expect_eq(DATA("make", "--out", directory, "--count", "1000000"), TD_EINTERRUPTED);
    cr_expect_eq(folder_files(directory, false), 0);
}

/* Within a file too: neither the new file nor a longer one is there afterwards. */
Test(verb_data, an_interrupted_copy_changes_no_file) {
    char repaired[160];
    char *before, *after;
    size_t n_before, n_after;
    make();
    snprintf(repaired, sizeof repaired, "%s/repaired", directory);
    cr_assert_eq(td_file_read(first_shard, &before, &n_before), TD_OK, "%s", td_error());
    td_interrupt_install();
    raise(SIGINT);
    cr_expect_eq(DATA("repair", first_shard, repaired), TD_EINTERRUPTED);
    cr_expect_eq(DATA("append", first_shard, first_shard), TD_EINTERRUPTED);
    cr_expect_eq(folder_files(directory, false), 2);
    cr_assert_eq(td_file_read(first_shard, &after, &n_after), TD_OK, "%s", td_error());
    cr_expect(n_after == n_before && memcmp(after, before, n_after) == 0);
    td_free(before);
    td_free(after);
}
