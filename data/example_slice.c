/* SPDX-License-Identifier: Apache-2.0 */
#include "data/example_slice.h"

#include <stdio.h>

#include "base/memory.h"
#include "data/example_values.h"

static bool grow(void **items, int64_t *capacity, int64_t wanted, size_t item_bytes) {
    if (wanted <= *capacity) {
        return true;
    }
    int64_t more = wanted + wanted / 2 + 16;
    void *moved = td_realloc(*items, (size_t)more * item_bytes);
    if (moved == NULL) {
        return false;
    }
    *items = moved;
    *capacity = more;
    return true;
}

td_status td_slice_prepare(td_slice *slice, int features) {
    size_t n = features > 0 ? (size_t)features : 1;
    if (slice->columns == NULL) {
        slice->columns = td_alloc_zero(n * sizeof *slice->columns);
    }
    if (slice->seen == NULL) {
        slice->seen = td_alloc(n * sizeof *slice->seen);
    }
    if (slice->fast == NULL) {
        slice->fast = td_alloc(n * sizeof *slice->fast);
    }
    if (slice->columns == NULL || slice->seen == NULL || slice->fast == NULL) {
        return td_tf_no_memory("a slice of a batch");
    }
    return TD_OK;
}

void td_slice_begin(td_slice *slice, int features, int64_t first, int64_t last) {
    slice->first = first;
    slice->last = last;
    slice->failed = TD_TF_OK;
    slice->n_guesses = 0; /* their keys pointed into the last batch */
    for (int i = 0; i < features; i++) {
        slice->columns[i].count = slice->columns[i].most = 0;
        slice->seen[i] = -1;
    }
}

void td_slice_destroy(td_slice *slice, int features) {
    for (int i = 0; slice->columns != NULL && i < features; i++) {
        td_free(slice->columns[i].data);
        td_free(slice->columns[i].ends);
    }
    td_free(slice->columns);
    td_free(slice->seen);
    td_free(slice->fast);
    td_free(slice->matches);
    td_free(slice->guesses);
}

bool td_column_reserve(td_column_buffer *column, td_element_type dtype, int64_t more) {
    return grow(&column->data, &column->capacity, column->count + more + 1,
                td_element_bytes(dtype)); /* never a null pointer, which nothing may be added to */
}

static __attribute__((noinline)) bool no_memory(td_slice *slice) {
    slice->failed = TD_TF_RESOURCE_EXHAUSTED;
    snprintf(slice->message, sizeof slice->message, "no memory for the values of a batch");
    return false;
}

int td_slice_slot_slow(const td_example_parser *parser, td_slice *slice, int64_t place,
                       td_span key) {
    int slot = td_parser_slot(parser, key);
    void *guesses = slice->guesses;
    if (place <= slice->n_guesses &&
        grow(&guesses, &slice->guess_capacity, place + 1, sizeof *slice->guesses)) {
        slice->guesses = guesses;
        slice->guesses[place] = (td_guess){key, slot};
        slice->n_guesses = place == slice->n_guesses ? place + 1 : slice->n_guesses;
    }
    return slot;
}

bool td_slice_entry(td_wire *in, td_span *key, td_span *value) {
    uint32_t length;
    if (!td_wire_varint32(in, &length)) {
        return false;
    }
    const uint8_t *outer = td_wire_limit(in, length);
    *key = *value = (td_span){in->at, 0};
    for (int i = 0; i < 2; i++) {
        uint32_t tag = td_wire_tag(in);
        if (tag != TD_TAG_LEN(1) && tag != TD_TAG_LEN(2)) {
            return false;
        }
        if (!td_wire_string(in, tag == TD_TAG_LEN(1) ? key : value)) {
            return false;
        }
    }
    bool ok = in->at == in->end;
    in->end = outer;
    return ok;
}

