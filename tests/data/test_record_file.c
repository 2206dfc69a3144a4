/* SPDX-License-Identifier: Apache-2.0
 * Record files of every compression: written, read with damage passed over, indexed, extended.
 */
#include "data/record_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/rng.h"
#include "data/byte_stream.h"
#include "data/crc32c.h"
#include "data/record_index.h"
#include "data/shards.h"
#include "tests/data/indexed_file.h"

static char path[64];

static void set_up(void) {
    snprintf(path, sizeof path, "/tmp/tandem_record_file_%ld", (long)getpid());
}

static void tear_down(void) {
    remove_indexed(path);
}

TestSuite(record_file, .init = set_up, .fini = tear_down);

enum { RECORDS = 40, BYTES_MAX = 4000 };

/* Record i of every file here: its size and bytes follow from i. */
static size_t record_of(int i, uint8_t bytes[BYTES_MAX]) {
    td_rng rng = td_rng_make(7, TD_PURPOSE_TEST, (uint64_t)i);
    size_t size = i % 5 == 0 ? 0 : td_rng_u32(&rng) % (i % 7 == 0 ? BYTES_MAX : 90);
    for (size_t k = 0; k < size; k++) {
        bytes[k] = (uint8_t)(td_rng_u32(&rng) % 3 == 0 ? td_rng_u32(&rng) : 'a');
    }
    return size;
}

static void write_records(td_compression compression, int n) {
    td_tfrecord_writer writer;
    uint8_t bytes[BYTES_MAX];
    cr_assert_eq(td_tfrecord_create_compressed(path, compression, &writer), TD_OK, "%s",
                 td_error());
    for (int i = 0; i < n; i++) {
        size_t size = record_of(i, bytes);
        cr_assert_eq(td_tfrecord_append(&writer, bytes, size), TD_OK, "%s", td_error());
        if (i == n / 2) {
            cr_assert_eq(td_tfrecord_flush(&writer), TD_OK, "%s", td_error());
        }
    }
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK, "%s", td_error());
}

typedef struct reading {
    int n, damaged, numbers[RECORDS * 2];
    td_damage_kind kinds[RECORDS];
    int64_t lost, end;
} reading;

static void note(void *arg, const td_tfrecord_damage *damage) {
    reading *got = arg;
    cr_assert_lt(got->damaged, RECORDS);
    cr_assert_neq(damage->message[0], '\0');
    got->kinds[got->damaged++] = damage->kind;
    got->lost += damage->lost_bytes;
}

/* Which of the records these bytes are; -1: none of them. */
static int number_of(const td_tfrecord *record) {
    uint8_t bytes[BYTES_MAX];
    for (int i = 1; i < RECORDS; i++) {
        if (record_of(i, bytes) == record->size && record->size > 0 &&
            memcmp(bytes, record->data, record->size) == 0) {
            return i;
        }
    }
    return record->size == 0 ? 0 : -1;
}

static void read_stream(td_span data, td_compression compression, reading *got) {
    td_record_stream *stream;
    td_span span;
    bool end = false;
    *got = (reading){0};
    cr_assert_eq(td_record_stream_open_span(data, "memory", compression, TD_STREAM_STRICT, &stream),
                 TD_OK);
    td_record_stream_skip(stream, note, got);
    for (;;) {
        cr_assert_eq(td_record_stream_next(stream, &span, &end), TD_OK, "%s", td_error());
        if (end) {
            break;
        }
        td_tfrecord record = {.data = span.data, .size = span.size};
        cr_assert_lt(got->n, RECORDS * 2);
        got->numbers[got->n++] = number_of(&record);
    }
    td_tfrecord_stats stats = td_record_stream_get_stats(stream);
    cr_expect_eq(stats.records, got->n);
    cr_expect_eq(stats.damaged, got->damaged);
    cr_expect_eq(stats.lost_bytes, got->lost);
    td_record_stream_close(stream);
}

static void read_file(reading *got) {
    td_tfrecord_options options = {TD_TFRECORD_SKIP, false, note, got};
    td_record_file *file;
    td_tfrecord record;
    bool end = false;
    *got = (reading){0};
    cr_assert_eq(td_record_file_open(path, &options, &file), TD_OK, "%s", td_error());
    while (td_record_file_next(file, &record, &end) == TD_OK && !end) {
        cr_assert_lt(got->n, RECORDS * 2);
        got->numbers[got->n++] = number_of(&record);
    }
    cr_expect(end);
    td_record_file_close(file);
}

