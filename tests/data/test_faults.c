/* SPDX-License-Identifier: Apache-2.0
 * Whatever the system refuses, the data path gives the right records or an error that says what
 * went wrong, keeps no memory, and needs little.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "data/crc32c.h"
#include "data/pairs.h"
#include "data/record_file.h"
#include "data/record_index.h"
#include "data/shards.h"
#include "tests/data/faults.h"
#include "tests/data/indexed_file.h"
#include "tests/data/pair_files.h"

static char path[64];

static void set_up(void) {
    snprintf(path, sizeof path, "/tmp/tandem_faults_%ld", (long)getpid());
}

static void tear_down(void) {
    td_test_fail_read(-1);
    td_test_fail_allocation(-1);
    pair_directory_remove();
    remove_indexed(path);
}

TestSuite(faults, .init = set_up, .fini = tear_down);

enum { RECORDS = 30 };

static void write_file(td_compression compression) {
    td_tfrecord_writer writer;
    uint8_t bytes[RECORDS * 50];
    cr_assert_eq(td_tfrecord_create_compressed(path, compression, &writer), TD_OK);
    for (int i = 0; i < RECORDS; i++) {
        memset(bytes, i, (size_t)i * 50);
        cr_assert_eq(td_tfrecord_append(&writer, bytes, (size_t)i * 50), TD_OK);
    }
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK);
}

/* Every record that is given is the right one. */
static td_status check_record(const td_tfrecord *record, int i) {
    bool good = record->size == (size_t)i * 50;
    for (size_t k = 0; good && k < record->size; k++) {
        good = record->data[k] == i;
    }
    cr_assert(good, "record %d", i);
    return TD_OK;
}

static td_status read_file(void) {
    td_record_file *file;
    td_tfrecord record;
    bool end = false;
    int n = 0;
    TD_TRY(td_record_file_open(path, &(td_tfrecord_options){0}, &file));
    td_status status;
    while ((status = td_record_file_next(file, &record, &end)) == TD_OK && !end) {
        check_record(&record, n++);
    }
    td_record_file_close(file);
    cr_assert(status != TD_OK || n == RECORDS, "%d records without an error", n);
    return status;
}

static td_status read_shards(void) {
    td_shards *shards;
    td_buffer buffer = {0};
    td_status status = TD_OK;
    TD_TRY(td_shards_open(path, &shards));
    cr_assert_eq(td_shards_count(shards), RECORDS);
    for (int i = RECORDS - 1; i >= 0 && status == TD_OK; i--) {
        td_tfrecord record;
        status = td_shards_read(shards, i, &buffer, &record);
        if (status == TD_OK) {
            check_record(&record, i);
        }
    }
    td_buffer_destroy(&buffer);
    td_shards_close(shards);
    return status;
}

static td_status write_index(void) {
    int64_t records;
    return td_record_index_write(path, &records);
}

static td_tokenizer *tokenizer; /* of the test below: learning one is no part of it */

static td_status load_batches(void) {
    td_pairs *pairs;
    td_loader *loader = NULL;
    const float *images;
    const int32_t *tokens;
    int64_t wait_ns;
    TD_TRY(td_pairs_open(&(td_pairs_options){.path = pair_directory()}, &pairs));
    td_loader_options options = {.pairs = pairs,
                                 .tokenizer = tokenizer,
                                 .batch = 4,
                                 .rows = 4,
                                 .image_size = 8,
                                 .context = 8,
                                 .workers = 2,
                                 .pu = -1,
                                 .cache_bytes = 1 << 16};
    td_status status = td_loader_create(&options, &loader);
    for (int i = 0; i < 4 && status == TD_OK; i++) {
        status = td_loader_next(loader, &images, &tokens, &wait_ns);
    }
    td_loader_destroy(loader);
    td_pairs_close(pairs);
    return status;
}

static td_status extend_file(void) {
    td_tfrecord_writer writer;
    TD_TRY(td_tfrecord_extend(path, &writer));
    td_status status = td_tfrecord_append(&writer, "x", 1);
    td_tfrecord_abort(&writer);
    return status;
}

typedef td_status work_fn(void);

Test(faults, short_and_interrupted_reads_change_nothing) {
    static const int64_t sizes[] = {1, 2, 3, 7, 100};
    for (int mapped = 0; mapped < 2; mapped++) {
        td_test_forbid_mapping(mapped == 0);
        for (int c = 0; c < TD_COMPRESSION_COUNT; c++) {
            td_test_short_reads(0);
            write_file((td_compression)c);
            for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                td_test_short_reads(sizes[i]);
                cr_expect_eq(read_file(), TD_OK, "%s", td_error());
                cr_expect(c != 0 || read_shards() == TD_OK, "%s", td_error());
            }
        }
    }
    td_test_short_reads(0);
}

/* The disk fails at every read in turn: the error names the file, and no record is wrong. */
static void fail_every_read(work_fn *work, const char *what) {
    int64_t n = 0;
    for (;; n++) {
        td_test_fail_read(n);
        td_status status = work();
        if (!td_test_read_failed()) {
            cr_assert_eq(status, TD_OK, "%s: %s", what, td_error());
            break;
        }
        cr_assert_eq(status, TD_EIO, "%s, read %lld: %s", what, (long long)n, td_error());
        cr_assert_not_null(strstr(td_error(), path), "%s: %s", what, td_error());
        cr_assert_not_null(strstr(td_error(), "Input/output error"), "%s", td_error());
    }
    td_test_fail_read(-1);
    cr_expect_gt(n, 0, "%s: nothing was read", what);
}