static bool scan_features(const td_example_parser *parser, td_slice *slice, td_wire *in,
                          int64_t *place) {
    uint32_t length;
    if (!td_wire_varint32(in, &length)) {
        return false;
    }
    const uint8_t *outer = td_wire_limit(in, length);
    /* Every entry has at least six bytes: its tag, its length, two tags and two lengths. */
    void *matches = slice->matches;
    if (!grow(&matches, &slice->match_capacity, slice->n_matches + (in->end - in->at) / 6 + 1,
              sizeof *slice->matches)) {
        return no_memory(slice);
    }
    slice->matches = matches;
    while (in->at < in->end) {
        td_span key, value;
        if (!td_wire_expect(in, TD_TAG_LEN(1)) || !td_slice_entry(in, &key, &value)) {
            return false;
        }
        int slot = td_slice_slot(parser, slice, (*place)++, key);
        if (slot >= 0) {
            slice->matches[slice->n_matches++] = (td_match){slot, value};
        }
    }
    in->end = outer;
    return true;
}

bool td_slice_scan(const td_example_parser *parser, td_slice *slice, td_span record) {
    td_wire in = td_wire_of(record);
    int64_t place = 0;
    slice->n_matches = 0;
    while (in.at < in.end) {
        if (td_wire_expect(&in, TD_TAG_LEN(1))) {
            if (!scan_features(parser, slice, &in, &place)) {
                return false;
            }
        } else if (!td_wire_skip_field(&in)) {
            return false;
        }
    }
    return true;
}

/* Where an example's messages begin: TensorFlow's words. */
static void fail_at(const td_batch *batch, td_slice *slice, int64_t example, td_span key,
                    const char *text) {
    td_span name = batch->names == NULL ? td_span_text("<unknown>") : batch->names[example];
    slice->failed = TD_TF_INVALID_ARGUMENT;
    snprintf(slice->message, sizeof slice->message, "Name: %.*s, Key: %.*s, Index: %lld.  %.600s",
             (int)(name.size < 200 ? name.size : 200), (const char *)name.data,
             (int)(key.size < 100 ? key.size : 100), (const char *)key.data, (long long)example,
             text);
}

static const char *type_word(td_element_type dtype) {
    return dtype == TD_ELEMENT_INT64 ? "int64" : dtype == TD_ELEMENT_FLOAT32 ? "float" : "bytes";
}

/* "[?,2,1]" with rows, "[2,1]" without. */
static void shape_text(const td_parse_feature *feature, bool rows, char *out, size_t bytes) {
    size_t at = (size_t)snprintf(out, bytes, rows ? "[?" : "[");
    for (int i = 0; i < feature->rank && at < bytes; i++) {
        at += (size_t)snprintf(out + at, bytes - at, "%s%lld", rows || i > 0 ? "," : "",
                               (long long)feature->shape[i]);
    }
    if (at < bytes) {
        snprintf(out + at, bytes - at, "]");
    }
}

static void wrong_type(const td_batch *batch, td_slice *slice, int64_t example,
                       const td_parse_feature *feature, td_element_type found) {
    char text[200];
    if (feature->kind == TD_PARSE_FIXED || feature->kind == TD_PARSE_PADDED) {
        snprintf(text, sizeof text, "Data types don't match. Data type: %s but expected type: %s",
                 td_element_tf(found), td_element_tf(feature->dtype));
    } else {
        snprintf(text, sizeof text, "Data types don't match. Expected type: %s, Actual type: %s",
                 td_element_tf(feature->dtype), td_element_tf(found));
    }
    fail_at(batch, slice, example, feature->key, text);
}

static void wrong_count(const td_batch *batch, td_slice *slice, int64_t example,
                        const td_parse_feature *feature, int64_t count) {
    char shape[120], text[400];
    bool rows = feature->kind == TD_PARSE_PADDED;
    shape_text(feature, rows, shape, sizeof shape);
    snprintf(text, sizeof text,
             rows ? "Number of %s values is not a multiple of stride length. Saw %lld values but "
                    "output shape is: %s"
                  : "Number of %s values != expected.  Values size: %lld but output shape: %s",
             type_word(feature->dtype), (long long)count, shape);
    fail_at(batch, slice, example, feature->key, text);
}

