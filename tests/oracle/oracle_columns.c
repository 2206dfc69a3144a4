/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "data/column.h"
#include "data/tf_error.h"
#include "tests/oracle/oracle.h"

static td_feature_map feature_map(const oracle_case *item) {
    const json_t *given = json_object_get(item->input, "features");
    size_t n = json_object_size(given);
    td_span *keys = td_pool_take(item->pool, (n + 1) * sizeof *keys);
    td_array *values = td_pool_take(item->pool, (n + 1) * sizeof *values);
    int i = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)given, key, value) {
        keys[i] = (td_span){td_pool_copy(item->pool, key, strlen(key)), strlen(key)};
        values[i++] = oracle_value(item, value);
    }
    return (td_feature_map){keys, values, i};
}

static td_status build(const oracle_case *item, td_column_list *out) {
    return td_columns_build(json_object_get(item->config, "columns"), true, item->pool, out);
}

static td_status build_sorted(const oracle_case *item, td_column_list *out) {
    td_column_list list;
    TD_TRY(build(item, &list));
    return td_columns_sort(&list, item->pool, out);
}

static json_t *output_json(td_status status, const td_tensor *out) {
    return status == TD_OK ? json_pack("{s:o}", "output", oracle_tensor_json(out)) : NULL;
}

static json_t *shape_json(const int64_t *shape, int rank) {
    json_t *out = json_array();
    for (int i = 0; i < rank; i++) {
        json_array_append_new(out, json_integer(shape[i]));
    }
    return out;
}

json_t *oracle_fc_meta(const oracle_case *item) {
    td_column_list list;
    if (build(item, &list) != TD_OK) {
        return NULL;
    }
    json_t *columns = json_array();
    for (int i = 0; i < list.count; i++) {
        const td_column *column = list.columns[i];
        json_t *one = json_pack("{s:s}", "name", (const char *)column->name.data);
        if (td_column_is_categorical(column)) {
            json_object_set_new(one, "num_buckets", json_integer(column->buckets));
        }
        if (td_column_is_dense(column)) {
            int64_t shape[TD_RANK_MAX];
            int rank = td_column_variable_shape(column, shape);
            json_object_set_new(one, "variable_shape", shape_json(shape, rank));
        }
        json_array_append_new(columns, one);
    }
    return json_pack("{s:o}", "columns", columns);
}

/* The flat values as lists nested by the shape. */
static json_t *nested(const td_tensor *tensor, int level, int64_t *at) {
    if (level == tensor->rank) {
        int64_t i = (*at)++;
        return td_element_is_int(tensor->dtype) ? json_integer(td_tensor_int(tensor, i))
                                                : json_real(td_tensor_real(tensor, i));
    }
    json_t *out = json_array();
    for (int64_t i = 0; i < tensor->shape[level]; i++) {
        json_array_append_new(out, nested(tensor, level + 1, at));
    }
    return out;
}

static json_t *spec_json(const td_feature_spec *spec) {
    const char *dtype = spec->dtype == TD_ELEMENT_BYTES ? "string" : td_element_text(spec->dtype);
    if (spec->kind == TD_SPEC_VAR_LEN) {
        return json_pack("{s:s, s:s}", "kind", "VarLenFeature", "dtype", dtype);
    }
    int64_t at = 0;
    return json_pack("{s:s, s:o, s:s, s:o}", "kind", "FixedLenFeature", "shape",
                     shape_json(spec->shape, spec->rank), "dtype", dtype, "default_value",
                     spec->fallback == NULL ? json_null() : nested(spec->fallback, 0, &at));
}

json_t *oracle_make_parse_spec(const oracle_case *item) {
    td_column_list list;
    td_feature_spec *specs;
    int n;
    if (build(item, &list) != TD_OK ||
        td_columns_parse_spec(&list, item->pool, &specs, &n) != TD_OK) {
        return NULL;
    }
    json_t *out = json_object();
    for (int i = 0; i < n; i++) {
        json_object_setn_new(out, (const char *)specs[i].key.data, specs[i].key.size,
                             spec_json(&specs[i]));
    }
    return json_pack("{s:o}", "spec", out);
}

