/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "data/example_spec.h"
#include "data/tf_error.h"
#include "tests/oracle/oracle.h"

static td_span key_span(const oracle_case *item, const char *text) {
    size_t size = text == NULL ? 0 : strlen(text);
    return (td_span){td_pool_copy(item->pool, text, size), size};
}

static td_element_type dtype_of(const json_t *spec, const char *member, td_element_type missing) {
    const char *text = json_string_value(json_object_get(spec, member));
    return text == NULL ? missing : td_element_find(text);
}

static td_spec_kind kind_of(const json_t *spec) {
    static const char *const names[] = {[TD_SPEC_FIXED_LEN] = "FixedLen",
                                        [TD_SPEC_VAR_LEN] = "VarLen",
                                        [TD_SPEC_FIXED_LEN_SEQUENCE] = "FixedLenSequence",
                                        [TD_SPEC_SPARSE] = "Sparse",
                                        [TD_SPEC_RAGGED] = "Ragged"};
    const char *text = json_string_value(json_object_get(spec, "kind"));
    for (int i = TD_SPEC_FIXED_LEN; text != NULL && i <= TD_SPEC_RAGGED; i++) {
        if (strcmp(text, names[i]) == 0) {
            return (td_spec_kind)i;
        }
    }
    return TD_SPEC_VAR_LEN;
}

static void read_index_keys(const oracle_case *item, const json_t *spec, td_feature_spec *out) {
    const json_t *keys = json_object_get(spec, "index_key"), *sizes = json_object_get(spec, "size");
    size_t n = json_is_array(keys) ? json_array_size(keys) : keys != NULL;
    for (size_t i = 0; i < n && i < TD_INDEX_KEYS_MAX; i++) {
        const json_t *key = json_is_array(keys) ? json_array_get(keys, i) : keys;
        const json_t *size = json_is_array(sizes) ? json_array_get(sizes, i) : sizes;
        out->index_key[out->n_index] = key_span(item, json_string_value(key));
        out->size[out->n_index++] = json_integer_value(size);
    }
}

static void read_partitions(const oracle_case *item, const json_t *spec, td_feature_spec *out) {
    static const char *const names[] = {
        [TD_ROW_SPLITS] = "RowSplits",      [TD_ROW_LENGTHS] = "RowLengths",
        [TD_ROW_STARTS] = "RowStarts",      [TD_ROW_LIMITS] = "RowLimits",
        [TD_VALUE_ROW_IDS] = "ValueRowIds", [TD_UNIFORM_ROW_LENGTH] = "UniformRowLength"};
    const json_t *list = json_object_get(spec, "partitions");
    for (size_t i = 0; i < json_array_size(list) && i < TD_PARTITIONS_MAX; i++) {
        const json_t *given = json_array_get(list, i);
        const char *kind = json_string_value(json_object_get(given, "kind"));
        td_partition *partition = &out->partitions[out->n_partitions++];
        for (int k = TD_ROW_SPLITS; k <= TD_UNIFORM_ROW_LENGTH; k++) {
            if (kind != NULL && strcmp(kind, names[k]) == 0) {
                partition->kind = (td_partition_kind)k;
            }
        }
        partition->key = key_span(item, json_string_value(json_object_get(given, "key")));
        partition->length = json_integer_value(json_object_get(given, "length"));
    }
}

static td_feature_spec spec_of(const oracle_case *item, const char *key, const json_t *spec) {
    td_feature_spec out = {.key = key_span(item, key), .kind = kind_of(spec)};
    const json_t *shape = json_object_get(spec, "shape");
    const json_t *fallback = json_object_get(spec, "default");
    const char *value_key = json_string_value(json_object_get(spec, "value_key"));
    out.dtype = dtype_of(spec, "dtype", TD_ELEMENT_NONE);
    for (size_t i = 0; i < json_array_size(shape) && i < TD_RANK_MAX - 1; i++) {
        const json_t *dim = json_array_get(shape, i);
        out.shape[out.rank++] = json_is_null(dim) ? -1 : json_integer_value(dim);
    }
    out.allow_missing = json_is_true(json_object_get(spec, "allow_missing"));
    if (fallback != NULL && !json_is_null(fallback)) {
        td_tensor *tensor = td_pool_take(item->pool, sizeof *tensor);
        *tensor = oracle_nested(item, fallback, out.dtype);
        out.fallback = tensor;
    }
    read_index_keys(item, spec, &out);
    out.already_sorted = json_is_true(json_object_get(spec, "already_sorted"));
    out.value_key = value_key == NULL ? out.key : key_span(item, value_key);
    read_partitions(item, spec, &out);
    out.splits_dtype = dtype_of(spec, "row_splits_dtype", TD_ELEMENT_INT32);
    out.validate = json_is_true(json_object_get(spec, "validate"));
    return out;
}

