/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/column_keras.h"
#include "data/tf_error.h"

bool td_column_is_categorical(const td_column *column) {
    if (column->layer != NULL) {
        return column->type != TD_COLUMN_NORMALIZATION && column->layer->encoding == TD_ENCODE_INT;
    }
    switch (column->type) {
    case TD_COLUMN_NUMERIC:
    case TD_COLUMN_INDICATOR:
    case TD_COLUMN_EMBEDDING:
    case TD_COLUMN_SHARED_EMBEDDING:
        return false;
    default:
        return true;
    }
}

bool td_column_is_dense(const td_column *column) {
    return column->type == TD_COLUMN_BUCKETIZED || !td_column_is_categorical(column);
}

int td_column_variable_shape(const td_column *column, int64_t shape[TD_RANK_MAX]) {
    int rank = 0;
    if (column->layer != NULL) {
        memcpy(shape, column->layer->shape, sizeof column->layer->shape);
        return column->layer->rank;
    }
    switch (column->type) {
    case TD_COLUMN_NUMERIC:
    case TD_COLUMN_BUCKETIZED:
        rank = column->rank;
        memcpy(shape, column->shape, (size_t)rank * sizeof *shape);
        if (column->type == TD_COLUMN_BUCKETIZED) {
            shape[rank++] = column->n_boundaries + 1;
        }
        return rank;
    case TD_COLUMN_INDICATOR:
        shape[0] = 1;
        shape[1] = column->buckets;
        return 2;
    default:
        shape[0] = column->dimension;
        return 1;
    }
}

td_status td_columns_load(const char *path, td_pool *pool, td_column_list *out) {
    json_error_t error;
    json_t *file = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (file == NULL) {
        return td_tf_fail(TD_TF_VALUE, "%s: line %d: %s", path, error.line, error.text);
    }
    const json_t *list = json_is_array(file) ? file : json_object_get(file, "columns");
    td_status status = list == NULL
                           ? td_tf_fail(TD_TF_VALUE, "%s: expected {\"columns\": [..]}", path)
                           : td_columns_build(list, false, pool, out);
    json_decref(file);
    if (status == TD_EINPUT && list != NULL) {
        char message[900];
        snprintf(message, sizeof message, "%s", td_error());
        return td_tf_fail(td_tf_last(), "%s: %s", path, message);
    }
    return status;
}

static int compare_columns(const void *a, const void *b) {
    const td_column *const *x = a, *const *y = b;
    return td_span_compare((*x)->name, (*y)->name);
}

td_status td_columns_sort(const td_column_list *list, td_pool *pool, td_column_list *out) {
    if (list->count == 0) {
        return td_tf_fail(TD_TF_VALUE, "feature_columns must not be empty.");
    }
    td_column_list sorted = *list;
    sorted.columns = td_pool_copy(pool, list->columns, (size_t)list->count * sizeof *list->columns);
    if (sorted.columns == NULL) {
        return td_tf_no_memory("feature columns");
    }
    qsort(sorted.columns, (size_t)sorted.count, sizeof *sorted.columns, compare_columns);
    for (int i = 1; i < sorted.count; i++) {
        if (compare_columns(&sorted.columns[i - 1], &sorted.columns[i]) == 0) {
            return td_tf_fail(TD_TF_VALUE, "Duplicate feature column name found for columns: %s",
                              (const char *)sorted.columns[i]->name.data);
        }
    }
    *out = sorted;
    return TD_OK;
}

typedef struct spec_list {
    td_feature_spec *specs;
    int count, capacity;
} spec_list;

static bool same_spec(const td_feature_spec *a, const td_feature_spec *b) {
    return a->kind == b->kind && a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0 &&
           (a->fallback == NULL) == (b->fallback == NULL) &&
           (a->fallback == NULL ||
            memcmp(a->fallback->data, b->fallback->data,
                   (size_t)a->fallback->count * td_element_bytes(a->dtype)) == 0);
}

static td_status add_spec(spec_list *list, td_feature_spec spec) {
    for (int i = 0; i < list->count; i++) {
        if (td_span_equal(list->specs[i].key, spec.key)) {
            return same_spec(&list->specs[i], &spec)
                       ? TD_OK
                       : td_tf_fail(TD_TF_VALUE,
                                    "feature_columns contain different parse_spec for key %.*s.",
                                    (int)spec.key.size, (const char *)spec.key.data);
        }
    }
    if (list->count == list->capacity) {
        return td_tf_fail(TD_TF_VALUE, "more than %d features", list->capacity);
    }
    list->specs[list->count++] = spec;
    return TD_OK;
}

/* A layer's features: lists of any length, or values of its shape. */
static td_status add_layer(spec_list *list, const td_column *column) {
    td_feature_spec spec = {
        .key = column->key,
        .kind = column->layer->lists ? TD_SPEC_VAR_LEN : TD_SPEC_FIXED_LEN,
        .dtype = column->dtype,
        .rank = column->layer->lists ? 0 : column->rank,
    };
    memcpy(spec.shape, column->shape, sizeof spec.shape);
    if (column->n_leaves == 0) {
        return add_spec(list, spec);
    }
    for (int i = 0; i < column->n_leaves; i++) {
        spec.key = column->leaves[i].key;
        spec.dtype = column->leaves[i].dtype;
        TD_TRY(add_spec(list, spec));
    }
    return TD_OK;
}

static td_status add_column(spec_list *list, const td_column *column) {
    if (column->layer != NULL) {
        return add_layer(list, column);
    }
    td_feature_spec spec = {.key = column->key, .kind = TD_SPEC_VAR_LEN, .dtype = column->dtype};
    switch (column->type) {
    case TD_COLUMN_NUMERIC:
        if (!column->sequence) {
            spec.kind = TD_SPEC_FIXED_LEN;
            spec.rank = column->rank;
            memcpy(spec.shape, column->shape, sizeof spec.shape);
            spec.fallback = column->has_default ? &column->fallback : NULL;
        }
        return add_spec(list, spec);
    case TD_COLUMN_CROSSED:
        for (int i = 0; i < column->n_leaves; i++) {
            const td_cross_leaf *leaf = &column->leaves[i];
            spec =
                (td_feature_spec){.key = leaf->key, .kind = TD_SPEC_VAR_LEN, .dtype = leaf->dtype};
            TD_TRY(leaf->column != NULL ? add_column(list, leaf->column) : add_spec(list, spec));
        }
        return TD_OK;
    case TD_COLUMN_WEIGHTED:
        spec.key = column->weight_key;
        TD_TRY(add_column(list, column->source));
        return add_spec(list, spec);
    default:
        return column->source != NULL ? add_column(list, column->source) : add_spec(list, spec);
    }
}

td_status td_columns_parse_spec(const td_column_list *list, td_pool *pool, td_feature_spec **specs,
                                int *count) {
    enum { SPECS_MAX = 4096 };
    spec_list found = {td_pool_take(pool, SPECS_MAX * sizeof *found.specs), 0, SPECS_MAX};
    if (found.specs == NULL) {
        return td_tf_no_memory("a parse specification");
    }
    for (int i = 0; i < list->count; i++) {
        TD_TRY(add_column(&found, list->columns[i]));
    }
    *specs = found.specs;
    *count = found.count;
    return TD_OK;
}
