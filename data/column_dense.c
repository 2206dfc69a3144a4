/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "base/math.h"
#include "data/column_keras.h"
#include "data/text_number.h"
#include "data/tf_error.h"

/* x * (log(1 + x) / ((1 + x) - 1)), which keeps the digits that 1 + x loses: rounded to a float it
 * is the nearest one. TensorFlow's float is that, or its neighbour, by the value's place in a
 * batch. */
static float log1p_float(float value) {
    double x = (double)value, sum = 1 + x;
    if (sum == 1 || sum == INFINITY) {
        return value;
    }
    if (sum <= 0 || isnan(sum)) {
        return sum == 0 ? -INFINITY : NAN;
    }
    return (float)(x * (td_log(sum) / (sum - 1)));
}

static double normalized(const td_column *column, double x) {
    double value = td_flush_double(column->normalizer_value);
    x = td_flush_double(x);
    return td_flush_double(column->normalizer == TD_NORMALIZER_ADD   ? x + value
                           : column->normalizer == TD_NORMALIZER_MUL ? x * value
                                                                     : log1p(x));
}

static float normalized_float(const td_column *column, float x) {
    if (column->normalizer == TD_NORMALIZER_LOG1P) {
        return log1p_float(x);
    }
    float value = td_flush_float((float)column->normalizer_value);
    x = td_flush_float(x);
    return td_flush_float(column->normalizer == TD_NORMALIZER_ADD ? x + value : x * value);
}

/* Integers wrap at their own width. */
static int64_t normalized_int(const td_column *column, int64_t x) {
    uint64_t a = (uint64_t)x, b = (uint64_t)(int64_t)column->normalizer_value;
    return (int64_t)(column->normalizer == TD_NORMALIZER_ADD ? a + b : a * b);
}

static td_status normalize(const td_column *column, const td_tensor *given, td_pool *pool,
                           td_tensor *out) {
    bool whole = td_element_is_int(given->dtype);
    if (whole && (column->normalizer == TD_NORMALIZER_LOG1P ||
                  column->normalizer_value != floor(column->normalizer_value) ||
                  fabs(column->normalizer_value) > 9e18)) {
        return td_tf_fail(TD_TF_TYPE, "column %s: its normalizer needs floats, the input is %s",
                          (const char *)column->key.data, td_element_text(given->dtype));
    }
    bool narrow = given->dtype == TD_ELEMENT_FLOAT32, wide = given->dtype == TD_ELEMENT_FLOAT64;
    td_element_type dtype = narrow || wide ? given->dtype : TD_ELEMENT_INT64;
    TD_TRY(td_tensor_take(pool, dtype, given->rank, given->shape, out));
    for (int64_t i = 0; i < given->count; i++) {
        if (narrow) {
            ((float *)out->data)[i] = normalized_float(column, ((const float *)given->data)[i]);
        } else if (wide) {
            ((double *)out->data)[i] = normalized(column, ((const double *)given->data)[i]);
        } else {
            int64_t value = normalized_int(column, td_tensor_int(given, i));
            ((int64_t *)out->data)[i] =
                given->dtype == TD_ELEMENT_INT32 ? (int64_t)(int32_t)value : value;
        }
    }
    return TD_OK;
}

td_status td_to_float32(const td_tensor *given, td_pool *pool, td_tensor *out) {
    if (given->dtype == TD_ELEMENT_BYTES) {
        return td_tf_fail(TD_TF_UNIMPLEMENTED, "Cast string to float is not supported");
    }
    if (given->dtype == TD_ELEMENT_FLOAT32) {
        *out = *given;
        return TD_OK;
    }
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_FLOAT32, given->rank, given->shape, out));
    for (int64_t i = 0; i < given->count; i++) {
        float value = given->dtype == TD_ELEMENT_FLOAT64 ? (float)((const double *)given->data)[i]
                                                         : (float)td_tensor_int(given, i);
        ((float *)out->data)[i] = td_flush_float(value);
    }
    return TD_OK;
}

static td_status numeric_tensor(const td_column *column, const td_feature_map *features,
                                td_pool *pool, td_tensor *out) {
    td_array value;
    TD_TRY(td_feature_get(features, column->key, pool, &value));
    if (value.kind == TD_ARRAY_SPARSE) {
        return td_tf_fail(TD_TF_VALUE,
                          "The corresponding Tensor of numerical column must be a Tensor. "
                          "SparseTensor is not supported. key: %s",
                          (const char *)column->key.data);
    }
    td_tensor given = value.tensor;
    if (column->normalizer != TD_NORMALIZER_NONE && given.dtype != TD_ELEMENT_BYTES) {
        TD_TRY(normalize(column, &value.tensor, pool, &given));
    }
    return td_to_float32(&given, pool, out);
}

