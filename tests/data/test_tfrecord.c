/* SPDX-License-Identifier: Apache-2.0 */
#include "data/tfrecord.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/rng.h"
#include "data/byte_stream.h"
#include "data/crc32c.h"
#include "tests/data/recorded_cases.h"

/* A file of the test's own, removed at its end. */
static char path[64];

static void make_path(void) {
    snprintf(path, sizeof path, "/tmp/tandem_tfrecord_%ld", (long)getpid());
}

static void drop_path(void) {
    unlink(path);
}

static void write_bytes(const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

/* What a whole reading of the file gave. */
enum { RECORDS_MAX = 64, PAYLOAD_MAX = 256 };
typedef struct reading {
    int n;
    size_t sizes[RECORDS_MAX];
    int64_t offsets[RECORDS_MAX];
    uint8_t payloads[RECORDS_MAX][PAYLOAD_MAX];
    td_status status;
    int damaged;
    td_damage_kind kinds[RECORDS_MAX];
    td_tfrecord_stats stats;
} reading;

static void note_damage(void *arg, const td_tfrecord_damage *damage) {
    reading *got = arg;
    cr_assert_not_null(strstr(damage->message, path), "the message names the file");
    cr_assert_lt(got->damaged, RECORDS_MAX);
    got->kinds[got->damaged++] = damage->kind;
}

static void read_all(td_tfrecord_policy policy, bool headers_only, reading *got) {
    *got = (reading){0};
    td_tfrecord_options options = {policy, headers_only, note_damage, got};
    td_tfrecord_reader *reader;
    cr_assert_eq(td_tfrecord_open(path, &options, &reader), TD_OK, "%s", td_error());
    for (;;) {
        td_tfrecord record;
        bool end;
        got->status = td_tfrecord_next(reader, &record, &end);
        if (got->status != TD_OK || end) {
            break;
        }
        cr_assert_lt(got->n, RECORDS_MAX);
        got->sizes[got->n] = record.size;
        got->offsets[got->n] = record.offset;
        if (!headers_only) {
            cr_assert_leq(record.size, PAYLOAD_MAX);
            memcpy(got->payloads[got->n], record.data, record.size);
        }
        got->n++;
    }
    if (got->status != TD_OK) {
        td_tfrecord record;
        bool end;
        cr_expect_eq(td_tfrecord_next(reader, &record, &end), got->status, "an error stays");
    }
    got->stats = td_tfrecord_get_stats(reader);
    td_tfrecord_close(reader);
}

static const char *const texts[] = {"alpha", "", "the third record is longer", "z"};
enum { N_TEXTS = 4, FILE_BYTES = 32 + N_TEXTS * 16 };

static void write_texts(void) {
    td_tfrecord_writer writer;
    cr_assert_eq(td_tfrecord_create(path, &writer), TD_OK, "%s", td_error());
    for (int i = 0; i < N_TEXTS; i++) {
        cr_assert_eq(td_tfrecord_append(&writer, texts[i], strlen(texts[i])), TD_OK);
    }
    cr_assert_neq(access(path, F_OK), 0, "the file appears at commit only");
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK, "%s", td_error());
}

static void read_texts(uint8_t bytes[FILE_BYTES]) {
    write_texts();
    FILE *file = fopen(path, "rb");
    cr_assert_eq(fread(bytes, 1, FILE_BYTES, file), (size_t)FILE_BYTES);
    cr_assert_eq(fgetc(file), EOF);
    fclose(file);
}

/* Which of the texts record i of a reading is; they are distinct, so anything else is a made-up
 * record. */
static int text_index(const reading *got, int i) {
    for (int t = 0; t < N_TEXTS; t++) {
        if (strlen(texts[t]) == got->sizes[i] &&
            memcmp(texts[t], got->payloads[i], got->sizes[i]) == 0) {
            return t;
        }
    }
    return -1;
}

TestSuite(tfrecord, .init = make_path, .fini = drop_path);

