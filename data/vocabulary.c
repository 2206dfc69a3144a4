/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "data/byte_stream.h"
#include "data/column.h"
#include "data/hash.h"
#include "data/tf_error.h"

typedef struct entry {
    uint64_t hash;
    td_span text;
    int64_t number;
    int64_t row; /* -1: empty */
} entry;

struct td_vocabulary {
    bool numbers;
    int64_t size;
    entry *table;
    uint64_t mask;
};

static uint64_t number_hash(int64_t number) {
    uint64_t hash = (uint64_t)number * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

static td_status create(bool numbers, int64_t most, td_pool *pool, td_vocabulary **out) {
    td_vocabulary *vocabulary = td_pool_take_zero(pool, sizeof *vocabulary);
    /* Few keys get a table that is nearly empty, 20 KiB at most: a key that is not there then finds
     * an empty slot at once, which the processor foresees. */
    uint64_t slots = 8, apart = most <= 64 ? 8 : 2;
    while (slots < apart * (uint64_t)most) {
        slots *= 2;
    }
    entry *table = td_pool_take(pool, slots * sizeof *table);
    if (vocabulary == NULL || table == NULL) {
        return td_tf_no_memory("a vocabulary");
    }
    for (uint64_t i = 0; i < slots; i++) {
        table[i].row = -1;
    }
    *vocabulary = (td_vocabulary){numbers, 0, table, slots - 1};
    *out = vocabulary;
    return TD_OK;
}

/* The entry of a key, or the empty one where it would go. */
static entry *find(const td_vocabulary *vocabulary, uint64_t hash, td_span text, int64_t number) {
    for (uint64_t i = hash;; i++) {
        entry *at = &vocabulary->table[i & vocabulary->mask];
        if (at->row < 0 ||
            (at->hash == hash &&
             (vocabulary->numbers ? at->number == number : td_span_equal(at->text, text)))) {
            return at;
        }
    }
}

/* False when the key has a row already. */
static bool add(td_vocabulary *vocabulary, td_span text, int64_t number) {
    uint64_t hash =
        vocabulary->numbers ? number_hash(number) : td_fingerprint64(text.data, text.size);
    entry *at = find(vocabulary, hash, text, number);
    if (at->row >= 0) {
        return false;
    }
    *at = (entry){hash, text, number, vocabulary->size++};
    return true;
}

td_status td_vocabulary_from_list(const td_tensor *keys, td_pool *pool, td_vocabulary **out) {
    bool numbers = keys->dtype != TD_ELEMENT_BYTES;
    TD_TRY(create(numbers, keys->count, pool, out));
    for (int64_t i = 0; i < keys->count; i++) {
        td_span text = {NULL, 0};
        if (!numbers) {
            text = td_tensor_spans(keys)[i];
        }
        if (!add(*out, text, numbers ? td_tensor_int(keys, i) : 0)) {
            return td_tf_fail(TD_TF_VALUE, "Duplicate keys in vocabulary_list, at position %lld",
                              (long long)i);
        }
    }
    return TD_OK;
}

static bool parse_number(td_span line, int64_t *out) {
    char text[32];
    size_t start = 0, end = line.size;
    while (start < end && line.data[start] == ' ') {
        start++;
    }
    while (end > start && line.data[end - 1] == ' ') {
        end--;
    }
    if (end == start || end - start >= sizeof text) {
        return false;
    }
    memcpy(text, line.data + start, end - start);
    text[end - start] = '\0';
    bool minus = text[0] == '-';
    uint64_t value = 0;
    for (const char *at = text + (minus || text[0] == '+'); *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value)) {
            return false;
        }
    }
    *out = (int64_t)(minus ? 0 - value : value);
    return value <= (uint64_t)INT64_MAX + (minus ? 1 : 0);
}

static td_status add_line(td_vocabulary *vocabulary, td_span line) {
    int64_t number = 0;
    if (vocabulary->numbers && !parse_number(line, &number)) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT, "Field %.*s in line %lld is not a valid int64.",
                          (int)(line.size < 100 ? line.size : 100), (const char *)line.data,
                          (long long)vocabulary->size);
    }
    if (!add(vocabulary, line, number)) {
        return td_tf_fail(TD_TF_FAILED_PRECONDITION,
                          "HashTable has different value for same key. Key %.*s is there already, "
                          "and would get value %lld",
                          (int)(line.size < 100 ? line.size : 100), (const char *)line.data,
                          (long long)vocabulary->size);
    }
    return TD_OK;
}

