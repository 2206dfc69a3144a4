/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "data/column_keras.h"
#include "data/hash.h"
#include "data/tf_error.h"

td_status td_feature_get(const td_feature_map *features, td_span key, td_pool *pool,
                         td_array *out) {
    const td_array *found = NULL;
    for (int i = 0; i < features->count && found == NULL; i++) {
        found = td_span_equal(features->keys[i], key) ? &features->values[i] : NULL;
    }
    if (found == NULL) {
        return td_tf_fail(TD_TF_VALUE, "Feature %.*s is not in features dictionary.", (int)key.size,
                          (const char *)key.data);
    }
    *out = *found;
    bool sparse = found->kind == TD_ARRAY_SPARSE;
    int rank = sparse ? found->sparse.rank : found->tensor.rank;
    if (rank == 0) {
        return td_tf_fail(TD_TF_VALUE, "Feature (key: %.*s) cannot have rank 0.", (int)key.size,
                          (const char *)key.data);
    }
    if (rank > 1) {
        return TD_OK;
    }
    if (!sparse) {
        out->tensor.rank = 2;
        out->tensor.shape[1] = 1;
        return TD_OK;
    }
    int64_t n = found->sparse.values.count;
    out->sparse.rank = 2;
    out->sparse.dense_shape[1] = 1;
    out->sparse.indices = td_pool_take_zero(pool, (size_t)n * 2 * sizeof(int64_t));
    if (out->sparse.indices == NULL) {
        return td_tf_no_memory("the indices of a feature");
    }
    for (int64_t i = 0; i < n; i++) {
        out->sparse.indices[2 * i] = found->sparse.indices[i];
    }
    return TD_OK;
}

/* The cell that stands for nothing. */
static bool is_ignored(const td_tensor *tensor, int64_t i) {
    return tensor->dtype == TD_ELEMENT_BYTES  ? td_tensor_spans(tensor)[i].size == 0
           : td_element_is_int(tensor->dtype) ? td_tensor_int(tensor, i) == -1
                                              : td_tensor_real(tensor, i) == 0;
}

/* Cells for which keep says so; zero: weights, where 0.0 stands for nothing. */
static td_status sparse_of_dense(const td_tensor *dense, bool zero, td_pool *pool, td_sparse *out) {
    int64_t kept = 0;
    size_t bytes = td_element_bytes(dense->dtype);
    for (int64_t i = 0; i < dense->count; i++) {
        kept += zero ? td_tensor_real(dense, i) != 0 : !is_ignored(dense, i);
    }
    td_sparse sparse;
    TD_TRY(td_sparse_take(pool, dense->dtype, dense->rank, kept, &sparse));
    memcpy(sparse.dense_shape, dense->shape, sizeof sparse.dense_shape);
    int64_t at = 0;
    for (int64_t i = 0; i < dense->count; i++) {
        if (zero ? !(td_tensor_real(dense, i) != 0) : is_ignored(dense, i)) {
            continue;
        }
        td_tensor_place(dense, i, sparse.indices + at * dense->rank);
        memcpy((char *)sparse.values.data + (size_t)at * bytes,
               (const char *)dense->data + (size_t)i * bytes, bytes);
        at++;
    }
    *out = sparse;
    return TD_OK;
}

void td_tensor_place(const td_tensor *tensor, int64_t i, int64_t *index) {
    for (int d = tensor->rank; d-- > 0;) {
        index[d] = i % tensor->shape[d];
        i /= tensor->shape[d];
    }
}

td_status td_to_sparse(const td_array *value, td_pool *pool, td_sparse *out) {
    if (value->kind == TD_ARRAY_SPARSE) {
        *out = value->sparse;
        return TD_OK;
    }
    return sparse_of_dense(&value->tensor, false, pool, out);
}

/* Integers of any width as int64. */
static td_status as_int64(const td_tensor *values, td_pool *pool, td_tensor *out) {
    if (values->dtype == TD_ELEMENT_INT64) {
        *out = *values;
        return TD_OK;
    }
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_INT64, values->rank, values->shape, out));
    for (int64_t i = 0; i < values->count; i++) {
        ((int64_t *)out->data)[i] = td_tensor_int(values, i);
    }
    return TD_OK;
}

static td_status identity_ids(const td_column *column, td_sparse *ids, td_pool *pool) {
    if (!td_element_is_int(ids->values.dtype)) {
        return td_tf_fail(TD_TF_VALUE, "Invalid input, not integer. key: %s dtype: %s",
                          (const char *)column->key.data, td_element_tf(ids->values.dtype));
    }
    td_tensor given;
    TD_TRY(as_int64(&ids->values, pool, &given));
    const int64_t *from = given.data;
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_INT64, 1, &given.count, &ids->values));
    int64_t *to = ids->values.data;
    for (int64_t i = 0; i < given.count; i++) {
        bool outside = from[i] < 0 || from[i] >= column->buckets;
        to[i] = outside && column->has_default ? column->id_default : from[i];
    }
    return TD_OK;
}