Test(tfrecord, round_trip_and_known_bytes) {
    uint8_t bytes[FILE_BYTES];
    read_texts(bytes);
    reading got;
    read_all(TD_TFRECORD_STRICT, false, &got);
    cr_assert_eq(got.status, TD_OK, "%s", td_error());
    cr_assert_eq(got.n, N_TEXTS);
    for (int i = 0; i < N_TEXTS; i++) {
        cr_expect_eq(text_index(&got, i), i);
    }
    cr_expect_eq(got.stats.payload_bytes, 32);
    const uint8_t empty[16] = {[8] = 0x29, 0x03, 0x98, 0x07, 0xd8, 0xea, 0x82, 0xa2};
    cr_expect_arr_eq(bytes + 21, empty, 16);

    reading headers;
    read_all(TD_TFRECORD_STRICT, true, &headers);
    cr_assert_eq(headers.n, N_TEXTS);
    cr_expect_arr_eq(headers.offsets, got.offsets, sizeof got.offsets);
    cr_expect_arr_eq(headers.sizes, got.sizes, sizeof got.sizes);
}

Test(tfrecord, empty_file_and_no_file) {
    write_bytes("", 0);
    reading got;
    read_all(TD_TFRECORD_STRICT, false, &got);
    cr_expect_eq(got.status, TD_OK);
    cr_expect_eq(got.n, 0);
    td_tfrecord_reader *reader;
    cr_expect_eq(td_tfrecord_open("/nonexistent/x", &(td_tfrecord_options){0}, &reader), TD_EIO);
    cr_expect_eq(td_tfrecord_open("/tmp", &(td_tfrecord_options){0}, &reader), TD_EIO);
}

/* A record that is longer than the reading window, and records that straddle its edges. */
Test(tfrecord, records_around_the_window) {
    static const size_t sizes[] = {262144 + 1 - 16, 262143 - 12, 5,   262144,
                                   1000000,         1,           300, 262128};
    enum { N = sizeof sizes / sizeof sizes[0] };
    uint8_t *payload = td_alloc(1000000);
    td_tfrecord_writer writer;
    cr_assert_eq(td_tfrecord_create(path, &writer), TD_OK);
    for (int i = 0; i < N; i++) {
        memset(payload, 'a' + i, sizes[i]);
        cr_assert_eq(td_tfrecord_append(&writer, payload, sizes[i]), TD_OK);
    }
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK);
    td_tfrecord_reader *reader;
    cr_assert_eq(td_tfrecord_open(path, &(td_tfrecord_options){0}, &reader), TD_OK);
    td_buffer buffer = {0};
    td_tfrecord record, again;
    bool end;
    for (int i = 0; i < N; i++) {
        cr_assert_eq(td_tfrecord_next(reader, &record, &end), TD_OK, "%s", td_error());
        cr_assert(!end);
        cr_assert_eq(record.size, sizes[i]);
        cr_assert_eq(td_tfrecord_read_at(reader, record.offset, i, &buffer, &again), TD_OK, "%s",
                     td_error());
        memset(payload, 'a' + i, sizes[i]);
        cr_assert_arr_eq(record.data, payload, sizes[i]);
        cr_assert_eq(again.size, sizes[i]);
        cr_assert_arr_eq(again.data, payload, sizes[i]);
    }
    cr_assert_eq(td_tfrecord_next(reader, &record, &end), TD_OK);
    cr_assert(end);
    td_buffer_destroy(&buffer);
    td_tfrecord_close(reader);
    td_free(payload);
}