json_t *oracle_fc_categorical(const oracle_case *item) {
    td_column_list list;
    td_ids ids;
    td_feature_map features = feature_map(item);
    if (build(item, &list) != TD_OK ||
        td_column_ids(list.columns[0], &features, item->pool, &ids) != TD_OK) {
        return NULL;
    }
    td_array id_value = {.kind = TD_ARRAY_SPARSE, .sparse = ids.ids};
    td_array weights = {.kind = TD_ARRAY_SPARSE, .sparse = ids.weights};
    return json_pack("{s:o, s:o}", "ids", oracle_value_json(&id_value), "weights",
                     ids.weighted ? oracle_value_json(&weights) : json_null());
}

json_t *oracle_fc_dense_raw(const oracle_case *item) {
    td_column_list list;
    td_tensor out;
    td_feature_map features = feature_map(item);
    td_status status = build(item, &list);
    if (status == TD_OK) {
        status = td_column_dense(list.columns[0], &features, false, item->pool, &out, NULL);
    }
    return output_json(status, &out);
}

json_t *oracle_fc_dense(const oracle_case *item) {
    td_column_list sorted;
    td_tensor out;
    td_feature_map features = feature_map(item);
    if (build_sorted(item, &sorted) != TD_OK ||
        td_columns_dense(&sorted, &features, item->pool, &out) != TD_OK) {
        return NULL;
    }
    json_t *layout = json_array();
    for (int i = 0; i < sorted.count; i++) {
        int64_t shape[TD_RANK_MAX];
        int rank = td_column_variable_shape(sorted.columns[i], shape);
        json_array_append_new(layout, json_pack("{s:s, s:I}", "name",
                                                (const char *)sorted.columns[i]->name.data, "width",
                                                (json_int_t)td_shape_count(rank, shape)));
    }
    return json_pack("{s:o, s:o}", "output", oracle_tensor_json(&out), "layout", layout);
}

json_t *oracle_fc_sequence(const oracle_case *item) {
    td_column_list sorted;
    td_tensor out, lengths;
    td_feature_map features = feature_map(item);
    if (build_sorted(item, &sorted) != TD_OK ||
        td_columns_sequence(&sorted, &features, item->pool, &out, &lengths) != TD_OK) {
        return NULL;
    }
    return json_pack("{s:o, s:o}", "output", oracle_tensor_json(&out), "lengths",
                     oracle_tensor_json(&lengths));
}

json_t *oracle_concatenate_context(const oracle_case *item) {
    td_tensor context = oracle_tensor(item, json_object_get(item->input, "context"));
    td_tensor sequence = oracle_tensor(item, json_object_get(item->input, "sequence"));
    td_tensor out;
    return output_json(td_concatenate_context(&context, &sequence, item->pool, &out), &out);
}

static td_combiner combiner_of(const json_t *config, const char *member, td_combiner missing) {
    const char *word = json_string_value(json_object_get(config, member));
    return word == NULL                 ? missing
           : strcmp(word, "sum") == 0   ? TD_COMBINER_SUM
           : strcmp(word, "sqrtn") == 0 ? TD_COMBINER_SQRTN
                                        : TD_COMBINER_MEAN;
}

json_t *oracle_fc_linear(const oracle_case *item) {
    td_column_list sorted;
    td_tensor out;
    td_feature_map features = feature_map(item);
    const json_t *given = json_object_get(item->config, "weights");
    const json_t *bias = json_object_get(item->config, "bias");
    const json_t *units = json_object_get(item->config, "units");
    if (build_sorted(item, &sorted) != TD_OK) {
        return NULL;
    }
    td_tensor *weights = td_pool_take_zero(item->pool, (size_t)sorted.count * sizeof *weights);
    for (int i = 0; i < sorted.count; i++) {
        const json_t *matrix = json_object_get(given, (const char *)sorted.columns[i]->name.data);
        if (matrix != NULL) {
            weights[i] = oracle_nested(item, matrix, TD_ELEMENT_FLOAT32);
        }
    }
    td_tensor offsets = {0};
    if (json_is_array(bias)) {
        offsets = oracle_nested(item, bias, TD_ELEMENT_FLOAT32);
    }
    td_status status = td_columns_linear(
        &sorted, &features, weights, offsets.data, units == NULL ? 1 : json_integer_value(units),
        combiner_of(item->config, "sparse_combiner", TD_COMBINER_SUM), item->pool, &out);
    return status == TD_OK ? json_pack("{s:o}", "predictions", oracle_tensor_json(&out)) : NULL;
}

