/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "data/crc32c.h"
#include "data/record_dataset.h"
#include "data/shards.h"
#include "data/tf_error.h"
#include "tests/oracle/oracle.h"

/* The records of a case: a list of byte strings, or a generator of one. */
static int64_t record_count(const json_t *records) {
    return json_is_array(records) ? (int64_t)json_array_size(records)
                                  : json_integer_value(json_object_get(records, "count"));
}

static td_span record_at(const oracle_case *item, const json_t *records, int64_t i, char *digits,
                         size_t bytes) {
    if (json_is_array(records)) {
        return oracle_bytes(item, json_array_get(records, (size_t)i));
    }
    int n = snprintf(digits, bytes, "%lld.", (long long)i);
    return (td_span){(const uint8_t *)digits, (size_t)n};
}

json_t *oracle_tfrecord_write(const oracle_case *item) {
    const json_t *records = json_object_get(item->input, "records");
    td_text file = {0};
    td_text_puts(&file, "");
    for (int64_t i = 0; i < record_count(records); i++) {
        char digits[24];
        td_span record = record_at(item, records, i, digits, sizeof digits);
        td_tfrecord_frame frame = td_tfrecord_frame_of(record.data, record.size);
        td_text_append(&file, (const char *)frame.header, sizeof frame.header);
        td_text_append(&file, (const char *)record.data, record.size);
        td_text_append(&file, (const char *)frame.footer, sizeof frame.footer);
    }
    json_t *out = NULL;
    if (json_is_true(json_object_get(item->config, "digest"))) {
        char crc[12];
        snprintf(crc, sizeof crc, "%08x", td_crc32c(file.data, file.size));
        out = json_pack("{s:I, s:s}", "file_size", (json_int_t)file.size, "crc32c_of_file", crc);
    } else {
        out = json_pack("{s:o}", "file",
                        oracle_hex((td_span){(const uint8_t *)file.data, file.size}));
    }
    td_text_destroy(&file);
    return out;
}

enum { ERRORS_MAX = 9 }; /* after so many the recorder stopped asking */

static td_compression compression_of(const oracle_case *item) {
    const char *word = json_string_value(json_object_get(item->config, "compression"));
    return td_compression_find(word == NULL ? "" : word);
}

/* All events of a data set: records, failures and the end. */
static json_t *events_of(td_record_dataset *dataset, const char *after_error) {
    json_t *events = json_array();
    for (int errors = 0; errors < ERRORS_MAX;) {
        td_span record;
        bool end;
        if (td_record_dataset_next(dataset, &record, &end) != TD_OK) {
            errors++;
            if (strcmp(after_error, "ignore_errors") == 0) {
                continue;
            }
            json_array_append_new(events, json_pack("{s:o}", "error", oracle_error_json()));
            if (strcmp(after_error, "stop") == 0) {
                break;
            }
            continue;
        }
        json_array_append_new(events, end ? json_pack("{s:s}", "end", "EOF")
                                          : json_pack("{s:o}", "record", oracle_hex(record)));
        if (end) {
            break;
        }
    }
    return events;
}

static json_t *read_sources(const oracle_case *item, const td_record_source *sources, int64_t n) {
    const char *after = json_string_value(json_object_get(item->config, "after_error"));
    int64_t parallel = json_integer_value(json_object_get(item->config, "num_parallel_reads"));
    td_record_dataset *dataset;
    if (td_record_dataset_open(sources, n, parallel, compression_of(item), TD_STREAM_TENSORFLOW,
                               &dataset) != TD_OK) {
        return NULL;
    }
    json_t *events = events_of(dataset, after == NULL ? "stop" : after);
    td_record_dataset_close(dataset);
    return json_pack("{s:o}", "events", events);
}

json_t *oracle_tfrecord_read(const oracle_case *item) {
    const json_t *files = json_object_get(item->input, "files");
    size_t n = json_array_size(files);
    td_record_source *sources = td_pool_take(item->pool, (n + 1) * sizeof *sources);
    for (size_t i = 0; i < n; i++) {
        const json_t *file = json_array_get(files, i);
        const char *missing = json_string_value(json_object_get(file, "missing"));
        sources[i] = (td_record_source){"a file", oracle_bytes(item, file)};
        if (missing != NULL) {
            sources[i] = (td_record_source){missing, {NULL, 0}};
        }
    }
    return read_sources(item, sources, (int64_t)n);
}

json_t *oracle_tfrecord_iterator(const oracle_case *item) {
    td_record_source source = {"a file", oracle_bytes(item, json_object_get(item->input, "file"))};
    return json_object_get(item->input, "files") != NULL ? oracle_tfrecord_read(item)
                                                         : read_sources(item, &source, 1);
}

/* How many records a damaged file gives, and how it ends. */
static void put_outcome(const oracle_case *item, td_span file, json_t *out) {
    td_record_stream *stream = NULL;
    int64_t records = 0;
    td_span record;
    bool end = false;
    td_status status = td_record_stream_open_span(file, "a file", compression_of(item),
                                                  TD_STREAM_TENSORFLOW, &stream);
    while (status == TD_OK && (status = td_record_stream_next(stream, &record, &end)) == TD_OK &&
           !end) {
        records++;
    }
    const char *name = status == TD_OK ? "EOF" : td_tf_status(td_tf_last());
    json_object_set_new(out, "records", json_integer(records));
    json_object_set_new(out, "end", json_string(name == NULL ? "?" : name));
    if (status != TD_OK) {
        json_object_set_new(out, "message", json_string(td_error()));
    }
    td_record_stream_close(stream);
}

