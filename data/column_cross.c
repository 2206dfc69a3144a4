/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/text.h"
#include "data/column.h"
#include "data/hash.h"
#include "data/tf_error.h"

/* One input: its values row by row, and where each row starts. */
typedef struct cross_input {
    const td_tensor *values;
    int64_t *starts; /* rows + 1 */
    bool sparse;
} cross_input;

typedef struct crosser {
    const td_cross_options *options;
    cross_input *inputs;
    int count;
    int64_t rows;
    td_pool *pool;
} crosser;

static td_status make_input(crosser *cross, const td_array *value, cross_input *out) {
    out->starts = td_pool_take_zero(cross->pool, (size_t)(cross->rows + 1) * sizeof *out->starts);
    if (out->starts == NULL) {
        return td_tf_no_memory("a cross");
    }
    out->sparse = value->kind == TD_ARRAY_SPARSE;
    if (!out->sparse) {
        out->values = &value->tensor;
        for (int64_t r = 0; r <= cross->rows; r++) {
            out->starts[r] = r * value->tensor.shape[1];
        }
        return TD_OK;
    }
    out->values = &value->sparse.values;
    for (int64_t i = 0; i < value->sparse.values.count; i++) {
        int64_t row = value->sparse.indices[2 * i];
        if (row < 0 || row >= cross->rows) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT, "index %lld is outside the batch of %lld",
                              (long long)row, (long long)cross->rows);
        }
        out->starts[row + 1]++;
    }
    for (int64_t r = 0; r < cross->rows; r++) {
        out->starts[r + 1] += out->starts[r];
    }
    return TD_OK;
}

static uint64_t hash_bytes(const td_cross_options *options, const uint8_t *data, size_t size) {
    return options->mode == TD_CROSS_STRONG && options->strong_hash
               ? td_siphash(options->salt, data, size)
               : td_fingerprint64(data, size);
}

/* Strings by their fingerprint (or the strong hash), integers as they are. Of sparse integers the
 * salted op hashes the lower four bytes. */
static uint64_t element(const crosser *cross, const cross_input *input, int64_t at) {
    if (input->values->dtype == TD_ELEMENT_BYTES) {
        td_span text = td_tensor_spans(input->values)[at];
        return hash_bytes(cross->options, text.data, text.size);
    }
    uint64_t value = (uint64_t)td_tensor_int(input->values, at);
    const uint8_t low[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                            (uint8_t)(value >> 24)};
    return cross->options->mode == TD_CROSS_STRONG && input->sparse
               ? hash_bytes(cross->options, low, sizeof low)
               : value;
}

static int64_t hashed(const crosser *cross, const int64_t *at) {
    const td_cross_options *options = cross->options;
    bool keyed = options->mode == TD_CROSS_HASHED;
    uint64_t hash = keyed ? options->hash_key : element(cross, &cross->inputs[0], at[0]);
    for (int i = keyed ? 0 : 1; i < cross->count; i++) {
        hash = td_fingerprint_cat64(hash, element(cross, &cross->inputs[i], at[i]));
    }
    return (int64_t)(hash % (options->buckets > 0 ? (uint64_t)options->buckets : INT64_MAX));
}

static td_status joined(const crosser *cross, const int64_t *at, td_span *out) {
    td_text text = {0};
    for (int i = 0; i < cross->count; i++) {
        const td_tensor *values = cross->inputs[i].values;
        if (i > 0) {
            td_text_append(&text, (const char *)cross->options->separator.data,
                           cross->options->separator.size);
        }
        if (values->dtype == TD_ELEMENT_BYTES) {
            td_span part = td_tensor_spans(values)[at[i]];
            td_text_append(&text, (const char *)part.data, part.size);
        } else {
            td_text_printf(&text, "%lld", (long long)td_tensor_int(values, at[i]));
        }
    }
    td_status status = td_text_status(&text);
    *out = (td_span){td_pool_copy(cross->pool, text.data == NULL ? "" : text.data, text.size),
                     text.size};
    td_text_destroy(&text);
    return status == TD_OK && out->data == NULL ? td_tf_no_memory("a cross") : status;
}

/* Products of row sizes; -1 when they do not fit. */
static int64_t count_row(const crosser *cross, int64_t row) {
    int64_t count = 1;
    for (int i = 0; i < cross->count; i++) {
        int64_t size = cross->inputs[i].starts[row + 1] - cross->inputs[i].starts[row];
        if (__builtin_mul_overflow(count, size, &count) || count > INT32_MAX) {
            return -1;
        }
    }
    return count;
}