Test(tfrecord, every_truncation) {
    uint8_t bytes[FILE_BYTES];
    read_texts(bytes);
    static const int ends[] = {0, 21, 37, 79, 96};
    for (int cut = 0; cut <= FILE_BYTES; cut++) {
        write_bytes(bytes, (size_t)cut);
        int whole = 0;
        while (whole < N_TEXTS && ends[whole + 1] <= cut) {
            whole++;
        }
        reading got;
        read_all(TD_TFRECORD_STRICT, false, &got);
        cr_assert_eq(got.n, whole, "cut at %d: %d records", cut, got.n);
        cr_assert_eq(got.status, ends[whole] == cut ? TD_OK : TD_EINPUT, "cut at %d", cut);
        for (int i = 0; i < got.n; i++) {
            cr_assert_eq(text_index(&got, i), i);
        }
        read_all(TD_TFRECORD_SKIP, false, &got);
        cr_assert_eq(got.status, TD_OK);
        cr_assert_eq(got.n, whole, "cut at %d: %d records", cut, got.n);
        cr_assert_eq(got.damaged, ends[whole] != cut);
        cr_assert_eq(got.stats.lost_bytes, cut - ends[whole]);
    }
}

/* Whatever byte is damaged, strict gives the records before it and an error; skip gives all records
 * but the damaged one. */
Test(tfrecord, every_flipped_byte) {
    uint8_t bytes[FILE_BYTES];
    read_texts(bytes);
    static const int ends[] = {0, 21, 37, 79, 96};
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    for (int at = 0; at < FILE_BYTES; at++) {
        for (size_t f = 0; f < sizeof flips; f++) {
            bytes[at] ^= flips[f];
            write_bytes(bytes, FILE_BYTES);
            bytes[at] ^= flips[f];
            int hit = 0;
            while (ends[hit + 1] <= at) {
                hit++;
            }
            reading got;
            read_all(TD_TFRECORD_STRICT, false, &got);
            cr_assert_eq(got.status, TD_EINPUT, "byte %d", at);
            cr_assert_eq(got.n, hit, "byte %d: %d records", at, got.n);
            read_all(TD_TFRECORD_SKIP, false, &got);
            cr_assert_eq(got.status, TD_OK);
            cr_assert_eq(got.n, N_TEXTS - 1, "byte %d: %d records", at, got.n);
            for (int i = 0; i < got.n; i++) {
                cr_assert_eq(text_index(&got, i), i < hit ? i : i + 1, "byte %d, record %d", at, i);
            }
            cr_assert_eq(got.damaged, 1);
            cr_assert_eq(got.kinds[0],
                         at - ends[hit] < 12 ? TD_DAMAGE_LENGTH_CRC : TD_DAMAGE_DATA_CRC);
            cr_assert_eq(got.stats.lost_bytes, ends[hit + 1] - ends[hit]);
        }
    }
}

/* Lengths with a good checksum that the file cannot hold: no allocation of that size, and a reason.
 */
Test(tfrecord, oversized_lengths) {
    static const struct {
        uint64_t length;
        td_damage_kind kind;
    } cases[] = {
        {9, TD_DAMAGE_CUT_DATA},
        {1 << 20, TD_DAMAGE_CUT_DATA},
        {0x7fffffff, TD_DAMAGE_CUT_DATA},
        {0x80000000u, TD_DAMAGE_TOO_LARGE},
        {1ull << 40, TD_DAMAGE_TOO_LARGE},
        {1ull << 63, TD_DAMAGE_TOO_LARGE},
        {UINT64_MAX - 15, TD_DAMAGE_TOO_LARGE},
        {UINT64_MAX, TD_DAMAGE_TOO_LARGE},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        uint8_t bytes[24] = {0};
        for (int i = 0; i < 8; i++) {
            bytes[i] = (uint8_t)(cases[c].length >> 8 * i);
        }
        uint32_t crc = td_crc32c_mask(td_crc32c(bytes, 8));
        memcpy(bytes + 8, &crc, 4);
        write_bytes(bytes, sizeof bytes);
        reading got;
        read_all(TD_TFRECORD_STRICT, false, &got);
        cr_expect_eq(got.status, TD_EINPUT);
        cr_expect_not_null(strstr(td_error(), "record 0 at byte 0"), "%s", td_error());
        read_all(TD_TFRECORD_SKIP, false, &got);
        cr_expect_eq(got.n, 0);
        cr_expect_eq(got.damaged, 1);
        cr_expect_eq(got.kinds[0], cases[c].kind);
    }
}

