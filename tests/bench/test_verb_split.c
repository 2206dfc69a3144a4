/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/text.h"
#include "bench/verb_data.h"
#include "data/record_file.h"
#include "data/tfrecord.h"
#include "folder_files.h"

enum { RECORDS = 11, LARGE_BYTES = 9000, SHARDS_MOST = 16 };

static char source[64], out[64];
static char *whole;
static size_t whole_bytes;

static void set_up(void) {
    snprintf(source, sizeof source, "/tmp/tandem_split_%ld.tfrecord", (long)getpid());
    snprintf(out, sizeof out, "/tmp/tandem_split_%ld", (long)getpid());
    uint8_t payload[LARGE_BYTES];
    td_tfrecord_writer writer;
    cr_assert_eq(td_tfrecord_create(source, &writer), TD_OK, "%s", td_error());
    for (int i = 0; i < RECORDS; i++) {
        memset(payload, 'a' + i, sizeof payload);
        size_t size = i % 4 == 3 ? LARGE_BYTES : (size_t)i;
        cr_assert_eq(td_tfrecord_append(&writer, payload, size), TD_OK);
    }
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK, "%s", td_error());
    cr_assert_eq(td_file_read(source, &whole, &whole_bytes), TD_OK);
}

static void tear_down(void) {
    folder_files(out, true);
    unlink(source);
    td_free(whole);
}

TestSuite(verb_split, .init = set_up, .fini = tear_down);

/* Runs `tandem data split <words>`; the words end with NULL. */
static td_status run(const char *const *words) {
    char *argv[16] = {td_strdup("split")};
    int argc = 1;
    for (; words[argc - 1] != NULL; argc++) {
        cr_assert_lt(argc, 15);
        argv[argc] = td_strdup(words[argc - 1]);
    }
    td_status status = td_verb_data_split(argc, argv);
    fflush(stdout);
    for (int i = 0; i < argc; i++) {
        td_free(argv[i]);
    }
    return status;
}
#define SPLIT(...) run((const char *const[]){__VA_ARGS__, NULL})

static int round_robin(int record, int shards) {
    return record % shards;
}

static int contiguous(int record, int shards) {
    int shard = 0;
    while (record >= RECORDS * (shard + 1) / shards) {
        shard++;
    }
    return shard;
}

/* Every byte of every shard is where the order says; frames are compared whole. */
static void check_shards(const char *name, int shards, int (*shard_of)(int, int)) {
    char *text[SHARDS_MOST];
    size_t size[SHARDS_MOST], at[SHARDS_MOST] = {0};
    cr_assert_eq(folder_files(out, false), shards);
    for (int s = 0; s < shards; s++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s-%05d-of-%05d.tfrecord", out, name, s, shards);
        cr_assert_eq(td_file_read(path, &text[s], &size[s]), TD_OK, "%s", td_error());
    }
    size_t from = 0;
    for (int i = 0; i < RECORDS; i++) {
        int s = shard_of(i, shards);
        uint32_t length;
        memcpy(&length, whole + from, sizeof length);
        size_t frame = TD_TFRECORD_FRAME_BYTES + length;
        cr_assert_leq(at[s] + frame, size[s], "record %d", i);
        cr_expect_eq(memcmp(text[s] + at[s], whole + from, frame), 0, "record %d", i);
        at[s] += frame;
        from += frame;
    }
    cr_expect_eq(from, whole_bytes);
    for (int s = 0; s < shards; s++) {
        cr_expect_eq(at[s], size[s], "shard %d has more", s);
        td_free(text[s]);
    }
}

Test(verb_split, shards_are_the_whole) {
    static const int counts[] = {1, 3, 11, 16};
    char name[64];
    snprintf(name, sizeof name, "tandem_split_%ld", (long)getpid());
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        char shards[8];
        snprintf(shards, sizeof shards, "%d", counts[i]);
        cr_assert_eq(SPLIT(source, "--shards", shards, "--out", out), TD_OK, "%s", td_error());
        check_shards(name, counts[i], round_robin);
        folder_files(out, true);
        cr_assert_eq(SPLIT(source, "--shards", shards, "--out", out, "--order", "contiguous",
                           "--name", "part"),
                     TD_OK, "%s", td_error());
        check_shards("part", counts[i], contiguous);
        folder_files(out, true);
    }
}

/* A record is in the shard whose range of bytes holds its first byte, whoever copies it. */
static int by_range(int record, int shards) {
    size_t at = 0, start = 0;
    for (int i = 0; i <= record; i++) {
        uint32_t length;
        start = at;
        memcpy(&length, whole + at, sizeof length);
        at += TD_TFRECORD_FRAME_BYTES + length;
    }
    int shard = shards - 1;
    while (shard > 0 && start < whole_bytes * (size_t)shard / (size_t)shards) {
        shard--;
    }
    return shard;
}

Test(verb_split, ranges_are_found_without_an_index) {
    static const char *const workers[] = {"1", "3"};
    for (size_t w = 0; w < 2; w++) {
        for (int shards = 1; shards <= 16; shards += 5) {
            char count[8];
            snprintf(count, sizeof count, "%d", shards);
            cr_assert_eq(SPLIT(source, "--shards", count, "--out", out, "--order", "ranges",
                               "--name", "part", "--workers", workers[w]),
                         TD_OK, "%s", td_error());
            check_shards("part", shards, by_range);
            folder_files(out, true);
        }
    }
}

