/* SPDX-License-Identifier: Apache-2.0 */
#include "data/column_keras.h"

#include <string.h>

#include "data/text_number.h"
#include "data/tf_error.h"

static td_status check_input(const td_column *column, const td_tensor *input) {
    bool same = column->type == TD_COLUMN_DISCRETIZATION || column->type == TD_COLUMN_NORMALIZATION
                    ? input->dtype != TD_ELEMENT_BYTES
                : column->type == TD_COLUMN_HASHING || column->type == TD_COLUMN_HASHED_CROSSING
                    ? true
                : column->dtype == TD_ELEMENT_BYTES ? input->dtype == TD_ELEMENT_BYTES
                                                    : td_element_is_int(input->dtype);
    return same ? TD_OK
                : td_tf_fail(TD_TF_VALUE, "column %s reads %s, its input is %s",
                             (const char *)column->name.data, td_element_tf(column->dtype),
                             td_element_tf(input->dtype));
}

td_status td_keras_ids(const td_column *column, const td_tensor *inputs, td_pool *pool,
                       td_tensor *out) {
    const td_column_layer *layer = column->layer;
    td_tensor ids;
    TD_TRY(check_input(column, &inputs[0]));
    switch (column->type) {
    case TD_COLUMN_HASHING:
        return td_hashing_apply(&layer->hashing, &inputs[0], pool, out);
    case TD_COLUMN_HASHED_CROSSING:
        return td_hashed_crossing_apply(column->buckets, TD_ENCODE_INT, inputs, column->n_leaves,
                                        pool, out);
    case TD_COLUMN_DISCRETIZATION:
        TD_TRY(td_discretization_apply(column->boundaries, column->n_boundaries, TD_ENCODE_INT,
                                       &inputs[0], pool, &ids));
        return td_cast(&ids, TD_ELEMENT_INT64, pool, out);
    case TD_COLUMN_CATEGORY_ENCODING:
        return td_cast(&inputs[0], TD_ELEMENT_INT64, pool, out);
    default:
        return td_token_table_ids(layer->tokens, &inputs[0], pool, out);
    }
}

td_status td_keras_dense(const td_column *column, const td_tensor *inputs, td_pool *pool,
                         td_tensor *out) {
    const td_column_layer *layer = column->layer;
    td_tensor ids;
    if (column->type == TD_COLUMN_NORMALIZATION) {
        TD_TRY(check_input(column, &inputs[0]));
        return td_normalization_apply(layer->mean, layer->variance, layer->n, layer->invert,
                                      &inputs[0], pool, out);
    }
    TD_TRY(td_keras_ids(column, inputs, pool, &ids));
    TD_TRY(
        td_encode_ids(&ids, layer->encoding, column->buckets, NULL, TD_ELEMENT_FLOAT32, pool, out));
    if (layer->encoding == TD_ENCODE_TF_IDF) {
        td_token_table_weigh(layer->tokens, column->buckets, out->data, out->count);
    }
    return TD_OK;
}

static void count_id(const td_column *column, int64_t id, float *row) {
    if (id >= 0 && id < column->buckets) {
        row[id] = column->layer->encoding == TD_ENCODE_MULTI_HOT ? 1 : row[id] + 1;
    }
}

void td_keras_row(const td_column *column, const int64_t *ids, int64_t n, float *out) {
    memset(out, 0, (size_t)column->buckets * sizeof *out);
    for (int64_t i = 0; i < n; i++) {
        count_id(column, ids[i], out);
    }
    if (column->layer->encoding == TD_ENCODE_TF_IDF) {
        td_token_table_weigh(column->layer->tokens, column->buckets, out, column->buckets);
    }
}

/* Inputs by name. All of a layer are tensors, or its only one is sparse. */
static td_status get_inputs(const td_column *column, const td_feature_map *features, td_pool *pool,
                            td_array *first, td_tensor **out) {
    int n = column->n_leaves;
    td_tensor *inputs = td_pool_take(pool, (size_t)(n + 1) * sizeof *inputs);
    if (inputs == NULL) {
        return td_tf_no_memory("the inputs of a layer");
    }
    for (int i = 0; i == 0 || i < n; i++) {
        td_span key = n == 0 ? column->key : column->leaves[i].key;
        td_array value;
        TD_TRY(td_feature_get(features, key, pool, &value));
        if (value.kind == TD_ARRAY_SPARSE && !column->layer->lists) {
            return td_tf_fail(TD_TF_VALUE, "column %s reads values of a shape, %.*s is sparse",
                              (const char *)column->name.data, (int)key.size,
                              (const char *)key.data);
        }
        inputs[i] = value.kind == TD_ARRAY_SPARSE ? value.sparse.values : value.tensor;
        if (i == 0) {
            *first = value;
        }
    }
    *out = inputs;
    return TD_OK;
}

/* Every cell of a tensor, in its place. */
static td_status sparse_of_all(const td_tensor *ids, td_pool *pool, td_sparse *out) {
    TD_TRY(td_sparse_take(pool, TD_ELEMENT_INT64, ids->rank, ids->count, out));
    memcpy(out->dense_shape, ids->shape, sizeof out->dense_shape);
    out->values.data = ids->data;
    for (int64_t i = 0; i < ids->count; i++) {
        td_tensor_place(ids, i, out->indices + i * ids->rank);
    }
    return TD_OK;
}

td_status td_keras_column_ids(const td_column *column, const td_feature_map *features,
                              td_pool *pool, td_sparse *out) {
    td_array first;
    td_tensor *inputs, ids;
    TD_TRY(get_inputs(column, features, pool, &first, &inputs));
    TD_TRY(td_keras_ids(column, inputs, pool, &ids));
    if (first.kind != TD_ARRAY_SPARSE) {
        return sparse_of_all(&ids, pool, out);
    }
    *out = first.sparse;
    out->values = ids;
    return TD_OK;
}

td_status td_keras_column_dense(const td_column *column, const td_feature_map *features,
                                td_pool *pool, td_tensor *out) {
    td_array first;
    td_tensor *inputs, ids;
    TD_TRY(get_inputs(column, features, pool, &first, &inputs));
    if (first.kind != TD_ARRAY_SPARSE) {
        return td_keras_dense(column, inputs, pool, out);
    }
    const td_sparse *sparse = &first.sparse;
    const int64_t shape[2] = {sparse->dense_shape[0], column->buckets};
    TD_TRY(td_keras_ids(column, inputs, pool, &ids));
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_FLOAT32, 2, shape, out));
    float *rows = out->data;
    memset(rows, 0, (size_t)out->count * sizeof *rows);
    for (int64_t i = 0; i < ids.count; i++) {
        int64_t row = sparse->indices[i * sparse->rank];
        if (row < 0 || row >= shape[0]) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT, "indices[%lld] is out of bounds",
                              (long long)i);
        }
        count_id(column, ((const int64_t *)ids.data)[i], rows + row * column->buckets);
    }
    if (column->layer->encoding == TD_ENCODE_TF_IDF) {
        td_token_table_weigh(column->layer->tokens, column->buckets, rows, out->count);
    }
    return TD_OK;
}