/* Records inside a payload stay payload when the outer record's damage leaves its length credible:
 * because a record follows where it says, or the end of the file does. */
Test(tfrecord, nested_records_are_not_taken) {
    uint8_t inner[FILE_BYTES], outer[2 * FILE_BYTES];
    read_texts(inner);
    for (int is_last = 0; is_last < 2; is_last++) {
        td_tfrecord_writer writer;
        cr_assert_eq(td_tfrecord_create(path, &writer), TD_OK);
        cr_assert_eq(td_tfrecord_append(&writer, inner, 37), TD_OK);
        if (!is_last) {
            cr_assert_eq(td_tfrecord_append(&writer, "after", 5), TD_OK);
        }
        cr_assert_eq(td_tfrecord_commit(&writer), TD_OK);
        FILE *file = fopen(path, "rb");
        size_t size = fread(outer, 1, sizeof outer, file);
        fclose(file);
        outer[9] ^= 0x40; /* in the checksum of the outer length */
        write_bytes(outer, size);
        reading got;
        read_all(TD_TFRECORD_SKIP, false, &got);
        cr_assert_eq(got.n, !is_last);
        if (!is_last) {
            cr_assert_eq(got.sizes[0], 5);
            cr_assert_arr_eq(got.payloads[0], "after", 5);
        }
    }
}

/* Garbage of many lengths between records is passed over, and both neighbours are read. */
Test(tfrecord, garbage_between_records) {
    uint8_t bytes[FILE_BYTES], mixed[FILE_BYTES + 400];
    read_texts(bytes);
    td_rng rng = td_rng_make(5, TD_PURPOSE_TEST, 0);
    for (size_t garbage = 1; garbage < 400; garbage += 13) {
        memcpy(mixed, bytes, 37);
        for (size_t i = 0; i < garbage; i++) {
            mixed[37 + i] = (uint8_t)td_rng_u32(&rng);
        }
        memcpy(mixed + 37 + garbage, bytes + 37, FILE_BYTES - 37);
        write_bytes(mixed, FILE_BYTES + garbage);
        reading got;
        read_all(TD_TFRECORD_SKIP, false, &got);
        cr_assert_eq(got.n, N_TEXTS, "%zu bytes of garbage", garbage);
        cr_assert_eq(got.stats.lost_bytes, (int64_t)garbage);
    }
}

/* A file that is nothing but credible headers ends in bounded time, with an account of every byte.
 */
Test(tfrecord, search_is_bounded) {
    enum { N = 4000 };
    uint8_t *bytes = td_alloc_zero(N * 12);
    for (int i = 0; i < N; i++) {
        uint32_t length = (uint32_t)((N - i) * 12 - 16);
        memcpy(bytes + 12 * i, &length, 4);
        uint32_t crc = td_crc32c_mask(td_crc32c(bytes + 12 * i, 8));
        memcpy(bytes + 12 * i + 8, &crc, 4);
    }
    bytes[3] = 1; /* the first length is now bad, which starts the search */
    write_bytes(bytes, N * 12);
    reading got;
    read_all(TD_TFRECORD_SKIP, false, &got);
    cr_expect_eq(got.n, 0);
    cr_expect_eq(got.stats.lost_bytes, N * 12);
    td_free(bytes);
}

Test(tfrecord, file_that_shrinks_is_an_error) {
    write_texts();
    td_tfrecord_reader *reader;
    cr_assert_eq(td_tfrecord_open(path, &(td_tfrecord_options){0}, &reader), TD_OK);
    cr_assert_eq(truncate(path, 10), 0);
    td_tfrecord record;
    bool end;
    cr_expect_eq(td_tfrecord_next(reader, &record, &end), TD_EIO);
    td_tfrecord_close(reader);
}