static td_status check_key_type(const td_column *column, const td_tensor *values) {
    if (values->dtype != TD_ELEMENT_BYTES && !td_element_is_int(values->dtype)) {
        return td_tf_fail(
            TD_TF_VALUE, "column_name: %s input_tensor dtype must be string or integer. dtype: %s.",
            (const char *)column->key.data, td_element_tf(values->dtype));
    }
    if ((values->dtype == TD_ELEMENT_BYTES) != (column->dtype == TD_ELEMENT_BYTES)) {
        return td_tf_fail(
            TD_TF_VALUE,
            "Column dtype and SparseTensors dtype must be compatible. key: %s, column "
            "dtype: %s, tensor dtype: %s",
            (const char *)column->key.data, td_element_tf(column->dtype),
            td_element_tf(values->dtype));
    }
    return TD_OK;
}

static uint64_t fingerprint(const td_tensor *values, int64_t i) {
    if (values->dtype == TD_ELEMENT_BYTES) {
        td_span text = td_tensor_spans(values)[i];
        return td_fingerprint64(text.data, text.size);
    }
    return td_fingerprint64_int(td_tensor_int(values, i));
}

static td_status vocabulary_ids(const td_column *column, td_sparse *ids, td_pool *pool) {
    TD_TRY(check_key_type(column, &ids->values));
    if (column->vocabulary_class != TD_TF_OK) {
        return td_tf_refail((td_tf_class)column->vocabulary_class, column->vocabulary_message);
    }
    td_tensor given = ids->values;
    int64_t size = td_vocabulary_size(column->vocabulary);
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_INT64, 1, &given.count, &ids->values));
    int64_t *to = ids->values.data;
    for (int64_t i = 0; i < given.count; i++) {
        to[i] = given.dtype == TD_ELEMENT_BYTES
                    ? td_vocabulary_find(column->vocabulary, td_tensor_spans(&given)[i])
                    : td_vocabulary_find_int(column->vocabulary, td_tensor_int(&given, i));
        if (to[i] < 0) {
            uint64_t oov = (uint64_t)(column->buckets - size);
            to[i] = oov > 0 ? size + (int64_t)(fingerprint(&given, i) % oov) : column->id_default;
        }
    }
    return TD_OK;
}

static td_status hash_ids(const td_column *column, td_sparse *ids, td_pool *pool) {
    TD_TRY(check_key_type(column, &ids->values));
    td_tensor given = ids->values;
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_INT64, 1, &given.count, &ids->values));
    for (int64_t i = 0; i < given.count; i++) {
        ((int64_t *)ids->values.data)[i] =
            (int64_t)(fingerprint(&given, i) % (uint64_t)column->buckets);
    }
    return TD_OK;
}

/* Component j of a row with bucket b has id b + (boundaries + 1) * j. */
static td_status bucketized_ids(const td_column *column, const td_feature_map *features,
                                td_pool *pool, td_sparse *out) {
    td_tensor buckets;
    TD_TRY(td_column_buckets(column, features, pool, &buckets));
    int64_t rows = buckets.shape[0], width = column->shape[0];
    if (buckets.count != rows * width) {
        return td_tf_fail(TD_TF_VALUE, "Incompatible shapes: [%lld] vs. [%lld]",
                          (long long)buckets.count, (long long)(rows * width));
    }
    TD_TRY(td_sparse_take(pool, TD_ELEMENT_INT32, 2, buckets.count, out));
    for (int64_t i = 0; i < buckets.count; i++) {
        out->indices[2 * i] = i / width;
        out->indices[2 * i + 1] = i % width;
        ((int32_t *)out->values.data)[i] = ((const int32_t *)buckets.data)[i] +
                                           (int32_t)((column->n_boundaries + 1) * (i % width));
    }
    out->dense_shape[0] = rows;
    out->dense_shape[1] = width;
    return TD_OK;
}