/* The lengths to cut at: a list of the input, or else those that results are recorded for. */
json_t *oracle_tfrecord_truncation(const oracle_case *item) {
    td_span file = oracle_bytes(item, json_object_get(item->input, "file"));
    const json_t *recorded = json_object_get(item->expected, "results");
    const json_t *cuts = json_object_get(item->input, "cuts");
    json_t *results = json_array();
    size_t n = json_is_array(cuts) ? json_array_size(cuts) : json_array_size(recorded);
    for (size_t i = 0; i < n; i++) {
        const json_t *cut = json_is_array(cuts)
                                ? json_array_get(cuts, i)
                                : json_object_get(json_array_get(recorded, i), "cut");
        size_t size = (size_t)json_integer_value(cut);
        json_t *one = json_pack("{s:I}", "cut", (json_int_t)size);
        put_outcome(item, (td_span){file.data, size < file.size ? size : file.size}, one);
        json_array_append_new(results, one);
    }
    return json_pack("{s:o}", "results", results);
}

json_t *oracle_tfrecord_flip(const oracle_case *item) {
    td_span file = oracle_bytes(item, json_object_get(item->input, "file"));
    const json_t *flips = json_object_get(item->input, "flips");
    json_t *results = json_array();
    for (size_t i = 0; i < json_array_size(flips); i++) {
        const json_t *flip = json_array_get(flips, i);
        size_t at = (size_t)json_integer_value(json_array_get(flip, 0));
        int bits = (int)json_integer_value(json_array_get(flip, 1));
        uint8_t *copy = td_pool_copy(item->pool, file.data, file.size);
        if (at < file.size) {
            copy[at] = (uint8_t)(copy[at] ^ bits);
        }
        json_t *one = json_pack("{s:I, s:i}", "at", (json_int_t)at, "xor", bits);
        put_outcome(item, (td_span){copy, file.size}, one);
        json_array_append_new(results, one);
    }
    return json_pack("{s:o}", "results", results);
}

json_t *oracle_tfrecord_random_read(const oracle_case *item) {
    td_span file = oracle_bytes(item, json_object_get(item->input, "file"));
    const json_t *offsets = json_object_get(item->input, "offsets");
    json_t *reads = json_array();
    for (size_t i = 0; i < json_array_size(offsets); i++) {
        int64_t offset = json_integer_value(json_array_get(offsets, i)), next;
        td_span record;
        json_t *one = json_pack("{s:I}", "offset", (json_int_t)offset);
        if (td_record_at(file, offset, &record, &next) == TD_OK) {
            json_object_set_new(one, "record", oracle_hex(record));
            json_object_set_new(one, "next", json_integer(next));
        } else {
            json_object_set_new(one, "error", oracle_error_json());
        }
        json_array_append_new(reads, one);
    }
    return json_pack("{s:o}", "reads", reads);
}

json_t *oracle_tfrecord_index(const oracle_case *item) {
    td_text text = {0};
    td_text_puts(&text, "");
    td_record_index_lines(oracle_bytes(item, json_object_get(item->input, "file")), &text);
    json_t *lines = json_array();
    for (char *rest = text.data, *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (line[0] != '\0') {
            json_array_append_new(lines, json_string(line));
        }
    }
    td_text_destroy(&text);
    return json_pack("{s:o}", "lines", lines);
}

json_t *oracle_tfrecord_writer_misuse(const oracle_case *item) {
    (void)item;
    td_tfrecord_writer writer = {0};
    if (td_tfrecord_create("/dev/shm/tandem-oracle.tfrecord", &writer) != TD_OK) {
        return NULL;
    }
    td_tfrecord_abort(&writer);
    json_t *out = json_object();
    if (td_tfrecord_append(&writer, "x", 1) != TD_OK) {
        json_object_set_new(out, "write_after_close", oracle_error_json());
    }
    if (td_tfrecord_flush(&writer) != TD_OK) {
        json_object_set_new(out, "flush_after_close", oracle_error_json());
    }
    json_object_set_new(out, "close_twice",
                        json_string(td_tfrecord_commit(&writer) == TD_OK ? "OK" : "failed"));
    return out;
}

json_t *oracle_sharded_filename(const oracle_case *item) {
    const char *name = json_string_value(json_object_get(item->input, "basename"));
    int64_t shard = json_integer_value(json_object_get(item->input, "shard"));
    int64_t n = json_integer_value(json_object_get(item->input, "num_shards"));
    td_text file = {0}, pattern = {0};
    td_sharded_name(&file, name, shard, n);
    td_sharded_pattern(&pattern, name, n);
    json_t *out = json_pack("{s:s, s:s}", "filename", file.data, "filespec", pattern.data);
    td_text_destroy(&file);
    td_text_destroy(&pattern);
    return out;
}
