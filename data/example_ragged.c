/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "data/example_spec.h"
#include "data/tf_error.h"

/* Numbers are kept in 64 bits and wrapped to what the splits' type holds after every step. */
static int64_t wrap(td_element_type dtype, int64_t value) {
    return dtype == TD_ELEMENT_INT32 ? (int64_t)(int32_t)(uint32_t)(uint64_t)value : value;
}

static int64_t add(td_element_type dtype, int64_t a, int64_t b) {
    return wrap(dtype, (int64_t)((uint64_t)a + (uint64_t)b));
}

static td_status invalid(const char *factory, const char *what) {
    return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                      "Arguments to %s do not form a valid RaggedTensor: %s", factory, what);
}

/* Rows of what a partition divides: the rows of the level below, or of the values. */
static int64_t inner_rows(const td_ragged *value, int level) {
    return level < value->depth ? value->splits[level].count - 1 : value->values.shape[0];
}

/* Checks that validate asks for: from 0, not falling, to the end of what is divided. */
static td_status check_splits(const td_splits *splits, int64_t rows, const char *factory) {
    if (splits->data[0] != 0) {
        return invalid(factory, "the first row does not start at 0");
    }
    for (int64_t i = 1; i < splits->count; i++) {
        if (splits->data[i] < splits->data[i - 1]) {
            return invalid(factory, "a row ends before it starts");
        }
    }
    return splits->data[splits->count - 1] == rows
               ? TD_OK
               : invalid(factory, "the last row does not end with the values");
}

/* Splits from one number a row, in the form the partition's kind gives them. */
static td_status splits_from(td_partition_kind kind, td_element_type dtype, const int64_t *numbers,
                             int64_t n, int64_t rows, td_pool *pool, td_splits *out) {
    TD_TRY(td_splits_take(pool, n + 1, out));
    if (kind == TD_ROW_STARTS) {
        memcpy(out->data, numbers, (size_t)n * sizeof *numbers);
        out->data[n] = wrap(dtype, rows);
        return TD_OK;
    }
    out->data[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        out->data[i + 1] =
            kind == TD_ROW_LENGTHS ? add(dtype, out->data[i], numbers[i]) : numbers[i];
    }
    return TD_OK;
}

/* Rows 0 to the last id; an id above it belongs nowhere. One id for every value. */
static td_status splits_from_ids(const int64_t *ids, int64_t n, int64_t values, bool validate,
                                 td_pool *pool, td_splits *out) {
    if (n != values) {
        return td_tf_fail(TD_TF_VALUE, "Shapes (%lld,) and (%lld,) are incompatible",
                          (long long)values, (long long)n);
    }
    int64_t rows = n == 0 ? 0 : ids[n - 1] + 1;
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (validate && i > 0 && ids[i] < ids[i - 1])) {
            return invalid("from_value_rowids", "row ids are negative or not sorted");
        }
    }
    if (rows > INT32_MAX) {
        return td_tf_no_memory("rows of a ragged feature");
    }
    TD_TRY(td_splits_take(pool, rows + 1, out));
    memset(out->data, 0, (size_t)(rows + 1) * sizeof *out->data);
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < rows) {
            out->data[ids[i] + 1]++;
        }
    }
    for (int64_t i = 0; i < rows; i++) {
        out->data[i + 1] += out->data[i];
    }
    return TD_OK;
}

/* Puts a level of splits above the values, or above the levels from `level` on. */
static td_status insert_level(td_ragged *value, int level, td_splits splits) {
    if (value->depth >= TD_RAGGED_DEPTH_MAX) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT, "more than %d levels of partitions",
                          TD_RAGGED_DEPTH_MAX);
    }
    memmove(value->splits + level + 1, value->splits + level,
            (size_t)(value->depth - level) * sizeof *value->splits);
    value->splits[level] = splits;
    value->depth++;
    return TD_OK;
}

/* Cuts the first dimension of the values in rows of length. */
static td_status reshape(td_tensor *values, int64_t length) {
    if (length <= 0 || values->shape[0] % length != 0 || values->rank >= TD_RANK_MAX) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                          "Input to reshape is a tensor with %lld values, but the requested shape "
                          "requires a multiple of %lld",
                          (long long)values->count, (long long)length);
    }
    memmove(values->shape + 1, values->shape, (size_t)values->rank * sizeof *values->shape);
    values->shape[0] = values->shape[1] / length;
    values->shape[1] = length;
    values->rank++;
    return TD_OK;
}

/* Splits 0, length, 2 * length, ... over the rows below. */
static td_status uniform_splits(td_element_type dtype, int64_t rows, int64_t length, bool validate,
                                td_pool *pool, td_splits *out) {
    if (length <= 0) {
        return td_tf_fail(TD_TF_VALUE, "nrows must be specified if uniform_row_length==0");
    }
    TD_TRY(td_splits_take(pool, rows / length + 1, out));
    for (int64_t i = 0; i < out->count; i++) {
        out->data[i] = wrap(dtype, i * length);
    }
    return validate ? check_splits(out, rows, "from_uniform_row_length") : TD_OK;
}

static td_status uniform_batch(td_ragged *value, int64_t length, bool validate, td_pool *pool) {
    td_splits inner = {0, NULL}, outer;
    bool nested = value->depth > 1;
    if (nested) {
        TD_TRY(uniform_splits(value->splits_dtype, inner_rows(value, 1), length, validate, pool,
                              &inner));
    } else {
        TD_TRY(reshape(&value->values, length));
    }
    TD_TRY(td_splits_take(pool, value->splits[0].count, &outer));
    for (int64_t i = 0; i < outer.count; i++) {
        int64_t at = value->splits[0].data[i];
        outer.data[i] = at / length - (at % length < 0);
    }
    value->splits[0] = outer;
    if (nested) {
        TD_TRY(insert_level(value, 1, inner));
    }
    return validate ? check_splits(&outer, inner_rows(value, 1), "from_row_splits") : TD_OK;
}