/* The last input varies fastest. */
static td_status cross_row(const crosser *cross, int64_t row, int64_t count, int64_t *at,
                           td_sparse *out, int64_t *to) {
    for (int i = 0; i < cross->count; i++) {
        at[i] = cross->inputs[i].starts[row];
    }
    for (int64_t n = 0; n < count; n++, ++*to) {
        out->indices[2 * *to] = row;
        out->indices[2 * *to + 1] = n;
        if (cross->options->mode == TD_CROSS_STRING) {
            TD_TRY(joined(cross, at, (td_span *)out->values.data + *to));
        } else {
            ((int64_t *)out->values.data)[*to] = hashed(cross, at);
        }
        for (int i = cross->count; i-- > 0;) {
            if (++at[i] < cross->inputs[i].starts[row + 1]) {
                break;
            }
            at[i] = cross->inputs[i].starts[row];
        }
    }
    return TD_OK;
}

static td_status check_rows(const td_array *inputs, int count, int64_t *rows) {
    for (int i = 0; i < count; i++) {
        bool sparse = inputs[i].kind == TD_ARRAY_SPARSE;
        int rank = sparse ? inputs[i].sparse.rank : inputs[i].tensor.rank;
        if (rank != 2) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                              "Input %d of a cross has %d dimensions, not 2", i, rank);
        }
        int64_t n = sparse ? inputs[i].sparse.dense_shape[0] : inputs[i].tensor.shape[0];
        if (i > 0 && n != *rows) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                              "Expected batch size %lld got %lld at position %d", (long long)*rows,
                              (long long)n, i);
        }
        *rows = n;
    }
    return TD_OK;
}

/* TensorFlow takes dense integers for strings here, and dies of it. */
static td_status check_salted(const td_array *inputs, int count, const td_cross_options *options) {
    for (int i = 0; i < count; i++) {
        if (options->mode == TD_CROSS_STRONG && options->strong_hash &&
            inputs[i].kind != TD_ARRAY_SPARSE && inputs[i].tensor.dtype != TD_ELEMENT_BYTES) {
            return td_tf_fail(
                TD_TF_INVALID_ARGUMENT,
                "Input %d of a salted cross is of dense integers, which have no strong "
                "hash",
                i);
        }
    }
    return TD_OK;
}

td_status td_sparse_cross(const td_array *inputs, int count, const td_cross_options *options,
                          td_pool *pool, td_sparse *out) {
    crosser cross = {.options = options, .count = count, .pool = pool};
    td_array *ordered = td_pool_take(pool, (size_t)(count + 1) * sizeof *ordered);
    int64_t *at = td_pool_take(pool, (size_t)(count + 1) * sizeof *at);
    cross.inputs = td_pool_take(pool, (size_t)(count + 1) * sizeof *cross.inputs);
    if (ordered == NULL || at == NULL || cross.inputs == NULL) {
        return td_tf_no_memory("a cross");
    }
    int n = 0;
    for (int sparse = 1; sparse >= 0; sparse--) {
        for (int i = 0; i < count; i++) {
            if ((inputs[i].kind == TD_ARRAY_SPARSE) == (sparse == 1)) {
                ordered[n++] = inputs[i];
            }
        }
    }
    TD_TRY(check_rows(ordered, count, &cross.rows));
    TD_TRY(check_salted(ordered, count, options));
    for (int i = 0; i < count; i++) {
        TD_TRY(make_input(&cross, &ordered[i], &cross.inputs[i]));
    }
    int64_t total = 0, most = 0;
    for (int64_t row = 0; row < cross.rows; row++) {
        int64_t size = count_row(&cross, row);
        if (size < 0 || total + size > INT32_MAX) {
            return td_tf_no_memory("so many crosses");
        }
        total += size;
        most = size > most ? size : most;
    }
    TD_TRY(td_sparse_take(pool,
                          options->mode == TD_CROSS_STRING ? TD_ELEMENT_BYTES : TD_ELEMENT_INT64, 2,
                          total, out));
    out->dense_shape[0] = cross.rows;
    out->dense_shape[1] = most;
    int64_t to = 0;
    for (int64_t row = 0; row < cross.rows; row++) {
        TD_TRY(cross_row(&cross, row, count_row(&cross, row), at, out, &to));
    }
    return TD_OK;
}
