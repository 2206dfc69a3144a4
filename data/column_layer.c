/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "data/column.h"
#include "data/tf_error.h"

static int64_t column_width(const td_column *column) {
    int64_t shape[TD_RANK_MAX];
    return td_shape_count(td_column_variable_shape(column, shape), shape);
}

/* The rows of a lookup that is not safe are known only when it was made. */
static bool rows_known(const td_column *column) {
    return column->safe ||
           (column->type != TD_COLUMN_EMBEDDING && column->type != TD_COLUMN_SHARED_EMBEDDING);
}

static td_status check_batch(const td_column_list *sorted, const td_tensor *parts) {
    for (int i = 1; i < sorted->count; i++) {
        if (parts[i].dtype != parts[0].dtype) {
            return td_tf_fail(TD_TF_TYPE, "columns %s and %s are of %s and %s, which do not match",
                              (const char *)sorted->columns[0]->name.data,
                              (const char *)sorted->columns[i]->name.data,
                              td_element_tf(parts[0].dtype), td_element_tf(parts[i].dtype));
        }
    }
    for (int i = 1; i < sorted->count; i++) {
        if (parts[i].shape[0] != parts[0].shape[0]) {
            bool known = rows_known(sorted->columns[0]) && rows_known(sorted->columns[i]);
            return td_tf_fail(
                known ? TD_TF_VALUE : TD_TF_INVALID_ARGUMENT,
                "Batch size (first dimension) of each feature must be same. Batch size "
                "of columns (%s, %s): (%lld, %lld)",
                (const char *)sorted->columns[0]->name.data,
                (const char *)sorted->columns[i]->name.data, (long long)parts[0].shape[0],
                (long long)parts[i].shape[0]);
        }
    }
    return TD_OK;
}

/* Rows of the parts beside each other: rows x the sum of widths. */
static void put_beside(const td_tensor *parts, const int64_t *widths, int count, int64_t rows,
                       td_tensor *out) {
    size_t bytes = td_element_bytes(out->dtype);
    char *to = out->data;
    for (int64_t row = 0; row < rows; row++) {
        for (int i = 0; i < count; i++) {
            size_t size = (size_t)widths[i] * bytes;
            if (size > 0) {
                memcpy(to, (const char *)parts[i].data + (size_t)row * size, size);
            }
            to += size;
        }
    }
}

typedef struct feature_layer {
    td_tensor *parts, *lengths;
    int64_t *widths;
    int64_t width;
} feature_layer;

static td_status make_layer(const td_column_list *sorted, td_pool *pool, feature_layer *out) {
    size_t n = (size_t)sorted->count;
    out->parts = td_pool_take_zero(pool, n * sizeof *out->parts);
    out->lengths = td_pool_take_zero(pool, n * sizeof *out->lengths);
    out->widths = td_pool_take_zero(pool, n * sizeof *out->widths);
    return out->parts == NULL || out->lengths == NULL || out->widths == NULL
               ? td_tf_no_memory("a feature layer")
               : TD_OK;
}

td_status td_columns_dense(const td_column_list *sorted, const td_feature_map *features,
                           td_pool *pool, td_tensor *out) {
    feature_layer layer = {0};
    TD_TRY(make_layer(sorted, pool, &layer));
    for (int i = 0; i < sorted->count; i++) {
        TD_TRY(td_column_dense(sorted->columns[i], features, false, pool, &layer.parts[i], NULL));
        layer.widths[i] = column_width(sorted->columns[i]);
        if (layer.parts[i].count != layer.parts[i].shape[0] * layer.widths[i]) {
            return td_tf_fail(
                TD_TF_VALUE,
                "Input to reshape is a tensor with %lld values, but the requested shape "
                "has %lld (column %s)",
                (long long)layer.parts[i].count,
                (long long)(layer.parts[i].shape[0] * layer.widths[i]),
                (const char *)sorted->columns[i]->name.data);
        }
        layer.width += layer.widths[i];
    }
    TD_TRY(check_batch(sorted, layer.parts));
    const int64_t shape[2] = {layer.parts[0].shape[0], layer.width};
    TD_TRY(td_tensor_take(pool, layer.parts[0].dtype, 2, shape, out));
    put_beside(layer.parts, layer.widths, sorted->count, shape[0], out);
    return TD_OK;
}