/* Ids are counted from 0 in every row of the batch; here they go on through the batch. */
static td_status ids_batch(td_ragged *value, const td_ragged *given, bool validate, td_pool *pool) {
    td_element_type dtype = value->splits_dtype;
    const td_splits *rows = &given->splits[0];
    const int64_t *ids = given->values.data;
    int64_t n = rows->count - 1;
    td_splits outer, inner;
    int64_t *all = td_pool_take(pool, (size_t)given->values.count * sizeof *all);
    TD_TRY(td_splits_take(pool, n + 1, &outer));
    if (all == NULL) {
        return td_tf_no_memory("row ids");
    }
    outer.data[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t used = 0;
        for (int64_t j = rows->data[i]; j < rows->data[i + 1]; j++) {
            int64_t id = wrap(dtype, ids[j]);
            all[j] = add(dtype, id, outer.data[i]);
            used = add(dtype, id, 1) > used ? add(dtype, id, 1) : used;
        }
        outer.data[i + 1] = add(dtype, outer.data[i], used);
    }
    TD_TRY(splits_from_ids(all, given->values.count, inner_rows(value, 1), validate, pool, &inner));
    if (validate) {
        TD_TRY(check_splits(&inner, inner_rows(value, 1), "from_value_rowids"));
        TD_TRY(check_splits(&outer, inner.count - 1, "from_row_lengths"));
    }
    value->splits[0] = outer;
    return insert_level(value, 1, inner);
}

/* The partition's numbers with the start of their row of the batch added, as limits and starts
 * need; RowSplits without the first of each row are limits. */
static td_status numbers_batch(td_ragged *value, td_partition_kind kind, const td_ragged *given,
                               bool validate, td_pool *pool) {
    td_element_type dtype = value->splits_dtype;
    const td_splits *rows = &given->splits[0];
    const int64_t *from = given->values.data;
    int64_t n = rows->count - 1, count = 0;
    td_splits outer, inner;
    int64_t *numbers = td_pool_take(pool, (size_t)given->values.count * sizeof *numbers);
    TD_TRY(td_splits_take(pool, n + 1, &outer));
    if (numbers == NULL) {
        return td_tf_no_memory("a partition");
    }
    outer.data[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t start = kind == TD_ROW_LENGTHS ? 0 : value->splits[0].data[i];
        int64_t first = rows->data[i] + (kind == TD_ROW_SPLITS ? 1 : 0);
        for (int64_t j = first; j < rows->data[i + 1]; j++) {
            numbers[count++] = add(dtype, wrap(dtype, from[j]), start);
        }
        outer.data[i + 1] = count;
    }
    int64_t below = inner_rows(value, 1);
    TD_TRY(splits_from(kind, dtype, numbers, count, below, pool, &inner));
    if (validate) {
        TD_TRY(check_splits(&inner, below, "a partition"));
    }
    value->splits[0] = outer;
    return insert_level(value, 1, inner);
}

td_status td_ragged_partition_batch(td_ragged *value, const td_partition *partition,
                                    const td_ragged *given, bool validate, td_pool *pool) {
    switch (partition->kind) {
    case TD_UNIFORM_ROW_LENGTH:
        return uniform_batch(value, partition->length, validate, pool);
    case TD_VALUE_ROW_IDS:
        return ids_batch(value, given, validate, pool);
    default:
        return numbers_batch(value, partition->kind, given, validate, pool);
    }
}

/* A tensor becomes a ragged value of no levels, to which the first partition adds one. */
static void make_ragged(td_array *value, td_element_type splits_dtype) {
    if (value->kind == TD_ARRAY_TENSOR) {
        td_tensor values = value->tensor;
        *value = (td_array){.kind = TD_ARRAY_RAGGED,
                            .ragged = {.splits_dtype = splits_dtype, .values = values}};
    }
}

td_status td_ragged_partition_one(td_array *value, const td_partition *partition,
                                  const td_tensor *given, td_element_type splits_dtype,
                                  bool validate, td_pool *pool) {
    td_splits splits;
    if (partition->kind == TD_UNIFORM_ROW_LENGTH) {
        if (value->kind == TD_ARRAY_TENSOR) {
            return reshape(&value->tensor, partition->length);
        }
        TD_TRY(uniform_splits(splits_dtype, inner_rows(&value->ragged, 0), partition->length,
                              validate, pool, &splits));
        return insert_level(&value->ragged, 0, splits);
    }
    int64_t *numbers = td_pool_take(pool, (size_t)given->count * sizeof *numbers);
    if (numbers == NULL) {
        return td_tf_no_memory("a partition");
    }
    for (int64_t i = 0; i < given->count; i++) {
        numbers[i] = wrap(splits_dtype, ((const int64_t *)given->data)[i]);
    }
    make_ragged(value, splits_dtype);
    int64_t below = inner_rows(&value->ragged, 0);
    if (partition->kind == TD_VALUE_ROW_IDS) {
        TD_TRY(splits_from_ids(numbers, given->count, below, validate, pool, &splits));
    } else if (partition->kind != TD_ROW_SPLITS) {
        TD_TRY(splits_from(partition->kind, splits_dtype, numbers, given->count, below, pool,
                           &splits));
    } else if (given->count == 0) {
        return td_tf_fail(TD_TF_VALUE, "row_splits tensor may not be empty.");
    } else {
        splits = (td_splits){given->count, numbers};
    }
    if (validate) {
        TD_TRY(check_splits(&splits, below, "a partition"));
    }
    return insert_level(&value->ragged, 0, splits);
}