static td_status crossed_ids(const td_column *column, const td_feature_map *features, td_pool *pool,
                             td_sparse *out) {
    td_array *inputs = td_pool_take(pool, (size_t)column->n_leaves * sizeof *inputs);
    if (inputs == NULL) {
        return td_tf_no_memory("a cross");
    }
    for (int i = 0; i < column->n_leaves; i++) {
        const td_cross_leaf *leaf = &column->leaves[i];
        if (leaf->column == NULL) {
            TD_TRY(td_feature_get(features, leaf->key, pool, &inputs[i]));
            continue;
        }
        td_ids ids;
        TD_TRY(td_column_ids(leaf->column, features, pool, &ids));
        if (ids.weighted) {
            return td_tf_fail(TD_TF_VALUE,
                              "crossed_column does not support weight_tensor, but the given column "
                              "populates weight_tensor. Given column: %s",
                              (const char *)leaf->column->name.data);
        }
        inputs[i] = (td_array){.kind = TD_ARRAY_SPARSE, .sparse = ids.ids};
    }
    td_cross_options options = {
        .mode = TD_CROSS_HASHED, .buckets = column->buckets, .hash_key = column->hash_key};
    return td_sparse_cross(inputs, column->n_leaves, &options, pool, out);
}

static td_status weights_of(const td_column *column, const td_feature_map *features, td_pool *pool,
                            td_ids *out) {
    td_array value;
    TD_TRY(td_feature_get(features, column->weight_key, pool, &value));
    bool sparse = value.kind == TD_ARRAY_SPARSE;
    td_element_type dtype = sparse ? value.sparse.values.dtype : value.tensor.dtype;
    if (dtype != column->dtype) {
        return td_tf_fail(TD_TF_VALUE, "Bad dtype, expected %s, but got %s.",
                          td_element_tf(column->dtype), td_element_tf(dtype));
    }
    out->weights = value.sparse;
    if (!sparse) {
        TD_TRY(sparse_of_dense(&value.tensor, true, pool, &out->weights));
    }
    out->static_counts = out->static_counts && sparse;
    if (dtype != TD_ELEMENT_FLOAT32 && dtype != TD_ELEMENT_FLOAT64) {
        td_tensor given = out->weights.values;
        TD_TRY(td_tensor_take(pool, TD_ELEMENT_FLOAT32, 1, &given.count, &out->weights.values));
        for (int64_t i = 0; i < given.count; i++) {
            ((float *)out->weights.values.data)[i] = (float)td_tensor_real(&given, i);
        }
    }
    out->weighted = true;
    return TD_OK;
}

/* A sequence column's ids have three dimensions: batch, step, and all others. */
static void reshape_steps(td_sparse *ids, td_pool *pool, td_status *status) {
    int rank = ids->rank;
    int64_t n = ids->values.count;
    td_sparse out = *ids;
    out.rank = 3;
    out.indices = td_pool_take(pool, (size_t)n * 3 * sizeof(int64_t));
    if (out.indices == NULL) {
        *status = td_tf_no_memory("a sequence");
        return;
    }
    out.dense_shape[2] = 1;
    for (int d = 2; d < rank; d++) {
        out.dense_shape[2] *= ids->dense_shape[d];
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0;
        for (int d = 2; d < rank; d++) {
            at = at * ids->dense_shape[d] + ids->indices[i * rank + d];
        }
        out.indices[3 * i] = ids->indices[i * rank];
        out.indices[3 * i + 1] = ids->indices[i * rank + 1];
        out.indices[3 * i + 2] = at;
    }
    *ids = out;
}

td_status td_column_ids(const td_column *column, const td_feature_map *features, td_pool *pool,
                        td_ids *out) {
    td_ids ids = {0};
    td_status status = TD_OK;
    if (column->type == TD_COLUMN_WEIGHTED) {
        TD_TRY(td_column_ids(column->source, features, pool, &ids));
        TD_TRY(weights_of(column, features, pool, &ids));
    } else if (column->type == TD_COLUMN_BUCKETIZED) {
        TD_TRY(bucketized_ids(column, features, pool, &ids.ids));
    } else if (column->type == TD_COLUMN_CROSSED) {
        TD_TRY(crossed_ids(column, features, pool, &ids.ids));
    } else if (column->layer != NULL) {
        TD_TRY(td_keras_column_ids(column, features, pool, &ids.ids));
    } else {
        td_array value;
        TD_TRY(td_feature_get(features, column->key, pool, &value));
        ids.static_counts = value.kind == TD_ARRAY_SPARSE;
        TD_TRY(td_to_sparse(&value, pool, &ids.ids));
        status = column->type == TD_COLUMN_IDENTITY ? identity_ids(column, &ids.ids, pool)
                 : column->type == TD_COLUMN_HASH   ? hash_ids(column, &ids.ids, pool)
                                                    : vocabulary_ids(column, &ids.ids, pool);
    }
    if (status == TD_OK && column->sequence) {
        reshape_steps(&ids.ids, pool, &status);
    }
    *out = ids;
    return status;
}
