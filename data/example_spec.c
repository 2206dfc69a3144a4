/* SPDX-License-Identifier: Apache-2.0 */
#include "data/example_spec.h"

#include <stdlib.h>
#include <string.h>

#include "data/tf_error.h"

static int key_bytes(td_span key) {
    return (int)(key.size < 200 ? key.size : 200);
}

static const char *key_text(td_span key) {
    return (const char *)key.data;
}

static int compare_specs(const void *a, const void *b) {
    const td_feature_spec *x = a, *y = b;
    return td_span_compare(x->key, y->key);
}

static int find_raw(const td_spec_plan *plan, td_span key, bool dense) {
    for (int i = 0; i < plan->n_raw; i++) {
        bool is_dense = plan->raw[i].kind == TD_PARSE_FIXED || plan->raw[i].kind == TD_PARSE_PADDED;
        if (is_dense == dense && td_span_equal(plan->raw[i].key, key)) {
            return i;
        }
    }
    return -1;
}

/* Asks for a stored feature that varies in length; several results may share one. */
static td_status add_varying(td_spec_plan *plan, td_span key, td_parse_kind kind,
                             td_element_type dtype, td_element_type splits_dtype) {
    int at = find_raw(plan, key, false);
    if (at >= 0 && plan->raw[at].kind == kind) {
        return plan->raw[at].dtype == dtype
                   ? TD_OK
                   : td_tf_fail(TD_TF_VALUE, "Conflicting type %s vs %s for feature %.*s.",
                                td_element_tf(plan->raw[at].dtype), td_element_tf(dtype),
                                key_bytes(key), key_text(key));
    }
    if (at >= 0 || find_raw(plan, key, true) >= 0) {
        return td_tf_fail(TD_TF_VALUE,
                          "Dense, sparse and ragged feature keys must not intersect; "
                          "intersection: %.*s",
                          key_bytes(key), key_text(key));
    }
    plan->raw[plan->n_raw++] =
        (td_parse_feature){.key = key, .kind = kind, .dtype = dtype, .splits_dtype = splits_dtype};
    return TD_OK;
}

static td_status add_dense(td_spec_plan *plan, const td_feature_spec *spec, bool sequence) {
    bool padded = spec->kind == TD_SPEC_FIXED_LEN_SEQUENCE;
    for (int i = 0; i < spec->rank; i++) {
        if (spec->shape[i] < 0) {
            return td_tf_fail(TD_TF_VALUE,
                              i == 0
                                  ? "First dimension of shape for feature %.*s unknown. Consider "
                                    "using FixedLenSequenceFeature."
                                  : "All dimensions of shape for feature %.*s need to be known.",
                              key_bytes(spec->key), key_text(spec->key));
        }
    }
    if (padded && !spec->allow_missing && !sequence) {
        return td_tf_fail(
            TD_TF_VALUE, "Unsupported: FixedLenSequenceFeature requires allow_missing to be True.");
    }
    int64_t wanted = padded ? 1 : td_shape_count(spec->rank, spec->shape);
    const void *fallback = NULL;
    if (spec->fallback != NULL) {
        if (spec->fallback->count != wanted) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                              "Input to reshape is a tensor with %lld values, but the requested "
                              "shape has %lld",
                              (long long)spec->fallback->count, (long long)wanted);
        }
        fallback = spec->fallback->data;
    }
    if (padded && sequence) {
        fallback = spec->allow_missing ? spec : NULL;
    }
    if (find_raw(plan, spec->key, false) >= 0) {
        return td_tf_fail(TD_TF_VALUE,
                          "Dense, sparse and ragged feature keys must not intersect; "
                          "intersection: %.*s",
                          key_bytes(spec->key), key_text(spec->key));
    }
    td_parse_feature *raw = &plan->raw[plan->n_raw++];
    *raw = (td_parse_feature){.key = spec->key,
                              .kind = padded ? TD_PARSE_PADDED : TD_PARSE_FIXED,
                              .dtype = spec->dtype,
                              .rank = spec->rank,
                              .fallback = fallback};
    memcpy(raw->shape, spec->shape, sizeof raw->shape);
    return TD_OK;
}