static void expect_all(const reading *got) {
    uint8_t bytes[BYTES_MAX];
    cr_assert_eq(got->n, RECORDS);
    cr_expect_eq(got->damaged, 0);
    for (int i = 0; i < RECORDS; i++) {
        cr_expect_eq(got->numbers[i], record_of(i, bytes) == 0 ? 0 : i, "record %d", i);
    }
}

Test(record_file, every_compression_is_written_detected_and_read) {
    for (int c = 0; c < TD_COMPRESSION_COUNT; c++) {
        td_compression found;
        reading got;
        write_records((td_compression)c, RECORDS);
        cr_assert_eq(td_record_file_compression(path, &found), TD_OK);
        cr_expect_eq(found, (td_compression)c);
        read_file(&got);
        expect_all(&got);
        cr_expect_eq(td_compression_of_option(td_compression_option(found)), found);
    }
}

/* A stream finds again what the reader of files does, after the same damage. */
Test(record_file, streams_pass_over_the_damage_that_files_do) {
    char *good;
    size_t size;
    write_records(TD_COMPRESSION_NONE, 12);
    cr_assert_eq(td_file_read(path, &good, &size), TD_OK);
    uint8_t *bad = td_alloc(size + 1);
    for (size_t at = 0; at < 2 * size; at++) {
        size_t length = at < size ? size : at - size;
        memcpy(bad, good, length);
        if (at < size) {
            bad[at] ^= (uint8_t)(1 << at % 8);
        }
        cr_assert_eq(td_file_write(path, bad, length), TD_OK);
        reading file, stream;
        td_tfrecord_options options = {TD_TFRECORD_SKIP, false, note, &file};
        td_tfrecord_reader *reader;
        td_tfrecord record;
        bool end = false;
        file = (reading){0};
        cr_assert_eq(td_tfrecord_open(path, &options, &reader), TD_OK);
        while (td_tfrecord_next(reader, &record, &end) == TD_OK && !end) {
            file.numbers[file.n++] = number_of(&record);
        }
        td_tfrecord_close(reader);
        read_stream((td_span){bad, length}, TD_COMPRESSION_NONE, &stream);
        cr_assert_eq(stream.n, file.n, "damage %zu: %d records instead of %d", at, stream.n,
                     file.n);
        cr_assert_eq(stream.lost, file.lost, "damage %zu", at);
        cr_assert_eq(stream.damaged, file.damaged, "damage %zu", at);
        cr_assert_arr_eq(stream.numbers, file.numbers, (size_t)file.n * sizeof *file.numbers);
        cr_assert_arr_eq(stream.kinds, file.kinds, (size_t)file.damaged * sizeof *file.kinds);
    }
    td_free(good);
    td_free(bad);
}

/* What was uncompressed before the damage is given; the rest is one lost stretch. */
Test(record_file, a_cut_compressed_stream_gives_what_it_holds) {
    static const td_compression kinds[] = {TD_COMPRESSION_GZIP, TD_COMPRESSION_ZLIB,
                                           TD_COMPRESSION_ZSTD, TD_COMPRESSION_SNAPPY};
    for (size_t c = 0; c < sizeof kinds / sizeof kinds[0]; c++) {
        char *bytes;
        size_t size;
        reading got;
        write_records(kinds[c], RECORDS);
        cr_assert_eq(td_file_read(path, &bytes, &size), TD_OK);
        read_stream((td_span){(uint8_t *)bytes, size - 5}, kinds[c], &got);
        cr_expect_geq(got.damaged, 1, "compression %d", (int)kinds[c]);
        cr_expect_geq(got.n, kinds[c] == TD_COMPRESSION_SNAPPY ? RECORDS / 2 : RECORDS / 2 + 1);
        for (int i = 0; i < got.n; i++) {
            cr_expect_geq(got.numbers[i], 0, "a made-up record");
        }
        td_free(bytes);
    }
}

