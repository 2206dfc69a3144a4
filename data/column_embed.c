/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "data/column.h"
#include "data/tf_error.h"

static td_status check_id(int64_t id, int64_t at, int64_t rows) {
    return id >= 0 && id < rows
               ? TD_OK
               : td_tf_fail(TD_TF_INVALID_ARGUMENT, "indices[%lld] = %lld is not in [0, %lld)",
                            (long long)at, (long long)id, (long long)rows);
}

/* What a row is multiplied by so that its norm is at most max_norm. */
static float clip_scale(const float *row, int64_t width, double max_norm) {
    if (max_norm == 0) {
        return 1;
    }
    float squares = 0, most = (float)max_norm;
    for (int64_t i = 0; i < width; i++) {
        squares += row[i] * row[i];
    }
    float norm = sqrtf(squares);
    return most / (norm > most ? norm : most);
}

td_status td_embedding_lookup(const td_tensor *table, const td_tensor *ids, double max_norm,
                              td_pool *pool, td_tensor *out) {
    int64_t shape[TD_RANK_MAX] = {0}, width = table->count / (table->shape[0] + !table->shape[0]);
    if (table->rank < 1 || ids->rank + table->rank - 1 > TD_RANK_MAX) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT, "a table of %d dimensions", table->rank);
    }
    memcpy(shape, ids->shape, (size_t)ids->rank * sizeof *shape);
    memcpy(shape + ids->rank, table->shape + 1, (size_t)(table->rank - 1) * sizeof *shape);
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_FLOAT32, ids->rank + table->rank - 1, shape, out));
    for (int64_t i = 0; i < ids->count; i++) {
        int64_t id = td_tensor_int(ids, i);
        TD_TRY(check_id(id, i, table->shape[0]));
        const float *row = (const float *)table->data + id * width;
        float *to = (float *)out->data + i * width, scale = clip_scale(row, width, max_norm);
        for (int64_t j = 0; j < width; j++) {
            to[j] = row[j] * scale;
        }
    }
    return TD_OK;
}

/* Sums of one row of ids while they are gathered. */
typedef struct bag {
    float weights, squares;
    int64_t count;
} bag;

static void combine(const td_lookup *lookup, const bag *sums, bool weighted, float *row,
                    int64_t width) {
    float divisor = 1;
    if (lookup->combiner == TD_COMBINER_MEAN) {
        divisor = weighted ? sums->weights : (float)sums->count;
    } else if (lookup->combiner == TD_COMBINER_SQRTN) {
        divisor = weighted ? sqrtf(sums->squares) : sqrtf((float)sums->count);
    }
    for (int64_t i = 0; i < width && lookup->combiner != TD_COMBINER_SUM; i++) {
        row[i] = divisor == 0 ? 0 : row[i] / divisor;
    }
}

/* Ids of any number of dimensions are rows of the last; the row of value i. */
static int64_t flat_row(const td_sparse *ids, int64_t i) {
    int64_t row = 0;
    for (int d = 0; d + 1 < ids->rank; d++) {
        row = row * ids->dense_shape[d] + ids->indices[i * ids->rank + d];
    }
    return row;
}

static td_status output_shape(const td_lookup *lookup, const td_ids *ids, td_pool *pool,
                              int64_t *rows, td_tensor *out) {
    const td_sparse *sparse = &ids->ids;
    int64_t shape[TD_RANK_MAX] = {0};
    int rank = sparse->rank;
    if (rank < 2 || rank > TD_RANK_MAX - 1) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT, "ids of %d dimensions", rank);
    }
    memcpy(shape, sparse->dense_shape, (size_t)(rank - 1) * sizeof *shape);
    if (!lookup->safe) {
        /* Without the safe lookup, rows behind the last that has an id do not exist. */
        rank = 2;
        shape[0] = sparse->values.count == 0 ? 0 : flat_row(sparse, sparse->values.count - 1) + 1;
    }
    shape[rank - 1] = lookup->table->shape[1];
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_FLOAT32, rank, shape, out));
    *rows = td_shape_count(rank - 1, shape);
    memset(out->data, 0, (size_t)out->count * sizeof(float));
    return TD_OK;
}

static td_status check_weights(const td_ids *ids) {
    if (ids->weighted && ids->weights.values.dtype != TD_ELEMENT_FLOAT32) {
        return td_tf_fail(TD_TF_VALUE, "weights of %s for a table of float",
                          td_element_tf(ids->weights.values.dtype));
    }
    if (!ids->weighted || ids->ids.values.count == ids->weights.values.count) {
        return TD_OK;
    }
    long long n = ids->ids.values.count, m = ids->weights.values.count;
    return ids->static_counts
               ? td_tf_fail(TD_TF_VALUE, "Dimensions %lld and %lld are not compatible", n, m)
               : td_tf_fail(TD_TF_INVALID_ARGUMENT,
                            "Number of elements in indices (%lld) and values (%lld) do not match",
                            n, m);
}

