/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/memory.h"
#include "data/example_slice.h"
#include "data/example_values.h"

static td_status fail_key(const td_parse_feature *feature, const char *text, const char *word) {
    return td_tf_fail(TD_TF_INVALID_ARGUMENT, "Key: %.*s.  %s%s%s",
                      (int)(feature->key.size < 200 ? feature->key.size : 200),
                      (const char *)feature->key.data, text, word,
                      word[0] == '\0' ? "" : "_list slice was not parsed.");
}

static const char *list_word(td_element_type dtype) {
    return dtype == TD_ELEMENT_INT64 ? "int64" : dtype == TD_ELEMENT_FLOAT32 ? "float" : "bytes";
}

static td_status parse_fixed(const td_example_parser *parser, int slot, td_span list,
                             td_tensor *out) {
    const td_parse_feature *feature = &parser->features[slot];
    int64_t count = td_list_values(feature->dtype, list, out->data, parser->elements[slot]);
    if (count < 0) {
        return fail_key(feature, "Can't parse serialized Example: a list cannot be parsed.", "");
    }
    return count == parser->elements[slot]
               ? TD_OK
               : fail_key(feature, "Can't parse serialized Example: Some ",
                          list_word(feature->dtype));
}

static td_status take_varying(const td_example_parser *parser, int slot, int64_t count,
                              td_pool *pool, td_array *out) {
    const td_parse_feature *feature = &parser->features[slot];
    if (feature->kind == TD_PARSE_SPARSE) {
        out->kind = TD_ARRAY_SPARSE;
        TD_TRY(td_sparse_take(pool, feature->dtype, 1, count, &out->sparse));
        out->sparse.dense_shape[0] = count;
        for (int64_t i = 0; i < count; i++) {
            out->sparse.indices[i] = i;
        }
        return TD_OK;
    }
    int64_t shape[TD_RANK_MAX] = {count};
    int rank = 1;
    if (feature->kind == TD_PARSE_PADDED) {
        rank = feature->rank + 1;
        if (rank > TD_RANK_MAX) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT, "a shape of more than %d dimensions",
                              TD_RANK_MAX - 1);
        }
        shape[0] = count / parser->elements[slot];
        memcpy(shape + 1, feature->shape, (size_t)feature->rank * sizeof *shape);
    }
    out->kind = TD_ARRAY_TENSOR;
    return td_tensor_take(pool, feature->dtype, rank, shape, &out->tensor);
}

static td_status parse_varying(const td_example_parser *parser, int slot, td_span list,
                               td_pool *pool, td_array *out) {
    const td_parse_feature *feature = &parser->features[slot];
    td_column_buffer *column = &parser->slices[0].columns[slot];
    if (!td_column_reserve(column, feature->dtype, td_list_bound(feature->dtype, list.size))) {
        return td_tf_no_memory("the values of a record");
    }
    int64_t count = td_list_values(feature->dtype, list, column->data, INT64_MAX / 8);
    if (count < 0) {
        return fail_key(feature, "Can't parse serialized Example: a list cannot be parsed.", "");
    }
    if (feature->kind == TD_PARSE_PADDED && count % parser->elements[slot] != 0) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                          "Error while parsing feature with key %.*s: number of elements should be "
                          "divisible by %lld, found %lld instead",
                          (int)(feature->key.size < 200 ? feature->key.size : 200),
                          (const char *)feature->key.data, (long long)parser->elements[slot],
                          (long long)count);
    }
    TD_TRY(take_varying(parser, slot, count, pool, out));
    const td_tensor *values = out->kind == TD_ARRAY_SPARSE ? &out->sparse.values : &out->tensor;
    if (count > 0) {
        memcpy(values->data, column->data, (size_t)count * td_element_bytes(feature->dtype));
    }
    return TD_OK;
}

static td_status parse_match(const td_example_parser *parser, const td_match *match, td_pool *pool,
                             td_array *out) {
    td_slice *slice = &parser->slices[0];
    const td_parse_feature *feature = &parser->features[match->slot];
    td_span list = match->value;
    td_element_type dtype;
    if (!td_feature_dtype(&list, &dtype)) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT, "Unsupported datatype.");
    }
    if (dtype == TD_ELEMENT_NONE || slice->seen[match->slot] == 0) {
        return TD_OK;
    }
    slice->seen[match->slot] = 0;
    if (dtype != feature->dtype) {
        char text[120];
        bool dense = feature->kind == TD_PARSE_FIXED || feature->kind == TD_PARSE_PADDED;
        snprintf(text, sizeof text,
                 dense ? "Data types don't match. Data type: %s but expected type: %s"
                       : "Data types don't match. Actual type: %s, Expected type: %s",
                 td_element_tf(dtype), td_element_tf(feature->dtype));
        return fail_key(feature, text, "");
    }
    return feature->kind == TD_PARSE_FIXED
               ? parse_fixed(parser, match->slot, list, &out[match->slot].tensor)
               : parse_varying(parser, match->slot, list, pool, &out[match->slot]);
}

static td_status fill_missing(const td_example_parser *parser, int slot, td_pool *pool,
                              td_array *out) {
    const td_parse_feature *feature = &parser->features[slot];
    if (feature->kind != TD_PARSE_FIXED) {
        return take_varying(parser, slot, 0, pool, out);
    }
    if (feature->fallback == NULL) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                          "Feature: %.*s (data type: %s) is required but could not be found.",
                          (int)(feature->key.size < 200 ? feature->key.size : 200),
                          (const char *)feature->key.data, td_element_tf(feature->dtype));
    }
    memcpy(out->tensor.data, feature->fallback,
           (size_t)parser->elements[slot] * td_element_bytes(feature->dtype));
    return TD_OK;
}

td_status td_example_parse_one(td_example_parser *parser, td_span record, td_pool *pool,
                               td_array *out) {
    if (parser->slice_capacity == 0) {
        parser->slices = td_alloc_zero(sizeof *parser->slices);
        if (parser->slices == NULL) {
            return td_tf_no_memory("a record");
        }
        parser->slice_capacity = 1;
    }
    td_slice *slice = &parser->slices[0];
    TD_TRY(td_slice_prepare(slice, parser->count));
    td_slice_begin(slice, parser->count, 0, 1);
    for (int slot = 0; slot < parser->count; slot++) {
        const td_parse_feature *feature = &parser->features[slot];
        if (feature->kind == TD_PARSE_FIXED) {
            out[slot].kind = TD_ARRAY_TENSOR;
            TD_TRY(td_tensor_take(pool, feature->dtype, feature->rank, feature->shape,
                                  &out[slot].tensor));
        }
    }
    if (!td_slice_scan(parser, slice, record)) {
        return slice->failed != TD_TF_OK
                   ? td_tf_refail(slice->failed, slice->message)
                   : td_tf_fail(TD_TF_INVALID_ARGUMENT,
                                "Could not parse example input: a record of %zu bytes",
                                record.size);
    }
    for (int64_t i = slice->n_matches; i-- > 0;) {
        TD_TRY(parse_match(parser, &slice->matches[i], pool, out));
    }
    for (int slot = 0; slot < parser->count; slot++) {
        if (slice->seen[slot] < 0) {
            TD_TRY(fill_missing(parser, slot, pool, &out[slot]));
        }
    }
    return TD_OK;
}