static bool parse_fixed(const td_example_parser *parser, const td_batch *batch, td_slice *slice,
                        int64_t example, int slot, td_span list) {
    const td_parse_feature *feature = &parser->features[slot];
    int64_t elements = parser->elements[slot];
    char *row = (char *)batch->out[slot].tensor.data +
                (size_t)(example * elements) * td_element_bytes(feature->dtype);
    int64_t count = td_list_values(feature->dtype, list, row, elements);
    if (count == elements) {
        return true;
    }
    if (count < 0) {
        fail_at(batch, slice, example, feature->key, "Can't parse serialized Example.");
    } else {
        wrong_count(batch, slice, example, feature, count);
    }
    return false;
}

static bool parse_varying(const td_example_parser *parser, const td_batch *batch, td_slice *slice,
                          int64_t example, int slot, td_span list) {
    const td_parse_feature *feature = &parser->features[slot];
    td_column_buffer *column = &slice->columns[slot];
    if (!td_column_reserve(column, feature->dtype, td_list_bound(feature->dtype, list.size))) {
        return no_memory(slice);
    }
    char *to = (char *)column->data + (size_t)column->count * td_element_bytes(feature->dtype);
    int64_t count = td_list_values(feature->dtype, list, to, INT64_MAX / 8);
    if (count < 0) {
        fail_at(batch, slice, example, feature->key, "Can't parse serialized Example.");
        return false;
    }
    column->count += count;
    if (feature->kind == TD_PARSE_PADDED && count % parser->elements[slot] != 0) {
        wrong_count(batch, slice, example, feature, column->count);
        return false;
    }
    return true;
}

static bool parse_match(const td_example_parser *parser, const td_batch *batch, td_slice *slice,
                        int64_t example, const td_match *match) {
    const td_parse_feature *feature = &parser->features[match->slot];
    td_span list = match->value;
    td_element_type dtype;
    if (!td_feature_dtype(&list, &dtype)) {
        slice->failed = TD_TF_INVALID_ARGUMENT;
        snprintf(slice->message, sizeof slice->message, "Unsupported datatype.");
        return false;
    }
    bool dense = feature->kind == TD_PARSE_FIXED || feature->kind == TD_PARSE_PADDED;
    if (slice->seen[match->slot] == example || (dense && dtype == TD_ELEMENT_NONE)) {
        return true;
    }
    slice->seen[match->slot] = example;
    if (dtype == TD_ELEMENT_NONE) {
        return true;
    }
    if (dtype != feature->dtype) {
        wrong_type(batch, slice, example, feature, dtype);
        return false;
    }
    return feature->kind == TD_PARSE_FIXED
               ? parse_fixed(parser, batch, slice, example, match->slot, list)
               : parse_varying(parser, batch, slice, example, match->slot, list);
}

static void finish_column(td_column_buffer *column, int64_t row) {
    int64_t count = column->count - (row == 0 ? 0 : column->ends[row - 1]);
    column->ends[row] = column->count;
    column->most = count > column->most ? count : column->most;
}

/* Takes back what the fast way did with a record that it gave up. */
static void undo(const td_example_parser *parser, td_slice *slice, int64_t example) {
    int64_t row = example - slice->first;
    for (int slot = 0; slot < parser->count; slot++) {
        slice->seen[slot] = slice->seen[slot] == example ? -1 : slice->seen[slot];
        if (parser->features[slot].kind != TD_PARSE_FIXED) {
            slice->columns[slot].count = row == 0 ? 0 : slice->columns[slot].ends[row - 1];
        }
    }
}

static void finish_varying(const td_example_parser *parser, td_slice *slice, int64_t row) {
    for (int slot = 0; slice->n_fixed < parser->count && slot < parser->count; slot++) {
        if (!slice->fast[slot].fixed) {
            finish_column(&slice->columns[slot], row);
        }
    }
}