/* More than a page and than one window: the pages that are gone are under a mapping by then. */
Test(tfrecord, file_that_shrinks_under_its_mapping_is_an_error) {
    enum { SIZE = 100000, RECORDS = 20 };
    uint8_t *payload = td_alloc_zero(SIZE);
    td_tfrecord_writer writer;
    cr_assert_eq(td_tfrecord_create(path, &writer), TD_OK);
    for (int i = 0; i < RECORDS; i++) {
        cr_assert_eq(td_tfrecord_append(&writer, payload, SIZE), TD_OK);
    }
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK);
    td_tfrecord_reader *reader;
    cr_assert_eq(td_tfrecord_open(path, &(td_tfrecord_options){0}, &reader), TD_OK);
    td_tfrecord record;
    bool end;
    cr_expect_eq(td_tfrecord_next(reader, &record, &end), TD_OK);
    cr_assert_eq(truncate(path, 5000), 0);
    int64_t sum = 0; /* what was given stays readable */
    for (size_t i = 0; i < record.size; i++) {
        sum += record.data[i];
    }
    cr_expect_eq(sum, 0);
    cr_expect_eq(td_tfrecord_next(reader, &record, &end), TD_EIO);
    cr_expect_not_null(strstr(td_error(), "shorter"), "%s", td_error());
    td_tfrecord_close(reader);
    td_free(payload);
}

Test(tfrecord, abort_leaves_nothing) {
    td_tfrecord_writer writer;
    cr_assert_eq(td_tfrecord_create(path, &writer), TD_OK);
    cr_assert_eq(td_tfrecord_append(&writer, "x", 1), TD_OK);
    char temporary[128];
    snprintf(temporary, sizeof temporary, "%s", writer.file.temporary);
    cr_assert_eq(access(temporary, F_OK), 0);
    td_tfrecord_abort(&writer);
    cr_expect_neq(access(path, F_OK), 0);
    cr_expect_neq(access(temporary, F_OK), 0);
}

Test(tfrecord, a_full_disk_is_an_error) {
    if (access("/dev/full", W_OK) != 0) {
        cr_skip_test("no /dev/full");
    }
    td_tfrecord_writer writer;
    cr_assert_eq(td_tfrecord_create(path, &writer), TD_OK);
    FILE *kept = writer.file.stream;
    writer.file.stream = fopen("/dev/full", "wb");
    char block[100000] = {0};
    cr_expect_eq(td_tfrecord_append(&writer, block, sizeof block), TD_EIO);
    td_tfrecord_abort(&writer);
    fclose(kept);
}

/* The records that the recorded reader gave, and an error where it gave one (or died). It takes a
 * cut header for the end of the file; here that is damage. */
static void check_reading(const char *id, const json_t *file, const json_t *expected) {
    size_t size, event_index;
    uint8_t *bytes = recorded_bytes(file, &size);
    write_bytes(bytes, size);
    td_free(bytes);
    reading got;
    read_all(TD_TFRECORD_STRICT, false, &got);
    if (json_object_get(expected, "crash") != NULL) {
        cr_expect_eq(got.status, TD_EINPUT, "%s", id);
        return;
    }
    int n = 0;
    const json_t *event;
    json_array_foreach(json_object_get(expected, "events"), event_index, event) {
        const json_t *record = json_object_get(event, "record");
        if (record == NULL) {
            bool bad = json_object_get(event, "error") != NULL;
            bool cut = strcmp(id, "tfr.zero_tail_11") == 0;
            cr_expect_eq(got.status, bad || cut ? TD_EINPUT : TD_OK, "%s: %s", id, td_error());
            break;
        }
        uint8_t *payload = recorded_bytes(record, &size);
        cr_assert_lt(n, got.n, "%s: only %d records", id, got.n);
        cr_expect_eq(got.sizes[n], size, "%s, record %d", id, n);
        cr_expect_arr_eq(got.payloads[n], payload, size, "%s, record %d", id, n);
        td_free(payload);
        n++;
    }
    cr_expect_eq(got.n, n, "%s", id);
}