static td_status add_spec(td_spec_plan *plan, const td_feature_spec *spec, bool sequence) {
    if (spec->dtype != TD_ELEMENT_BYTES && spec->dtype != TD_ELEMENT_FLOAT32 &&
        spec->dtype != TD_ELEMENT_INT64) {
        return td_tf_fail(
            TD_TF_INVALID_ARGUMENT,
            "Value for attr of %s is not in the list of allowed values: float, int64, "
            "string",
            td_element_tf(spec->dtype));
    }
    switch (spec->kind) {
    case TD_SPEC_FIXED_LEN:
    case TD_SPEC_FIXED_LEN_SEQUENCE:
        return add_dense(plan, spec, sequence);
    case TD_SPEC_VAR_LEN:
        return add_varying(plan, spec->key, TD_PARSE_SPARSE, spec->dtype, TD_ELEMENT_INT64);
    case TD_SPEC_SPARSE:
        if (spec->n_index == 0) {
            return td_tf_fail(TD_TF_VALUE, "Missing index_key for SparseFeature %.*s.",
                              key_bytes(spec->key), key_text(spec->key));
        }
        for (int i = 0; i < spec->n_index; i++) {
            TD_TRY(add_varying(plan, spec->index_key[i], TD_PARSE_SPARSE, TD_ELEMENT_INT64,
                               TD_ELEMENT_INT64));
        }
        return add_varying(plan, spec->value_key, TD_PARSE_SPARSE, spec->dtype, TD_ELEMENT_INT64);
    case TD_SPEC_RAGGED:
        TD_TRY(
            add_varying(plan, spec->value_key, TD_PARSE_RAGGED, spec->dtype, spec->splits_dtype));
        for (int i = 0; i < spec->n_partitions; i++) {
            if (spec->partitions[i].kind != TD_UNIFORM_ROW_LENGTH) {
                TD_TRY(add_varying(plan, spec->partitions[i].key, TD_PARSE_RAGGED, TD_ELEMENT_INT64,
                                   spec->splits_dtype));
            }
        }
    }
    return TD_OK;
}

td_status td_spec_plan_create(const td_feature_spec *specs, int n, bool sequence, td_pool *pool,
                              td_spec_plan *out) {
    td_spec_plan plan = {.n_specs = n};
    plan.specs = td_pool_copy(pool, specs, (size_t)n * sizeof *specs);
    size_t most = (size_t)n * (TD_INDEX_KEYS_MAX + TD_PARTITIONS_MAX + 1);
    plan.raw = td_pool_take(pool, most * sizeof *plan.raw);
    if (plan.specs == NULL || plan.raw == NULL) {
        return td_tf_no_memory("a specification");
    }
    if (n > 0) {
        qsort(plan.specs, (size_t)n, sizeof *plan.specs, compare_specs);
    }
    for (int i = 0; i < n; i++) {
        TD_TRY(add_spec(&plan, &plan.specs[i], sequence));
    }
    *out = plan;
    return TD_OK;
}

/* Sorting by index keeps equal ones in the order of the record. */
typedef struct sort_row {
    const int64_t *index;
    int64_t at;
    int rank;
} sort_row;

static int compare_rows(const void *a, const void *b) {
    const sort_row *x = a, *y = b;
    for (int i = 0; i < x->rank; i++) {
        if (x->index[i] != y->index[i]) {
            return x->index[i] < y->index[i] ? -1 : 1;
        }
    }
    return (x->at > y->at) - (x->at < y->at);
}

static td_status reorder(td_sparse *sparse, td_pool *pool) {
    int64_t n = sparse->values.count;
    size_t bytes = td_element_bytes(sparse->values.dtype);
    sort_row *rows = td_pool_take(pool, (size_t)n * sizeof *rows);
    td_sparse sorted = *sparse;
    TD_TRY(td_sparse_take(pool, sparse->values.dtype, sparse->rank, n, &sorted));
    memcpy(sorted.dense_shape, sparse->dense_shape, sizeof sorted.dense_shape);
    if (rows == NULL) {
        return td_tf_no_memory("sorting a sparse feature");
    }
    for (int64_t i = 0; i < n; i++) {
        rows[i] = (sort_row){sparse->indices + i * sparse->rank, i, sparse->rank};
    }
    if (n > 0) {
        qsort(rows, (size_t)n, sizeof *rows, compare_rows);
    }
    for (int64_t i = 0; i < n; i++) {
        memcpy(sorted.indices + i * sparse->rank, rows[i].index,
               (size_t)sparse->rank * sizeof *sorted.indices);
        memcpy((char *)sorted.values.data + (size_t)i * bytes,
               (const char *)sparse->values.data + (size_t)rows[i].at * bytes, bytes);
    }
    *sparse = sorted;
    return TD_OK;
}