Test(faults, a_failing_disk_is_an_error_that_names_the_file) {
    td_test_forbid_mapping(true);
    for (int c = 0; c < TD_COMPRESSION_COUNT; c++) {
        write_file((td_compression)c);
        fail_every_read(read_file, td_compression_option((td_compression)c));
    }
    write_file(TD_COMPRESSION_NONE);
    fail_every_read(read_shards, "shards");
    fail_every_read(write_index, "index");
}

/* Every allocation fails in turn: TD_ENOMEM, and all that was taken is given back. ahead: the work
 * may have failed at something that nobody asked for any more. */
static void fail_every_allocation(work_fn *work, bool ahead, const char *what) {
    int64_t n = 0;
    cr_assert_eq(work(), TD_OK, "%s: %s", what, td_error()); /* what is made once is there */
    for (;; n++) {
        int64_t before = td_test_live_blocks();
        td_test_fail_allocation(n);
        td_status status = work();
        bool failed = td_test_allocation_failed();
        td_test_fail_allocation(-1);
        cr_assert_eq(td_test_live_blocks(), before, "%s: allocation %lld: %lld blocks are lost",
                     what, (long long)n, (long long)(td_test_live_blocks() - before));
        if (!failed) {
            cr_assert_eq(status, TD_OK, "%s: %s", what, td_error());
            break;
        }
        cr_assert(status == TD_ENOMEM || (ahead && status == TD_OK), "%s: allocation %lld: %s",
                  what, (long long)n, status == TD_OK ? "no error" : td_error());
    }
    cr_expect_gt(n, 1, "%s allocates", what);
}

Test(faults, no_memory_is_an_error_and_leaks_nothing) {
    for (int c = 0; c < TD_COMPRESSION_COUNT; c++) {
        write_file((td_compression)c);
        fail_every_allocation(read_file, false, td_compression_option((td_compression)c));
    }
    write_file(TD_COMPRESSION_NONE);
    fail_every_allocation(read_shards, false, "shards without an index");
    fail_every_allocation(write_index, false, "index");
    fail_every_allocation(read_shards, false, "shards with an index");
    fail_every_allocation(extend_file, false, "extend");
}

Test(faults, no_memory_in_the_loader) {
    pair_shards(12, 2, NULL, 0);
    cr_assert_eq(td_tokenizer_load(NULL, &tokenizer), TD_OK);
    fail_every_allocation(load_batches, true, "loader");
    td_tokenizer_destroy(tokenizer);
}

/* A file of 640 MiB in 24 MiB more than the program has: records of 1 MiB of zeros, whose payloads
 * are holes of the file. */
Test(faults, a_file_larger_than_memory_is_read_in_bounds) {
    enum { SIZE = 1 << 20, COUNT = 640, MORE = 24 << 20 };
#if defined __SANITIZE_ADDRESS__
    cr_skip_test("the sanitizer ends a program that gets no memory");
#endif
    uint8_t *zeros = td_alloc_zero(SIZE);
    td_tfrecord_frame frame = td_tfrecord_frame_of(zeros, SIZE);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    for (int64_t i = 0; i < COUNT; i++) {
        off_t at = (off_t)(i * (SIZE + TD_TFRECORD_FRAME_BYTES));
        cr_assert_eq(pwrite(fd, frame.header, sizeof frame.header, at), (ssize_t)12);
        cr_assert_eq(pwrite(fd, frame.footer, sizeof frame.footer, at + 12 + SIZE), (ssize_t)4);
    }
    close(fd);
    td_free(zeros);
    long long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    cr_assert_not_null(statm);
    cr_assert_eq(fscanf(statm, "%lld", &pages), 1);
    fclose(statm);
    struct rlimit limit, old;
    cr_assert_eq(getrlimit(RLIMIT_AS, &old), 0);
    limit = old;
    limit.rlim_cur = (rlim_t)(pages * sysconf(_SC_PAGESIZE) + MORE);
    cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
    int64_t records[2] = {0};
    td_status status[2];
    for (int mapped = 0; mapped < 2; mapped++) {
        td_record_file *file;
        td_tfrecord record;
        bool end = false;
        td_test_forbid_mapping(mapped == 0);
        status[mapped] = td_record_file_open(path, &(td_tfrecord_options){0}, &file);
        while (status[mapped] == TD_OK &&
               (status[mapped] = td_record_file_next(file, &record, &end)) == TD_OK && !end) {
            records[mapped]++;
        }
        td_record_file_close(file);
    }
    void *too_much = td_alloc((size_t)SIZE * COUNT);
    setrlimit(RLIMIT_AS, &old);
    cr_expect_null(too_much, "the limit holds");
    for (int mapped = 0; mapped < 2; mapped++) {
        cr_expect_eq(status[mapped], TD_OK, "%s", td_error());
        cr_expect_eq(records[mapped], COUNT);
    }
}