static td_status plan_of(const oracle_case *item, const char *member, bool sequence,
                         td_spec_plan *out) {
    const json_t *specs = json_object_get(item->config, member);
    size_t n = json_object_size(specs), i = 0;
    td_feature_spec *list = td_pool_take(item->pool, (n + 1) * sizeof *list);
    const char *key;
    json_t *spec;
    json_object_foreach((json_t *)(uintptr_t)specs, key, spec) {
        list[i++] = spec_of(item, key, spec);
    }
    return td_spec_plan_create(list, (int)n, sequence, item->pool, out);
}

static td_span *span_list(const oracle_case *item, const char *member, bool text, int64_t *n) {
    const json_t *list = json_object_get(item->input, member);
    *n = (int64_t)json_array_size(list);
    if (!json_is_array(list)) {
        return NULL;
    }
    td_span *out = td_pool_take(item->pool, (size_t)(*n + 1) * sizeof *out);
    for (int64_t i = 0; i < *n; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        out[i] = text ? key_span(item, json_string_value(value)) : oracle_bytes(item, value);
    }
    return out;
}

static bool is_single(const oracle_case *item) {
    const char *api = json_string_value(json_object_get(item->config, "api"));
    return api != NULL && strcmp(api, "single") == 0;
}

static td_status compose_into(const oracle_case *item, const td_spec_plan *plan,
                              const td_array *raw, json_t *out) {
    td_array *values = td_pool_take_zero(item->pool, (size_t)(plan->n_specs + 1) * sizeof *values);
    TD_TRY(td_spec_compose(plan, raw, item->pool, values));
    for (int i = 0; i < plan->n_specs; i++) {
        td_span key = plan->specs[i].key;
        char *name = td_pool_take_zero(item->pool, key.size + 1);
        memcpy(name, key.data, key.size);
        json_object_set_new(out, name, oracle_value_json(&values[i]));
    }
    return TD_OK;
}

static td_status run_parse(const oracle_case *item, td_example_parser *parser,
                           const td_spec_plan *plan, json_t *out) {
    int64_t n, n_names;
    td_span *records = span_list(item, "serialized", false, &n);
    td_span *names = span_list(item, "names", true, &n_names);
    td_array *raw = td_pool_take_zero(item->pool, (size_t)(plan->n_raw + 1) * sizeof *raw);
    if (is_single(item)) {
        TD_TRY(td_example_parse_one(parser, records[0], item->pool, raw));
    } else {
        TD_TRY(td_example_parse_batch(parser, records, n, n_names == n && n > 0 ? names : NULL,
                                      NULL, item->pool, raw));
    }
    return compose_into(item, plan, raw, out);
}

json_t *oracle_parse_example(const oracle_case *item) {
    td_spec_plan plan;
    td_example_parser *parser;
    if (plan_of(item, "features", false, &plan) != TD_OK ||
        td_example_parser_create(plan.raw, plan.n_raw, &parser) != TD_OK) {
        return NULL;
    }
    json_t *outputs = json_object();
    td_status status = run_parse(item, parser, &plan, outputs);
    td_example_parser_destroy(parser);
    if (status != TD_OK) {
        json_decref(outputs);
        return NULL;
    }
    return json_pack("{s:o}", "outputs", outputs);
}