Test(tfrecord, recorded_readings) {
    json_t *cases = recorded_cases("tfrecord_read"), *one;
    size_t i;
    int checked = 0;
    json_array_foreach(cases, i, one) {
        const json_t *files = json_object_get(json_object_get(one, "input"), "files");
        bool raw = json_object_get(json_object_get(one, "config"), "compression") == NULL;
        if (raw && json_array_size(files) == 1 && json_is_string(json_array_get(files, 0))) {
            check_reading(json_string_value(json_object_get(one, "id")), json_array_get(files, 0),
                          json_object_get(one, "expected"));
            checked++;
        }
    }
    cr_expect_gt(checked, 25);
    json_decref(cases);
}

Test(tfrecord, recorded_files) {
    json_t *cases = recorded_cases("tfrecord_write"), *one;
    size_t i, r, size;
    json_array_foreach(cases, i, one) {
        const json_t *records = json_object_get(json_object_get(one, "input"), "records"), *record;
        if (!json_is_array(records)) {
            continue; /* the generated 100,000 records are below */
        }
        td_tfrecord_writer writer;
        cr_assert_eq(td_tfrecord_create(path, &writer), TD_OK);
        json_array_foreach(records, r, record) {
            uint8_t *payload = recorded_bytes(record, &size);
            cr_assert_eq(td_tfrecord_append(&writer, payload, size), TD_OK);
            td_free(payload);
        }
        cr_assert_eq(td_tfrecord_commit(&writer), TD_OK);
        uint8_t *wanted =
            recorded_bytes(json_object_get(json_object_get(one, "expected"), "file"), &size);
        char *got;
        size_t got_size;
        cr_assert_eq(td_file_read(path, &got, &got_size), TD_OK);
        cr_assert_eq(got_size, size);
        cr_expect_arr_eq(got, wanted, size);
        td_free(got);
        td_free(wanted);
    }
    json_decref(cases);
}

/* "0." to "99999.": size and checksum of the file TensorFlow writes. */
Test(tfrecord, many_records) {
    td_tfrecord_writer writer;
    cr_assert_eq(td_tfrecord_create(path, &writer), TD_OK);
    for (int i = 0; i < 100000; i++) {
        char text[16];
        int size = snprintf(text, sizeof text, "%d.", i);
        cr_assert_eq(td_tfrecord_append(&writer, text, (size_t)size), TD_OK);
    }
    cr_expect_eq(writer.bytes, 2188890);
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK);
    char *bytes;
    size_t size;
    cr_assert_eq(td_file_read(path, &bytes, &size), TD_OK);
    cr_expect_eq(size, 2188890u);
    cr_expect_eq(td_crc32c(bytes, size), 0x5ce646e8u);
    td_free(bytes);
}

/* Whichever bit of a file is wrong, the reader sees it: with either reader, under either policy. */
Test(tfrecord, every_flipped_bit_is_found) {
    write_texts();
    char *data;
    size_t size;
    cr_assert_eq(td_file_read(path, &data, &size), TD_OK);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
        write_bytes((uint8_t *)data, size);
        reading got;
        read_all(TD_TFRECORD_SKIP, false, &got);
        cr_assert_gt(got.stats.damaged, 0, "bit %zu", bit);
        td_record_stream *stream;
        td_span record;
        bool end = false;
        td_status status =
            td_record_stream_open(path, TD_COMPRESSION_NONE, TD_STREAM_STRICT, &stream);
        while (status == TD_OK && !end) {
            status = td_record_stream_next(stream, &record, &end);
        }
        td_record_stream_close(stream);
        cr_assert_eq(status, TD_EINPUT, "bit %zu", bit);
        data[bit / 8] = (char)(data[bit / 8] ^ 1 << bit % 8);
    }
    td_free(data);
}