/* NaN is below no boundary. */
static int64_t search(const float *boundaries, int64_t n, double x) {
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (x < (double)boundaries[middle]) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Of so few boundaries it is quicker to compare with all, without a branch. */
enum { FEW = 32 };

static int32_t count_below(const float *boundaries, int64_t n, float x) {
    int32_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        count += !(td_flush_float(x) < boundaries[i]);
    }
    return count;
}

/* Comparisons, too, take boundaries below the smallest normal number for zero. */
static td_status flush_boundaries(const float **boundaries, int64_t n, td_pool *pool) {
    bool subnormal = false;
    for (int64_t i = 0; i < n; i++) {
        subnormal = subnormal || fpclassify((*boundaries)[i]) == FP_SUBNORMAL;
    }
    if (!subnormal) {
        return TD_OK;
    }
    float *flushed = td_pool_take(pool, (size_t)n * sizeof *flushed);
    if (flushed == NULL) {
        return td_tf_no_memory("boundaries");
    }
    for (int64_t i = 0; i < n; i++) {
        flushed[i] = td_flush_float((*boundaries)[i]);
    }
    *boundaries = flushed;
    return TD_OK;
}

td_status td_bucketize(const td_tensor *values, const float *boundaries, int64_t n, td_pool *pool,
                       td_tensor *out) {
    if (values->dtype == TD_ELEMENT_BYTES || values->dtype == TD_ELEMENT_BOOL) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT, "buckets of %s", td_element_tf(values->dtype));
    }
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_INT32, values->rank, values->shape, out));
    int32_t *to = out->data;
    TD_TRY(flush_boundaries(&boundaries, n, pool));
    if (values->dtype == TD_ELEMENT_FLOAT32 && n <= FEW) {
        const float *x = values->data;
        for (int64_t i = 0; i < values->count; i++) {
            to[i] = count_below(boundaries, n, x[i]);
        }
        return TD_OK;
    }
    bool wide = values->dtype == TD_ELEMENT_FLOAT64;
    for (int64_t i = 0; i < values->count; i++) {
        /* Integers are compared as floats, as the boundaries are. */
        double x = wide ? td_tensor_real(values, i)
                        : (double)td_flush_float((float)td_tensor_real(values, i));
        if (values->dtype == TD_ELEMENT_INT64) {
            x = (double)(float)((const int64_t *)values->data)[i];
        }
        to[i] = (int32_t)search(boundaries, n, x);
    }
    return TD_OK;
}

td_status td_column_buckets(const td_column *column, const td_feature_map *features, td_pool *pool,
                            td_tensor *out) {
    td_tensor numbers;
    TD_TRY(numeric_tensor(column->source, features, pool, &numbers));
    return td_bucketize(&numbers, column->boundaries, column->n_boundaries, pool, out);
}

static td_status bucketized_tensor(const td_column *column, const td_feature_map *features,
                                   td_pool *pool, td_tensor *out) {
    td_tensor buckets;
    TD_TRY(td_column_buckets(column, features, pool, &buckets));
    int64_t shape[TD_RANK_MAX], depth = column->n_boundaries + 1;
    if (buckets.rank == TD_RANK_MAX) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT, "an input of too many dimensions");
    }
    memcpy(shape, buckets.shape, sizeof shape);
    shape[buckets.rank] = depth;
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_FLOAT32, buckets.rank + 1, shape, out));
    memset(out->data, 0, (size_t)out->count * sizeof(float));
    for (int64_t i = 0; i < buckets.count; i++) {
        ((float *)out->data)[i * depth + ((const int32_t *)buckets.data)[i]] = 1;
    }
    return TD_OK;
}

/* Indices have to be sorted, distinct and inside: what turning a sparse tensor dense asks for. */
static td_status check_indices(const td_sparse *sparse) {
    for (int64_t i = 0; i < sparse->values.count; i++) {
        const int64_t *at = sparse->indices + i * sparse->rank;
        bool above = i == 0;
        for (int d = 0; d < sparse->rank; d++) {
            if (at[d] < 0 || at[d] >= sparse->dense_shape[d]) {
                return td_tf_fail(TD_TF_INVALID_ARGUMENT, "indices[%lld] is out of bounds",
                                  (long long)i);
            }
            if (!above && at[d] < at[d - sparse->rank]) {
                return td_tf_fail(TD_TF_INVALID_ARGUMENT, "indices[%lld] is out of order",
                                  (long long)i);
            }
            above = above || at[d] > at[d - sparse->rank];
        }
        if (!above) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT, "indices[%lld] is repeated", (long long)i);
        }
    }
    return TD_OK;
}

static void add_weight(td_tensor *out, int64_t at, const td_ids *ids, int64_t i) {
    if (out->dtype == TD_ELEMENT_FLOAT64) {
        ((double *)out->data)[at] += ((const double *)ids->weights.values.data)[i];
    } else {
        ((float *)out->data)[at] +=
            ids->weighted ? ((const float *)ids->weights.values.data)[i] : 1;
    }
}