static td_status check_lengths(const td_column_list *sorted, const feature_layer *layer) {
    for (int i = 1; i < sorted->count; i++) {
        if (layer->parts[0].shape[1] != layer->parts[i].shape[1]) {
            return td_tf_fail(
                TD_TF_VALUE, "%s has %lld steps, %s %lld",
                (const char *)sorted->columns[0]->name.data, (long long)layer->parts[0].shape[1],
                (const char *)sorted->columns[i]->name.data, (long long)layer->parts[i].shape[1]);
        }
    }
    for (int i = 1; i < sorted->count; i++) {
        const td_tensor *a = &layer->lengths[0], *b = &layer->lengths[i];
        if (a->count != b->count ||
            (a->count > 0 && memcmp(a->data, b->data, (size_t)a->count * sizeof(int64_t)) != 0)) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                              "Condition x == y did not hold: lengths of the sequences %s and %s",
                              (const char *)sorted->columns[0]->name.data,
                              (const char *)sorted->columns[i]->name.data);
        }
    }
    return TD_OK;
}

td_status td_columns_sequence(const td_column_list *sorted, const td_feature_map *features,
                              td_pool *pool, td_tensor *out, td_tensor *lengths) {
    feature_layer layer = {0};
    TD_TRY(make_layer(sorted, pool, &layer));
    for (int i = 0; i < sorted->count; i++) {
        TD_TRY(td_column_dense(sorted->columns[i], features, true, pool, &layer.parts[i],
                               &layer.lengths[i]));
        layer.widths[i] = column_width(sorted->columns[i]);
        layer.width += layer.widths[i];
    }
    TD_TRY(check_batch(sorted, layer.parts));
    TD_TRY(check_lengths(sorted, &layer));
    const int64_t shape[3] = {layer.parts[0].shape[0], layer.parts[0].shape[1], layer.width};
    TD_TRY(td_tensor_take(pool, layer.parts[0].dtype, 3, shape, out));
    put_beside(layer.parts, layer.widths, sorted->count, shape[0] * shape[1], out);
    *lengths = layer.lengths[0];
    return TD_OK;
}

td_status td_concatenate_context(const td_tensor *context, const td_tensor *sequence, td_pool *pool,
                                 td_tensor *out) {
    if (sequence->rank != 3 || context->rank != 2) {
        return td_tf_fail(TD_TF_VALUE,
                          sequence->rank != 3 ? "sequence_input must have rank 3, received rank %d"
                                              : "context_input must have rank 2, received rank %d",
                          sequence->rank != 3 ? sequence->rank : context->rank);
    }
    if (context->dtype != TD_ELEMENT_FLOAT32 || sequence->dtype != TD_ELEMENT_FLOAT32) {
        bool first = context->dtype != TD_ELEMENT_FLOAT32;
        return td_tf_fail(TD_TF_TYPE, "%s must have dtype float32; got %s",
                          first ? "context_input" : "sequence_input",
                          td_element_text(first ? context->dtype : sequence->dtype));
    }
    int64_t rows = sequence->shape[0], steps = sequence->shape[1], width = sequence->shape[2];
    int64_t more = context->shape[1];
    if (context->shape[0] != rows) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                          "ConcatOp : context of %lld rows, sequences of %lld",
                          (long long)context->shape[0], (long long)rows);
    }
    const int64_t shape[3] = {rows, steps, width + more};
    TD_TRY(td_tensor_take(pool, sequence->dtype, 3, shape, out));
    size_t bytes = td_element_bytes(sequence->dtype);
    char *to = out->data;
    for (int64_t i = 0; i < rows * steps; i++) {
        memcpy(to, (const char *)sequence->data + (size_t)(i * width) * bytes,
               (size_t)width * bytes);
        to += (size_t)width * bytes;
        memcpy(to, (const char *)context->data + (size_t)(i / steps * more) * bytes,
               (size_t)more * bytes);
        to += (size_t)more * bytes;
    }
    return TD_OK;
}