static void prepare_fast(const td_example_parser *parser, const td_batch *batch, td_slice *slice) {
    slice->n_fixed = 0;
    for (int slot = 0; slot < parser->count; slot++) {
        const td_parse_feature *feature = &parser->features[slot];
        bool fixed = feature->kind == TD_PARSE_FIXED;
        slice->n_fixed += fixed;
        slice->fast[slot] = (td_fast_slot){.dtype = feature->dtype,
                                           .fixed = fixed,
                                           .elements = parser->elements[slot],
                                           .row_bytes = (size_t)parser->elements[slot] *
                                                        td_element_bytes(feature->dtype),
                                           .base = fixed ? batch->out[slot].tensor.data : NULL};
    }
}

/* Defaults of what was not there, and the ends of what varies. */
static bool finish_example(const td_example_parser *parser, const td_batch *batch, td_slice *slice,
                           int64_t example) {
    for (int slot = 0; slot < parser->count; slot++) {
        const td_parse_feature *feature = &parser->features[slot];
        if (feature->kind != TD_PARSE_FIXED) {
            finish_column(&slice->columns[slot], example - slice->first);
            continue;
        }
        if (slice->seen[slot] == example) {
            continue;
        }
        if (feature->fallback == NULL) {
            td_span name = batch->names == NULL ? td_span_text("<unknown>") : batch->names[example];
            slice->failed = TD_TF_INVALID_ARGUMENT;
            snprintf(slice->message, sizeof slice->message,
                     "Name: %.*s, Feature: %.*s (data type: %s) is required but could not be "
                     "found.",
                     (int)(name.size < 200 ? name.size : 200), (const char *)name.data,
                     (int)(feature->key.size < 100 ? feature->key.size : 100),
                     (const char *)feature->key.data, td_element_tf(feature->dtype));
            return false;
        }
        size_t bytes = (size_t)parser->elements[slot] * td_element_bytes(feature->dtype);
        memcpy((char *)batch->out[slot].tensor.data + (size_t)example * bytes, feature->fallback,
               bytes);
    }
    return true;
}

static bool prepare_ends(const td_example_parser *parser, td_slice *slice) {
    for (int slot = 0; slot < parser->count; slot++) {
        td_column_buffer *column = &slice->columns[slot];
        void *ends = column->ends;
        if (parser->features[slot].kind != TD_PARSE_FIXED) {
            if (!grow(&ends, &column->ends_capacity, slice->last - slice->first,
                      sizeof *column->ends)) {
                return no_memory(slice);
            }
            column->ends = ends;
        }
    }
    return true;
}

void td_slice_parse(const td_example_parser *parser, const td_batch *batch, td_slice *slice) {
    if (!prepare_ends(parser, slice)) {
        return;
    }
    prepare_fast(parser, batch, slice);
    for (int64_t example = slice->first; example < slice->last; example++) {
        if (td_slice_fast(parser, slice, example, batch->records[example])) {
            finish_varying(parser, slice, example - slice->first);
            continue;
        }
        undo(parser, slice, example);
        if (!td_slice_scan(parser, slice, batch->records[example])) {
            if (slice->failed == TD_TF_OK) {
                slice->failed = TD_TF_INVALID_ARGUMENT;
                snprintf(slice->message, sizeof slice->message,
                         "Could not parse example input: record %lld of the batch, %zu bytes",
                         (long long)example, batch->records[example].size);
            }
            return;
        }
        for (int64_t i = slice->n_matches; i-- > 0;) {
            if (!parse_match(parser, batch, slice, example, &slice->matches[i])) {
                return;
            }
        }
        if (!finish_example(parser, batch, slice, example)) {
            return;
        }
    }
}

static td_status take_padded(const td_example_parser *parser, int slot, int64_t n, int64_t most,
                             td_pool *pool, td_array *out) {
    const td_parse_feature *feature = &parser->features[slot];
    int64_t shape[TD_RANK_MAX] = {n, most / parser->elements[slot]};
    if (feature->rank + 2 > TD_RANK_MAX) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT, "a shape of more than %d dimensions",
                          TD_RANK_MAX - 2);
    }
    memcpy(shape + 2, feature->shape, (size_t)feature->rank * sizeof *shape);
    out->kind = TD_ARRAY_TENSOR;
    return td_tensor_take(pool, feature->dtype, feature->rank + 2, shape, &out->tensor);
}