/* Counts, or sums of weights, of every id in the last dimension. Ids outside [0, buckets) count
 * nowhere. */
static td_status indicator_tensor(const td_column *column, const td_feature_map *features,
                                  td_pool *pool, td_tensor *out, td_ids *ids) {
    TD_TRY(td_column_ids(column->source, features, pool, ids));
    const td_sparse *sparse = &ids->ids;
    if (ids->weighted && sparse->values.count != ids->weights.values.count) {
        return ids->static_counts
                   ? td_tf_fail(TD_TF_VALUE, "Dimensions %lld and %lld are not compatible",
                                (long long)sparse->values.count,
                                (long long)ids->weights.values.count)
                   : td_tf_fail(TD_TF_INVALID_ARGUMENT,
                                "Number of elements in indices (%lld) and values (%lld) do not "
                                "match",
                                (long long)sparse->values.count,
                                (long long)ids->weights.values.count);
    }
    if (!ids->weighted) {
        TD_TRY(check_indices(sparse));
    }
    int64_t shape[TD_RANK_MAX];
    memcpy(shape, sparse->dense_shape, sizeof shape);
    shape[sparse->rank - 1] = column->buckets;
    bool wide = ids->weighted && ids->weights.values.dtype == TD_ELEMENT_FLOAT64;
    td_element_type dtype = wide ? TD_ELEMENT_FLOAT64 : TD_ELEMENT_FLOAT32;
    TD_TRY(td_tensor_take(pool, dtype, sparse->rank, shape, out));
    memset(out->data, 0, (size_t)out->count * td_element_bytes(dtype));
    for (int64_t i = 0; i < sparse->values.count; i++) {
        int64_t id = td_tensor_int(&sparse->values, i), row = 0;
        for (int d = 0; d + 1 < sparse->rank; d++) {
            row = row * sparse->dense_shape[d] + sparse->indices[i * sparse->rank + d];
        }
        if (id >= 0 && id < column->buckets && row >= 0 && row * column->buckets < out->count) {
            add_weight(out, row * column->buckets + id, ids, i);
        }
    }
    return TD_OK;
}

static td_status embedding_tensor(const td_column *column, const td_feature_map *features,
                                  td_pool *pool, td_tensor *out, td_ids *ids) {
    TD_TRY(td_column_ids(column->source, features, pool, ids));
    if (column->table.data == NULL) {
        return td_tf_fail(TD_TF_VALUE, "column %s has no table", (const char *)column->name.data);
    }
    td_lookup lookup = {&column->table, column->combiner, column->max_norm, column->safe, -1};
    return td_embedding_lookup_sparse(&lookup, ids, pool, out);
}

/* One more than the last step of each row, in steps of `group` values, rounded up. */
static td_status row_lengths(const td_sparse *sparse, int64_t group, td_pool *pool,
                             td_tensor *out) {
    int64_t rows = sparse->dense_shape[0];
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_INT64, 1, &rows, out));
    int64_t *lengths = out->data;
    memset(lengths, 0, (size_t)rows * sizeof *lengths);
    for (int64_t i = 0; i < sparse->values.count; i++) {
        int64_t row = sparse->indices[i * sparse->rank];
        int64_t length = (sparse->indices[i * sparse->rank + 1] + group) / group;
        if (row >= 0 && row < rows && length > lengths[row]) {
            lengths[row] = length;
        }
    }
    return TD_OK;
}

static void fill_default(const td_column *column, td_tensor *out) {
    size_t bytes = td_element_bytes(out->dtype);
    memset(out->data, 0, (size_t)out->count * bytes);
    for (int64_t i = 0; column->has_default && i < out->count; i++) {
        if (out->dtype == TD_ELEMENT_INT64) {
            ((int64_t *)out->data)[i] = td_tensor_int(&column->fallback, 0);
        } else if (out->dtype == TD_ELEMENT_INT32) {
            ((int32_t *)out->data)[i] = (int32_t)td_tensor_int(&column->fallback, 0);
        } else if (out->dtype == TD_ELEMENT_FLOAT64) {
            ((double *)out->data)[i] = td_tensor_real(&column->fallback, 0);
        } else {
            ((float *)out->data)[i] = (float)td_tensor_real(&column->fallback, 0);
        }
    }
}

/* A sequence of numbers: sparse made dense with the default, cut in steps of the shape, not cast.
 */