json_t *oracle_bucketize(const oracle_case *item) {
    td_tensor values = oracle_tensor(item, json_object_get(item->input, "values")), out;
    td_tensor boundaries =
        oracle_nested(item, json_object_get(item->config, "boundaries"), TD_ELEMENT_FLOAT32);
    const float *at = boundaries.data;
    for (int64_t i = 1; i < boundaries.count; i++) {
        if (at[i] < at[i - 1]) {
            td_tf_fail(TD_TF_INVALID_ARGUMENT, "Expected sorted boundaries");
            return NULL;
        }
    }
    return output_json(td_bucketize(&values, at, boundaries.count, item->pool, &out), &out);
}

json_t *oracle_embedding_lookup(const oracle_case *item) {
    td_tensor table = oracle_tensor(item, json_object_get(item->input, "table")), out;
    td_tensor ids = oracle_tensor(item, json_object_get(item->input, "ids"));
    double max_norm = json_number_value(json_object_get(item->config, "max_norm"));
    return output_json(td_embedding_lookup(&table, &ids, max_norm, item->pool, &out), &out);
}

static json_t *lookup_sparse(const oracle_case *item, bool safe) {
    td_tensor table = oracle_tensor(item, json_object_get(item->input, "table")), out;
    td_array ids = oracle_value(item, json_object_get(item->input, "ids"));
    const json_t *weights = json_object_get(item->input, "weights");
    const json_t *fallback = json_object_get(item->config, "default_id");
    td_ids given = {.ids = ids.sparse, .static_counts = true};
    if (weights != NULL && !json_is_null(weights)) {
        given.weights = oracle_value(item, weights).sparse;
        given.weighted = true;
    }
    td_lookup lookup = {&table, combiner_of(item->config, "combiner", TD_COMBINER_MEAN),
                        json_number_value(json_object_get(item->config, "max_norm")), safe,
                        json_is_integer(fallback) ? (int64_t)json_integer_value(fallback) : -1};
    return output_json(td_embedding_lookup_sparse(&lookup, &given, item->pool, &out), &out);
}

json_t *oracle_embedding_lookup_sparse(const oracle_case *item) {
    return lookup_sparse(item, false);
}

json_t *oracle_safe_embedding_lookup_sparse(const oracle_case *item) {
    return lookup_sparse(item, true);
}

json_t *oracle_sparse_cross(const oracle_case *item) {
    const json_t *columns = json_object_get(item->input, "columns");
    const json_t *salt = json_object_get(item->config, "salt");
    const json_t *separator = json_object_get(item->config, "separator");
    const char *mode = json_string_value(json_object_get(item->config, "mode"));
    size_t n = json_array_size(columns);
    td_array *inputs = td_pool_take(item->pool, (n + 1) * sizeof *inputs);
    for (size_t i = 0; i < n; i++) {
        inputs[i] = oracle_value(item, json_array_get(columns, i));
    }
    td_cross_options options = {
        .mode = strcmp(mode, "string") == 0   ? TD_CROSS_STRING
                : strcmp(mode, "strong") == 0 ? TD_CROSS_STRONG
                                              : TD_CROSS_HASHED,
        .buckets = (int64_t)oracle_u64(json_object_get(item->config, "num_buckets")),
        .hash_key = oracle_u64(json_object_get(item->config, "hash_key")),
        .strong_hash = json_is_true(json_object_get(item->config, "strong_hash")),
        .salt = {oracle_u64(json_array_get(salt, 0)), oracle_u64(json_array_get(salt, 1))},
        .separator =
            td_span_text(json_is_string(separator) ? json_string_value(separator) : "_X_")};
    if (options.hash_key == 0 && strcmp(mode, "hashed") == 0) {
        options.hash_key = TD_HASH_KEY_DEFAULT;
    }
    td_array out = {.kind = TD_ARRAY_SPARSE};
    return td_sparse_cross(inputs, (int)n, &options, item->pool, &out.sparse) == TD_OK
               ? json_pack("{s:o}", "output", oracle_value_json(&out))
               : NULL;
}