/* Records of [first, last), each counted at its place in `seen`. */
static td_status read_range(int64_t first, int64_t last, int *seen) {
    td_tfrecord_options options = {.policy = TD_TFRECORD_STRICT};
    td_tfrecord_reader *reader;
    td_tfrecord record;
    bool end = false;
    cr_assert_eq(td_tfrecord_open(path, &options, &reader), TD_OK);
    td_status status = td_tfrecord_range(reader, first, last);
    while (status == TD_OK && (status = td_tfrecord_next(reader, &record, &end)) == TD_OK && !end) {
        seen[record.offset]++;
    }
    td_tfrecord_close(reader);
    return status;
}

/* Two readers, and three, share the file at every byte: every record once, whichever the cuts. */
Test(tfrecord, ranges_cut_anywhere_are_the_whole) {
    enum { RECORDS = 12, MOST = 600 };
    td_tfrecord_writer writer;
    int whole[MOST] = {0};
    int64_t size = 0;
    cr_assert_eq(td_tfrecord_create(path, &writer), TD_OK);
    for (int i = 0; i < RECORDS; i++) {
        uint8_t payload[40];
        memset(payload, i, sizeof payload);
        whole[size] = 1;
        size += TD_TFRECORD_FRAME_BYTES + (i * 7) % 40;
        cr_assert_eq(td_tfrecord_append(&writer, payload, (size_t)((i * 7) % 40)), TD_OK);
    }
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK);
    cr_assert_lt(size, MOST);
    for (int64_t cut = 0; cut <= size; cut++) {
        for (int64_t second = cut; second <= size; second += cut % 3 == 0 ? 1 : 97) {
            int seen[MOST] = {0};
            cr_assert_eq(read_range(0, cut, seen), TD_OK, "%s", td_error());
            cr_assert_eq(read_range(cut, second, seen), TD_OK, "%s", td_error());
            cr_assert_eq(read_range(second, size, seen), TD_OK, "%s", td_error());
            cr_assert_arr_eq(seen, whole, sizeof whole, "cuts at %d and %d", (int)cut, (int)second);
        }
    }
}

/* A payload that is a file of records: a cut inside it may not give its records as the file's. */
Test(tfrecord, ranges_do_not_take_nested_records) {
    enum { NESTED = 6, MOST = 400 };
    uint8_t inner[NESTED * (TD_TFRECORD_FRAME_BYTES + 4)];
    size_t used = 0;
    for (int i = 0; i < NESTED; i++) {
        td_tfrecord_frame frame = td_tfrecord_frame_of("abcd", 4);
        memcpy(inner + used, frame.header, sizeof frame.header);
        memcpy(inner + used + 12, "abcd", 4);
        memcpy(inner + used + 16, frame.footer, 4);
        used += 20;
    }
    td_tfrecord_writer writer;
    cr_assert_eq(td_tfrecord_create(path, &writer), TD_OK);
    cr_assert_eq(td_tfrecord_append(&writer, "first", 5), TD_OK);
    cr_assert_eq(td_tfrecord_append(&writer, inner, used), TD_OK);
    cr_assert_eq(td_tfrecord_append(&writer, "last", 4), TD_OK);
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK);
    int64_t size = 3 * TD_TFRECORD_FRAME_BYTES + 5 + 4 + (int64_t)used;
    int refused = 0;
    for (int64_t cut = 0; cut <= size; cut++) {
        int seen[MOST] = {0}, count = 0;
        td_status before = read_range(0, cut, seen), after = read_range(cut, size, seen);
        for (int i = 0; i < MOST; i++) {
            count += seen[i];
        }
        refused += before == TD_EINPUT;
        cr_expect(before == TD_EINPUT || (after == TD_OK && count == 3), "cut at %d: %d records",
                  (int)cut, count);
    }
    cr_expect_gt(refused, 0);
}