static void add_row(const td_lookup *lookup, int64_t id, float weight, float *restrict to) {
    int64_t width = lookup->table->shape[1];
    const float *restrict row = (const float *)lookup->table->data + id * width;
    float scale = clip_scale(row, width, lookup->max_norm) * weight;
    for (int64_t i = 0; i < width; i++) {
        to[i] += row[i] * scale;
    }
}

static void add_to_bag(const td_lookup *lookup, int64_t id, float weight, bag *sums, float *to) {
    add_row(lookup, id, weight, to);
    sums->weights += weight;
    sums->squares += weight * weight;
    sums->count++;
}

static bool is_pruned(const td_lookup *lookup, int64_t id, float weight, bool weighted) {
    return lookup->safe &&
           (id < 0 || (weighted && lookup->combiner != TD_COMBINER_SUM && !(weight > 0)));
}

/* Of ids that are all there, each with a weight of one: sums of eight numbers stay in registers, in
 * the order of the ids. False: it is not so. */
static bool bag_plain(const td_lookup *lookup, const int64_t *ids, int64_t n, float *out) {
    typedef float eight __attribute__((vector_size(32)));
    int64_t width = lookup->table->shape[1], rows = lookup->table->shape[0];
    const float *table = lookup->table->data;
    if (width % 8 != 0 || lookup->max_norm != 0) {
        return false;
    }
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= rows) {
            return false;
        }
    }
    float divisor = lookup->combiner == TD_COMBINER_MEAN ? (float)n : sqrtf((float)n);
    for (int64_t at = 0; at < width; at += 8) {
        eight sum = {0};
        for (int64_t i = 0; i < n; i++) {
            eight row;
            memcpy(&row, table + ids[i] * width + at, sizeof row);
            sum += row;
        }
        if (lookup->combiner != TD_COMBINER_SUM) {
            sum /= divisor;
        }
        memcpy(out + at, &sum, sizeof sum);
    }
    return true;
}

td_status td_embedding_row(const td_lookup *lookup, const int64_t *ids, const float *weights,
                           int64_t n, float *out) {
    int64_t width = lookup->table->shape[1], kept = 0;
    bag sums = {0};
    if (weights == NULL && n > 0 && bag_plain(lookup, ids, n, out)) {
        return TD_OK;
    }
    memset(out, 0, (size_t)width * sizeof *out);
    for (int64_t i = 0; i < n; i++) {
        float weight = weights != NULL ? weights[i] : 1;
        if (!is_pruned(lookup, ids[i], weight, weights != NULL)) {
            TD_TRY(check_id(ids[i], kept++, lookup->table->shape[0]));
            add_to_bag(lookup, ids[i], weight, &sums, out);
        }
    }
    if (sums.count > 0) {
        combine(lookup, &sums, weights != NULL, out, width);
    } else if (lookup->safe && lookup->default_id >= 0) {
        TD_TRY(check_id(lookup->default_id, 0, lookup->table->shape[0]));
        add_row(lookup, lookup->default_id, 1, out);
    }
    return TD_OK;
}

td_status td_embedding_lookup_sparse(const td_lookup *lookup, const td_ids *ids, td_pool *pool,
                                     td_tensor *out) {
    int64_t rows = 0, width = lookup->table->shape[1], kept = 0;
    TD_TRY(check_weights(ids));
    TD_TRY(output_shape(lookup, ids, pool, &rows, out));
    bag *bags = td_pool_take_zero(pool, (size_t)(rows + 1) * sizeof *bags);
    if (bags == NULL) {
        return td_tf_no_memory("an embedding");
    }
    for (int64_t i = 0; i < ids->ids.values.count; i++) {
        int64_t id = td_tensor_int(&ids->ids.values, i), row = flat_row(&ids->ids, i);
        float weight = ids->weighted ? ((const float *)ids->weights.values.data)[i] : 1;
        if (is_pruned(lookup, id, weight, ids->weighted)) {
            continue;
        }
        TD_TRY(check_id(id, kept++, lookup->table->shape[0]));
        if (row < 0 || row >= rows) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT, "row %lld of ids is not in [0, %lld)",
                              (long long)row, (long long)rows);
        }
        add_to_bag(lookup, id, weight, &bags[row], (float *)out->data + row * width);
    }
    for (int64_t row = 0; row < rows; row++) {
        float *to = (float *)out->data + row * width;
        if (bags[row].count > 0) {
            combine(lookup, &bags[row], ids->weighted, to, width);
        } else if (lookup->safe && lookup->default_id >= 0) {
            TD_TRY(check_id(lookup->default_id, row, lookup->table->shape[0]));
            add_row(lookup, lookup->default_id, 1, to);
        }
    }
    return TD_OK;
}