/* The last dimension of every index feature's position is replaced by its values. */
static td_status compose_sparse(const td_spec_plan *plan, const td_feature_spec *spec,
                                const td_array *raw, td_pool *pool, td_array *out) {
    const td_sparse *values = &raw[find_raw(plan, spec->value_key, false)].sparse;
    const td_sparse *ids[TD_INDEX_KEYS_MAX] = {NULL};
    int64_t n = values->values.count;
    for (int i = 0; i < spec->n_index; i++) {
        ids[i] = &raw[find_raw(plan, spec->index_key[i], false)].sparse;
        if (ids[i]->values.count != ids[0]->values.count) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                              "ConcatOp : the index features have %lld and %lld values",
                              (long long)ids[0]->values.count, (long long)ids[i]->values.count);
        }
    }
    if (ids[0]->values.count != n) {
        return td_tf_fail(TD_TF_VALUE, "Dimensions %lld and %lld are not compatible",
                          (long long)ids[0]->values.count, (long long)n);
    }
    int outer = ids[0]->rank - 1, rank = outer + spec->n_index;
    td_sparse sparse;
    TD_TRY(td_sparse_take(pool, spec->dtype, rank, n, &sparse));
    sparse.values.data = values->values.data;
    for (int64_t at = 0; at < n; at++) {
        memcpy(sparse.indices + at * rank, ids[0]->indices + at * ids[0]->rank,
               (size_t)outer * sizeof *sparse.indices);
        for (int i = 0; i < spec->n_index; i++) {
            sparse.indices[at * rank + outer + i] = ((const int64_t *)ids[i]->values.data)[at];
        }
    }
    memcpy(sparse.dense_shape, ids[0]->dense_shape, (size_t)outer * sizeof *sparse.dense_shape);
    memcpy(sparse.dense_shape + outer, spec->size, (size_t)spec->n_index * sizeof *spec->size);
    if (!spec->already_sorted) {
        TD_TRY(reorder(&sparse, pool));
    }
    *out = (td_array){.kind = TD_ARRAY_SPARSE, .sparse = sparse};
    return TD_OK;
}

/* Results of a batch of SequenceExamples have two batch levels: the outer one is set aside while
 * the inner rows are split. */
static td_status compose_ragged(const td_spec_plan *plan, const td_feature_spec *spec,
                                const td_array *raw, td_pool *pool, td_array *out) {
    td_array value = raw[find_raw(plan, spec->value_key, false)];
    bool batch = value.kind == TD_ARRAY_RAGGED;
    td_splits outer = {0, NULL};
    if (batch && value.ragged.depth > 1) {
        outer = value.ragged.splits[0];
        value.ragged.splits[0] = value.ragged.splits[1];
        value.ragged.depth = 1;
    }
    for (int i = spec->n_partitions; i-- > 0;) {
        const td_partition *partition = &spec->partitions[i];
        const td_array *given = partition->kind == TD_UNIFORM_ROW_LENGTH
                                    ? NULL
                                    : &raw[find_raw(plan, partition->key, false)];
        if (!batch) {
            TD_TRY(td_ragged_partition_one(&value, partition, given == NULL ? NULL : &given->tensor,
                                           spec->splits_dtype, spec->validate, pool));
            continue;
        }
        td_ragged rows = {0};
        if (given != NULL) {
            rows = given->ragged;
            if (rows.depth > 1) {
                rows.splits[0] = rows.splits[1];
                rows.depth = 1;
            }
        }
        TD_TRY(td_ragged_partition_batch(&value.ragged, partition, given == NULL ? NULL : &rows,
                                         spec->validate, pool));
    }
    if (outer.data != NULL) {
        memmove(value.ragged.splits + 1, value.ragged.splits,
                (size_t)value.ragged.depth * sizeof *value.ragged.splits);
        value.ragged.splits[0] = outer;
        value.ragged.depth++;
    }
    *out = value;
    return TD_OK;
}

td_status td_spec_compose(const td_spec_plan *plan, const td_array *raw, td_pool *pool,
                          td_array *out) {
    for (int i = 0; i < plan->n_specs; i++) {
        const td_feature_spec *spec = &plan->specs[i];
        switch (spec->kind) {
        case TD_SPEC_SPARSE:
            TD_TRY(compose_sparse(plan, spec, raw, pool, &out[i]));
            break;
        case TD_SPEC_RAGGED:
            TD_TRY(compose_ragged(plan, spec, raw, pool, &out[i]));
            break;
        case TD_SPEC_VAR_LEN:
            out[i] = raw[find_raw(plan, spec->key, false)];
            break;
        default:
            out[i] = raw[find_raw(plan, spec->key, true)];
        }
    }
    return TD_OK;
}