Test(record_file, checksums_of_parts_are_joined) {
    uint8_t bytes[3000];
    td_rng rng = td_rng_make(1, TD_PURPOSE_TEST, 0);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)td_rng_u32(&rng);
    }
    uint32_t whole = td_crc32c(bytes, sizeof bytes);
    for (size_t cut = 0; cut <= sizeof bytes; cut += 37) {
        cr_expect_eq(td_crc32c_combine(td_crc32c(bytes, cut),
                                       td_crc32c(bytes + cut, sizeof bytes - cut),
                                       sizeof bytes - cut),
                     whole);
    }
}

static void set_mtime(time_t seconds) {
    const struct timespec times[2] = {{seconds, 0}, {seconds, 0}};
    cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void expect_index(int n, const char *wrong) {
    td_record_index index = {0};
    bool found;
    td_status status = td_record_index_read(path, &index, &found);
    if (wrong != NULL) {
        cr_assert_eq(status, TD_EINPUT, "expected: %s", wrong);
        cr_assert_not_null(strstr(td_error(), wrong), "%s", td_error());
        cr_assert_not_null(strstr(td_error(), path), "%s", td_error());
        return;
    }
    cr_assert_eq(status, TD_OK, "%s", td_error());
    cr_assert(found);
    cr_assert_eq(index.count, n);
    td_tfrecord_reader *reader;
    td_tfrecord record;
    bool end = false;
    cr_assert_eq(td_tfrecord_open(path, &(td_tfrecord_options){0}, &reader), TD_OK);
    for (int i = 0; td_tfrecord_next(reader, &record, &end) == TD_OK && !end; i++) {
        cr_expect_eq(index.offsets[i], record.offset);
    }
    td_tfrecord_close(reader);
    td_record_index_destroy(&index);
}

Test(record_file, an_index_is_of_the_file_as_it_is) {
    int64_t records;
    td_record_index index;
    bool found;
    write_records(TD_COMPRESSION_NONE, RECORDS);
    cr_assert_eq(td_record_index_read(path, &index, &found), TD_OK);
    cr_expect_not(found);
    cr_assert_eq(td_record_index_write(path, &records), TD_OK, "%s", td_error());
    cr_expect_eq(records, RECORDS);
    expect_index(RECORDS, NULL);
    set_mtime(1000); /* as a copy has it: the checksum decides */
    expect_index(RECORDS, NULL);
    int fd = open(path, O_RDWR);
    cr_assert_eq(pwrite(fd, "X", 1, 30), 1);
    close(fd);
    set_mtime(2000);
    expect_index(0, "checksum");
    write_records(TD_COMPRESSION_NONE, RECORDS - 1);
    expect_index(0, "stale");
    cr_assert_eq(td_record_index_write(path, &records), TD_OK);
    expect_index(RECORDS - 1, NULL);
    write_records(TD_COMPRESSION_GZIP, RECORDS);
    cr_expect_eq(td_record_index_write(path, &records), TD_EINPUT);
}

/* Every flipped bit of our own index is found; the text index may lie only where nobody can tell.
 */
Test(record_file, a_damaged_index_is_refused) {
    int64_t records;
    char name[96], *text;
    size_t size;
    write_records(TD_COMPRESSION_NONE, 6);
    cr_assert_eq(td_record_index_write(path, &records), TD_OK);
    snprintf(name, sizeof name, "%s" TD_INDEX_ENDING, path);
    cr_assert_eq(td_file_read(name, &text, &size), TD_OK);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
        cr_assert_eq(td_file_write(name, text, size), TD_OK);
        td_record_index index = {0};
        bool found;
        td_status status = td_record_index_read(path, &index, &found);
        /* Upper case in the last line's digits says the same number. */
        cr_assert(status == TD_EINPUT || (status == TD_OK && bit / 8 >= size - 9), "bit %zu", bit);
        td_record_index_destroy(&index);
        text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++) {
        cr_assert_eq(td_file_write(name, text, cut), TD_OK);
        expect_index(0, TD_INDEX_ENDING);
    }
    unlink(name);
    td_free(text);
    expect_index(6, NULL); /* the text index */
    snprintf(name, sizeof name, "%s" TD_INDEX_TEXT_ENDING, path);
    cr_assert_eq(td_file_write(name, "0 16\n17 20\n", 11), TD_OK);
    expect_index(0, "record 1 at byte 17");
    cr_assert_eq(td_file_write(name, "0 16\nx\n", 7), TD_OK);
    expect_index(0, "record 1: expected");
    cr_assert_eq(td_file_write(name, "0 16\n", 5), TD_OK);
    expect_index(0, "stale");
}