Test(verb_split, shards_are_compressed_when_asked) {
    cr_assert_eq(
        SPLIT(source, "--shards", "2", "--out", out, "--compression", "zstd", "--name", "part"),
        TD_OK, "%s", td_error());
    char shard[256];
    snprintf(shard, sizeof shard, "%s/part-00001-of-00002.tfrecord.zst", out);
    td_compression found;
    cr_assert_eq(td_record_file_compression(shard, &found), TD_OK, "%s", td_error());
    cr_expect_eq(found, TD_COMPRESSION_ZSTD);
    cr_expect_eq(SPLIT(shard, "--shards", "2", "--out", out, "--order", "ranges", "--replace"),
                 TD_EUSAGE, "its own directory");
    cr_expect_eq(SPLIT(shard, "--shards", "2", "--out", "/tmp", "--order", "ranges"), TD_EUSAGE);
    cr_expect_not_null(strstr(td_error(), "zstd"), "%s", td_error());
}

Test(verb_split, compressed_files_are_read) {
    char packed[80], name[64];
    snprintf(packed, sizeof packed, "%s.gz", source);
    snprintf(name, sizeof name, "tandem_split_%ld", (long)getpid());
    gzFile file = gzopen(packed, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(gzwrite(file, whole, (unsigned)whole_bytes), (int)whole_bytes);
    cr_assert_eq(gzclose(file), Z_OK);
    cr_expect_eq(SPLIT(packed, "--shards", "2", "--out", out), TD_OK, "%s", td_error());
    unlink(packed);
    check_shards(name, 2, round_robin);
}

/* Whatever byte is wrong, and wherever the file is cut: an error, and nothing in the directory. */
Test(verb_split, damage_leaves_nothing) {
    static const char *const orders[] = {"round-robin", "contiguous"};
    const size_t places[] = {0, 9, 13, 30, whole_bytes - 1, whole_bytes - 20};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        for (int cut = 0; cut < 2; cut++) {
            whole[places[i]] ^= 1;
            size_t size = cut == 1 ? places[i] + 1 : whole_bytes;
            cr_assert_eq(td_file_write(source, whole, size), TD_OK);
            whole[places[i]] ^= 1;
            for (int order = 0; order < 2; order++) {
                cr_expect_eq(SPLIT(source, "--shards", "3", "--out", out, "--order", orders[order]),
                             TD_EINPUT, "byte %zu", places[i]);
                cr_expect_not_null(strstr(td_error(), source), "%s", td_error());
                cr_expect_eq(folder_files(out, false), 0, "byte %zu", places[i]);
            }
        }
    }
}

/* A file may not grow beyond so many bytes: what a full disk does, at a write or at the end. */
static td_status split_with_room(const char *shards, rlim_t bytes) {
    struct rlimit before, less;
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    less = before;
    less.rlim_cur = bytes;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &less), 0);
    td_status status = SPLIT(source, "--shards", shards, "--out", out);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    return status;
}

Test(verb_split, a_full_disk_leaves_no_half_shard) {
    cr_expect_eq(split_with_room("2", 4096), TD_EIO);
    cr_expect_eq(folder_files(out, false), 0);
    cr_expect_eq(split_with_room("1", whole_bytes - 1), TD_EIO);
    cr_expect_eq(folder_files(out, false), 0);
    cr_expect_eq(split_with_room("1", whole_bytes), TD_OK, "%s", td_error());
    cr_expect_eq(folder_files(out, false), 1);
}

Test(verb_split, usage) {
    cr_expect_eq(SPLIT("--help"), TD_OK);
    cr_expect_eq(SPLIT(source), TD_EUSAGE);
    cr_expect_eq(SPLIT(source, "--shards", "2"), TD_EUSAGE);
    cr_expect_eq(SPLIT(source, "--shards", "0", "--out", out), TD_EUSAGE);
    cr_expect_eq(SPLIT(source, "--shards", "100000", "--out", out), TD_EUSAGE);
    cr_expect_eq(SPLIT(source, "--shards", "2", "--out", out, "--order", "x"), TD_EUSAGE);
    cr_expect_eq(SPLIT(source, "--shards", "2", "--out", out, "--name", "a/b"), TD_EUSAGE);
    cr_expect_eq(SPLIT("-", "--shards", "2", "--out", out, "--order", "contiguous"), TD_EUSAGE);
    cr_expect_eq(SPLIT("/nonexistent/file", "--shards", "2", "--out", out), TD_EIO);
    cr_expect_eq(folder_files(out, false), 0);
}

/* Shards that are there are kept, or go when asked for, but never the file that is split. */
Test(verb_split, replaces_when_asked) {
    char inner[160];
    cr_assert_eq(SPLIT(source, "--shards", "2", "--out", out, "--name", "a"), TD_OK);
    cr_expect_eq(SPLIT(source, "--shards", "3", "--out", out, "--name", "b"), TD_EUSAGE);
    cr_expect_eq(folder_files(out, false), 2);
    cr_expect_eq(SPLIT(source, "--shards", "3", "--out", out, "--name", "b", "--replace"), TD_OK);
    check_shards("b", 3, round_robin);
    snprintf(inner, sizeof inner, "%s/b-00000-of-00003.tfrecord", out);
    cr_expect_eq(SPLIT(inner, "--shards", "2", "--out", out, "--replace"), TD_EUSAGE);
    check_shards("b", 3, round_robin);
}