static json_t *lengths_json(const oracle_case *item, const td_spec_plan *plan,
                            const td_sequence_result *result) {
    json_t *out = json_object();
    for (int i = 0; i < plan->n_raw; i++) {
        if (plan->raw[i].kind == TD_PARSE_PADDED) {
            td_span key = plan->raw[i].key;
            char *name = td_pool_take_zero(item->pool, key.size + 1);
            memcpy(name, key.data, key.size);
            json_object_set_new(out, name, oracle_tensor_json(&result->lengths[i]));
        }
    }
    return out;
}

json_t *oracle_parse_sequence(const oracle_case *item) {
    td_spec_plan context, lists;
    if (plan_of(item, "context", false, &context) != TD_OK ||
        plan_of(item, "sequence", true, &lists) != TD_OK) {
        return NULL;
    }
    int64_t n, n_names;
    td_span *records = span_list(item, "serialized", false, &n);
    td_span *names = span_list(item, "names", true, &n_names);
    size_t most = (size_t)(context.n_raw + lists.n_raw + 1);
    td_sequence_spec spec = {context.raw, context.n_raw, lists.raw, lists.n_raw};
    td_sequence_result result = {td_pool_take_zero(item->pool, most * sizeof(td_array)),
                                 td_pool_take_zero(item->pool, most * sizeof(td_array)),
                                 td_pool_take_zero(item->pool, most * sizeof(td_tensor))};
    bool single = is_single(item);
    json_t *context_out = json_object(), *lists_out = json_object();
    if (td_sequence_parse(&spec, records, single ? 1 : n, n_names == n && n > 0 ? names : NULL,
                          !single, item->pool, &result) != TD_OK ||
        compose_into(item, &context, result.context, context_out) != TD_OK ||
        compose_into(item, &lists, result.lists, lists_out) != TD_OK) {
        json_decref(context_out);
        json_decref(lists_out);
        return NULL;
    }
    json_t *out =
        json_pack("{s:{s:o, s:o}}", "outputs", "context", context_out, "sequence", lists_out);
    if (!single) {
        json_object_set_new(json_object_get(out, "outputs"), "lengths",
                            lengths_json(item, &lists, &result));
    }
    return out;
}

static td_feature feature_of(const oracle_case *item, const char *key, const json_t *given) {
    td_feature out = {.key = key_span(item, key)};
    const char *kind = json_string_value(json_object_get(given, "kind"));
    const json_t *values = json_object_get(given, "values"), *bits = json_object_get(given, "bits");
    if (kind == NULL) {
        return out;
    }
    bool floats = strcmp(kind, "float_list") == 0, bytes = strcmp(kind, "bytes_list") == 0;
    out.kind = floats ? TD_FEATURE_FLOAT : bytes ? TD_FEATURE_BYTES : TD_FEATURE_INT64;
    out.count = (int64_t)json_array_size(floats && bits != NULL ? bits : values);
    json_t *tensor = json_pack("{s:s, s:[i], s:O?, s:O?}", "dtype",
                               floats  ? "float32"
                               : bytes ? "bytes"
                                       : "int64",
                               "shape", (int)out.count, "values", values, "bits", bits);
    td_tensor parsed = oracle_tensor(item, tensor);
    json_decref(tensor);
    out.floats = parsed.data;
    out.ints = parsed.data;
    out.bytes = parsed.data;
    return out;
}

json_t *oracle_serialize_example(const oracle_case *item) {
    const json_t *features = json_object_get(item->input, "features");
    size_t n = json_object_size(features), i = 0;
    td_feature *list = td_pool_take(item->pool, (n + 1) * sizeof *list);
    const char *key;
    json_t *given;
    json_object_foreach((json_t *)(uintptr_t)features, key, given) {
        list[i++] = feature_of(item, key, given);
    }
    td_text text = {0};
    if (td_example_encode(list, (int64_t)n, &text) != TD_OK) {
        td_text_destroy(&text);
        td_tf_refail(TD_TF_VALUE, td_error());
        return NULL;
    }
    json_t *out =
        json_pack("{s:o}", "bytes", oracle_hex((td_span){(const uint8_t *)text.data, text.size}));
    td_text_destroy(&text);
    return out;
}