Test(record_file, shards_use_an_index_and_refuse_a_stale_one) {
    int64_t records;
    td_shards *shards;
    write_records(TD_COMPRESSION_NONE, RECORDS);
    cr_assert_eq(td_record_index_write(path, &records), TD_OK);
    cr_assert_eq(td_shards_open(path, &shards), TD_OK, "%s", td_error());
    cr_expect_eq(td_shards_count(shards), RECORDS);
    td_buffer buffer = {0};
    for (int i = 0; i < RECORDS; i++) {
        td_tfrecord record;
        uint8_t bytes[BYTES_MAX];
        size_t size = record_of(i, bytes);
        cr_assert_eq(td_shards_read(shards, i, &buffer, &record), TD_OK, "%s", td_error());
        cr_assert_eq(record.size, size);
        cr_expect_arr_eq(record.data, bytes, size);
    }
    td_buffer_destroy(&buffer);
    td_shards_close(shards);
    write_records(TD_COMPRESSION_NONE, RECORDS - 3);
    cr_expect_eq(td_shards_open(path, &shards), TD_EINPUT);
    tear_down();
    write_records(TD_COMPRESSION_ZSTD, RECORDS);
    cr_expect_eq(td_shards_open(path, &shards), TD_EINPUT);
    cr_expect_not_null(strstr(td_error(), "zstd"), "%s", td_error());
}

static void extend(int from, int to) {
    td_tfrecord_writer writer;
    uint8_t bytes[BYTES_MAX];
    cr_assert_eq(td_tfrecord_extend(path, &writer), TD_OK, "%s", td_error());
    for (int i = from; i < to; i++) {
        size_t size = record_of(i, bytes);
        cr_assert_eq(td_tfrecord_append(&writer, bytes, size), TD_OK);
    }
    td_tfrecord_writer second;
    cr_expect_eq(td_tfrecord_extend(path, &second), TD_EIO, "two writers");
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK, "%s", td_error());
}

Test(record_file, records_are_added_all_or_none) {
    reading got;
    td_tfrecord_writer writer;
    write_records(TD_COMPRESSION_NONE, 10);
    chmod(path, 0640);
    extend(10, 25);
    extend(25, RECORDS);
    read_file(&got);
    expect_all(&got);
    struct stat info, after;
    cr_assert_eq(stat(path, &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0640u);
    cr_assert_eq(td_tfrecord_extend(path, &writer), TD_OK);
    cr_assert_eq(td_tfrecord_append(&writer, "never", 5), TD_OK);
    td_tfrecord_abort(&writer);
    cr_assert_eq(stat(path, &after), 0);
    cr_expect_eq(after.st_ino, info.st_ino);
    cr_expect_eq(after.st_size, info.st_size);
    cr_expect_eq(td_tfrecord_extend("/nonexistent/x", &writer), TD_EIO);
}

/* Nothing is ever added behind a torn tail, wherever it was torn. */
Test(record_file, a_torn_tail_is_found) {
    char *bytes;
    size_t size;
    td_tfrecord_writer writer;
    write_records(TD_COMPRESSION_NONE, 4);
    cr_assert_eq(td_file_read(path, &bytes, &size), TD_OK);
    int good = 0;
    for (size_t cut = 0; cut <= size; cut++) {
        cr_assert_eq(td_file_write(path, bytes, cut), TD_OK);
        td_status status = td_tfrecord_extend(path, &writer);
        cr_assert(status == TD_OK || status == TD_EINPUT);
        if (status == TD_OK) {
            good++;
            td_tfrecord_abort(&writer);
        } else {
            cr_assert_not_null(strstr(td_error(), path), "%s", td_error());
        }
    }
    cr_expect_eq(good, 5, "the five ends of records");
    td_free(bytes);
    write_records(TD_COMPRESSION_GZIP, 4);
    cr_expect_eq(td_tfrecord_extend(path, &writer), TD_EINPUT);
}