static td_status numeric_sequence(const td_column *column, const td_feature_map *features,
                                  td_pool *pool, td_tensor *out, td_tensor *lengths) {
    td_array value;
    TD_TRY(td_feature_get(features, column->key, pool, &value));
    if (value.kind != TD_ARRAY_SPARSE) {
        return td_tf_fail(TD_TF_TYPE, "Input must be a SparseTensor. key: %s",
                          (const char *)column->key.data);
    }
    const td_sparse *sparse = &value.sparse;
    int64_t step = td_shape_count(column->rank, column->shape);
    TD_TRY(check_indices(sparse));
    td_tensor dense;
    TD_TRY(td_tensor_take(pool, sparse->values.dtype, sparse->rank, sparse->dense_shape, &dense));
    if (dense.dtype == TD_ELEMENT_BYTES) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT, "column %s: its input is a sequence of strings",
                          (const char *)column->key.data);
    }
    fill_default(column, &dense);
    size_t bytes = td_element_bytes(dense.dtype);
    for (int64_t i = 0; i < sparse->values.count; i++) {
        int64_t at = 0;
        for (int d = 0; d < sparse->rank; d++) {
            at = at * sparse->dense_shape[d] + sparse->indices[i * sparse->rank + d];
        }
        memcpy((char *)dense.data + (size_t)at * bytes,
               (const char *)sparse->values.data + (size_t)i * bytes, bytes);
    }
    int64_t rows = sparse->dense_shape[0];
    if (dense.count % (rows * step + (rows == 0)) != 0) {
        return td_tf_fail(TD_TF_VALUE,
                          "Dimension size must be evenly divisible by %lld but is %lld",
                          (long long)(rows * step), (long long)dense.count);
    }
    *out = dense;
    out->rank = column->rank + 2;
    out->shape[0] = rows;
    out->shape[1] = rows == 0 ? 0 : dense.count / (rows * step);
    memcpy(out->shape + 2, column->shape, (size_t)column->rank * sizeof *column->shape);
    return row_lengths(sparse, sparse->rank == 2 ? step : 1, pool, lengths);
}

static td_status check_sequence(const td_column *column, bool sequence) {
    bool embedding = column->type != TD_COLUMN_INDICATOR;
    const td_column *source =
        column->source->type == TD_COLUMN_WEIGHTED ? column->source->source : column->source;
    if (source->sequence == sequence) {
        return TD_OK;
    }
    return td_tf_fail(TD_TF_VALUE,
                      sequence ? "In %s: %s. categorical_column must be of type "
                                 "SequenceCategoricalColumn to use SequenceFeatures."
                               : "In %s: %s. categorical_column must not be of type "
                                 "_SequenceCategoricalColumn.",
                      embedding ? "embedding_column" : "indicator_column",
                      (const char *)column->name.data);
}

static td_status sequence_tensor(const td_column *column, const td_feature_map *features,
                                 td_pool *pool, td_tensor *out, td_tensor *lengths) {
    if (column->type == TD_COLUMN_NUMERIC && column->sequence) {
        return numeric_sequence(column, features, pool, out, lengths);
    }
    if (column->type == TD_COLUMN_NUMERIC || column->layer != NULL ||
        td_column_is_categorical(column)) {
        return td_tf_fail(TD_TF_VALUE,
                          "All feature_columns must be of type SequenceDenseColumn: %s",
                          (const char *)column->name.data);
    }
    td_ids ids;
    TD_TRY(check_sequence(column, true));
    TD_TRY(column->type == TD_COLUMN_INDICATOR
               ? indicator_tensor(column, features, pool, out, &ids)
               : embedding_tensor(column, features, pool, out, &ids));
    return row_lengths(&ids.ids, 1, pool, lengths);
}

td_status td_column_dense(const td_column *column, const td_feature_map *features, bool sequence,
                          td_pool *pool, td_tensor *out, td_tensor *lengths) {
    td_ids ids;
    if (sequence) {
        return sequence_tensor(column, features, pool, out, lengths);
    }
    if (column->layer != NULL && !td_column_is_categorical(column)) {
        return td_keras_column_dense(column, features, pool, out);
    }
    switch (column->type) {
    case TD_COLUMN_NUMERIC:
        if (column->sequence) {
            return td_tf_fail(TD_TF_VALUE, "%s is a sequence column",
                              (const char *)column->name.data);
        }
        return numeric_tensor(column, features, pool, out);
    case TD_COLUMN_BUCKETIZED:
        return bucketized_tensor(column, features, pool, out);
    case TD_COLUMN_INDICATOR:
        TD_TRY(check_sequence(column, false));
        return indicator_tensor(column, features, pool, out, &ids);
    case TD_COLUMN_EMBEDDING:
    case TD_COLUMN_SHARED_EMBEDDING:
        TD_TRY(check_sequence(column, false));
        return embedding_tensor(column, features, pool, out, &ids);
    default:
        return td_tf_fail(TD_TF_VALUE,
                          "Items of feature_columns must be a <DenseColumn>. You can wrap a "
                          "categorical column with an embedding_column or indicator_column. Given: "
                          "%s",
                          (const char *)column->name.data);
    }
}