static td_status read_lines(td_span contents, int64_t size, td_vocabulary *vocabulary) {
    size_t at = 0;
    while (at < contents.size && (size < 0 || vocabulary->size < size)) {
        const uint8_t *newline = memchr(contents.data + at, '\n', contents.size - at);
        size_t end = newline == NULL ? contents.size : (size_t)(newline - contents.data);
        td_span line = {contents.data + at, end - at};
        if (newline != NULL && line.size > 0 && line.data[line.size - 1] == '\r') {
            line.size--;
        }
        at = newline == NULL ? end : end + 1;
        if (line.size == 0) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                              "Invalid content in the vocabulary file: empty line found at "
                              "position %zu.",
                              at);
        }
        TD_TRY(add_line(vocabulary, line));
    }
    return TD_OK;
}

static td_status read_records(td_span contents, int64_t size, td_pool *pool,
                              td_vocabulary *vocabulary) {
    td_record_stream *stream;
    TD_TRY(td_record_stream_open_memory(contents, TD_COMPRESSION_GZIP, &stream));
    td_status status = TD_OK;
    while (size < 0 || vocabulary->size < size) {
        td_span record;
        bool end;
        status = td_record_stream_next(stream, &record, &end);
        if (status != TD_OK || end) {
            break;
        }
        uint8_t *copy = td_pool_copy(pool, record.data, record.size);
        status = copy == NULL ? td_tf_no_memory("a vocabulary")
                              : add_line(vocabulary, (td_span){copy, record.size});
        if (status != TD_OK) {
            break;
        }
    }
    td_record_stream_close(stream);
    return status;
}

static int64_t count_lines(td_span contents) {
    int64_t lines = contents.size > 0 && contents.data[contents.size - 1] != '\n';
    for (size_t i = 0; i < contents.size; i++) {
        lines += contents.data[i] == '\n';
    }
    return lines;
}

/* Records in a compressed file; what is not one shows when they are read. */
static int64_t count_records(td_span contents) {
    td_record_stream *stream;
    int64_t records = 0;
    td_span record;
    bool end = false;
    if (td_record_stream_open_memory(contents, TD_COMPRESSION_GZIP, &stream) != TD_OK) {
        return 0;
    }
    while (td_record_stream_next(stream, &record, &end) == TD_OK && !end) {
        records++;
    }
    td_record_stream_close(stream);
    return records;
}

td_status td_vocabulary_from_file(td_span contents, td_vocabulary_format format,
                                  td_element_type dtype, int64_t size, td_pool *pool,
                                  td_vocabulary **out) {
    bool text = format == TD_VOCABULARY_TEXT;
    int64_t most = text ? count_lines(contents) : count_records(contents);
    TD_TRY(create(dtype != TD_ELEMENT_BYTES, most, pool, out));
    TD_TRY(text ? read_lines(contents, size, *out) : read_records(contents, size, pool, *out));
    if (size >= 0 && (*out)->size < size) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                          "Invalid vocab_size in the vocabulary file: expected %lld but got %lld",
                          (long long)size, (long long)(*out)->size);
    }
    return TD_OK;
}

int64_t td_vocabulary_size(const td_vocabulary *vocabulary) {
    return vocabulary->size;
}

int64_t td_vocabulary_find(const td_vocabulary *vocabulary, td_span key) {
    return td_vocabulary_find_by(vocabulary, td_fingerprint64(key.data, key.size), key);
}

int64_t td_vocabulary_find_by(const td_vocabulary *vocabulary, uint64_t fingerprint, td_span key) {
    return find(vocabulary, fingerprint, key, 0)->row;
}

int64_t td_vocabulary_find_int(const td_vocabulary *vocabulary, int64_t key) {
    return find(vocabulary, number_hash(key), (td_span){NULL, 0}, key)->row;
}