/* All ids of a row in one list, whatever their dimensions. */
static td_status flatten_rows(td_sparse *sparse, td_pool *pool) {
    if (sparse->rank == 2) {
        return TD_OK;
    }
    int64_t n = sparse->values.count, width = 1;
    int64_t *indices = td_pool_take(pool, (size_t)n * 2 * sizeof *indices);
    if (indices == NULL) {
        return td_tf_no_memory("ids");
    }
    for (int d = 1; d < sparse->rank; d++) {
        width *= sparse->dense_shape[d];
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0;
        for (int d = 1; d < sparse->rank; d++) {
            at = at * sparse->dense_shape[d] + sparse->indices[i * sparse->rank + d];
        }
        indices[2 * i] = sparse->indices[i * sparse->rank];
        indices[2 * i + 1] = at;
    }
    sparse->indices = indices;
    sparse->rank = 2;
    sparse->dense_shape[1] = width;
    return TD_OK;
}

static td_status dense_sum(const td_tensor *part, const td_tensor *weights, int64_t width,
                           int64_t units, td_tensor *out) {
    const float *x = part->data, *w = weights->data;
    if (part->count != out->shape[0] * width || weights->count != width * units) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                          "Matrix size-incompatible: %lld inputs, %lld weights for %lld units",
                          (long long)width, (long long)weights->count, (long long)units);
    }
    for (int64_t row = 0; row < out->shape[0]; row++) {
        for (int64_t i = 0; i < width; i++) {
            for (int64_t u = 0; u < units; u++) {
                ((float *)out->data)[row * units + u] += x[row * width + i] * w[i * units + u];
            }
        }
    }
    return TD_OK;
}

static td_status start_sum(int64_t rows, int64_t units, td_pool *pool, td_tensor *out) {
    const int64_t shape[2] = {rows, units};
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_FLOAT32, 2, shape, out));
    memset(out->data, 0, (size_t)out->count * sizeof(float));
    return TD_OK;
}

static td_status column_sum(const td_column *column, const td_feature_map *features,
                            const td_tensor *weights, int64_t units, td_combiner combiner,
                            td_pool *pool, td_tensor *out) {
    bool zero = weights->data == NULL;
    if (td_column_is_categorical(column)) {
        td_ids ids;
        TD_TRY(td_column_ids(column, features, pool, &ids));
        TD_TRY(flatten_rows(&ids.ids, pool));
        td_tensor table = *weights;
        const int64_t shape[2] = {column->buckets, units};
        if (zero) {
            TD_TRY(td_tensor_take(pool, TD_ELEMENT_FLOAT32, 2, shape, &table));
            memset(table.data, 0, (size_t)table.count * sizeof(float));
        }
        td_lookup lookup = {&table, combiner, 0, true, -1};
        return td_embedding_lookup_sparse(&lookup, &ids, pool, out);
    }
    td_tensor part;
    TD_TRY(td_column_dense(column, features, false, pool, &part, NULL));
    TD_TRY(start_sum(part.shape[0], units, pool, out));
    return zero ? TD_OK : dense_sum(&part, weights, column_width(column), units, out);
}

td_status td_columns_linear(const td_column_list *sorted, const td_feature_map *features,
                            const td_tensor *weights, const float *bias, int64_t units,
                            td_combiner combiner, td_pool *pool, td_tensor *out) {
    td_tensor sum = {0};
    for (int i = 0; i < sorted->count; i++) {
        td_tensor part;
        TD_TRY(column_sum(sorted->columns[i], features, &weights[i], units, combiner, pool, &part));
        if (i == 0) {
            sum = part;
            continue;
        }
        if (part.count != sum.count) {
            return td_tf_fail(TD_TF_VALUE, "Batch size of columns (%s, %s) differs",
                              (const char *)sorted->columns[0]->name.data,
                              (const char *)sorted->columns[i]->name.data);
        }
        for (int64_t j = 0; j < part.count; j++) {
            ((float *)sum.data)[j] += ((const float *)part.data)[j];
        }
    }
    for (int64_t j = 0; bias != NULL && j < sum.count; j++) {
        ((float *)sum.data)[j] += bias[j % units];
    }
    *out = sum;
    return TD_OK;
}