td_status td_slice_take(const td_example_parser *parser, int slot, int64_t n, int64_t total,
                        int64_t most, td_pool *pool, td_array *out) {
    const td_parse_feature *feature = &parser->features[slot];
    switch (feature->kind) {
    case TD_PARSE_PADDED:
        return take_padded(parser, slot, n, most, pool, out);
    case TD_PARSE_SPARSE:
        out->kind = TD_ARRAY_SPARSE;
        TD_TRY(td_sparse_take(pool, feature->dtype, 2, total, &out->sparse));
        out->sparse.dense_shape[0] = n;
        out->sparse.dense_shape[1] = most;
        return TD_OK;
    case TD_PARSE_RAGGED:
        out->kind = TD_ARRAY_RAGGED;
        out->ragged.depth = 1;
        out->ragged.splits_dtype = feature->splits_dtype;
        TD_TRY(td_splits_take(pool, n + 1, &out->ragged.splits[0]));
        out->ragged.splits[0].data[0] = 0;
        return td_tensor_take(pool, feature->dtype, 1, &total, &out->ragged.values);
    case TD_PARSE_FIXED:
        break;
    }
    return TD_OK;
}

static void fill_default(td_element_type dtype, const void *fallback, char *to, int64_t count) {
    size_t bytes = td_element_bytes(dtype);
    const td_span empty = {(const uint8_t *)"", 0};
    if (fallback == NULL && dtype != TD_ELEMENT_BYTES) {
        memset(to, 0, (size_t)count * bytes);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        memcpy(to + (size_t)i * bytes, fallback == NULL ? (const void *)&empty : fallback, bytes);
    }
}

static void merge_padded(const td_parse_feature *feature, const td_slice *slice,
                         const td_column_buffer *column, const td_tensor *out) {
    size_t bytes = td_element_bytes(feature->dtype);
    int64_t row_values = out->shape[0] == 0 ? 0 : out->count / out->shape[0], from = 0;
    for (int64_t i = 0; i < slice->last - slice->first; i++) {
        char *row = (char *)out->data + (size_t)((slice->first + i) * row_values) * bytes;
        int64_t count = column->ends[i] - from;
        if (count > 0) {
            memcpy(row, (const char *)column->data + (size_t)from * bytes, (size_t)count * bytes);
        }
        fill_default(feature->dtype, feature->fallback, row + (size_t)count * bytes,
                     row_values - count);
        from = column->ends[i];
    }
}

void td_slice_merge(const td_example_parser *parser, const td_slice *slice, int slot,
                    td_array *out) {
    const td_parse_feature *feature = &parser->features[slot];
    const td_column_buffer *column = &slice->columns[slot];
    if (feature->kind == TD_PARSE_FIXED) {
        return;
    }
    if (feature->kind == TD_PARSE_PADDED) {
        merge_padded(feature, slice, column, &out[slot].tensor);
        return;
    }
    bool sparse = feature->kind == TD_PARSE_SPARSE;
    const td_tensor *values = sparse ? &out[slot].sparse.values : &out[slot].ragged.values;
    size_t bytes = td_element_bytes(feature->dtype);
    if (column->count > 0) {
        memcpy((char *)values->data + (size_t)column->start * bytes, column->data,
               (size_t)column->count * bytes);
    }
    int64_t from = 0;
    for (int64_t i = 0; i < slice->last - slice->first; i++) {
        int64_t example = slice->first + i;
        if (!sparse) {
            out[slot].ragged.splits[0].data[example + 1] = column->start + column->ends[i];
            continue;
        }
        int64_t *index = out[slot].sparse.indices + 2 * (column->start + from);
        for (int64_t j = 0; j < column->ends[i] - from; j++) {
            index[2 * j] = example;
            index[2 * j + 1] = j;
        }
        from = column->ends[i];
    }
}
