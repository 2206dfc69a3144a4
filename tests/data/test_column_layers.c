/* SPDX-License-Identifier: Apache-2.0
 * Keras' layers as columns: each recorded result of the real ones described in JSON and computed,
 * lists and shapes, and what is wrong with a description.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "data/column_plan.h"
#include "data/tf_error.h"
#include "tests/oracle/oracle.h"

static const struct {
    const char *keras, *type;
} layers[] = {
    {"Hashing", "hashing"},
    {"HashedCrossing", "hashed_crossing"},
    {"StringLookup", "string_lookup"},
    {"IntegerLookup", "integer_lookup"},
    {"Discretization", "discretization"},
    {"CategoryEncoding", "category_encoding"},
    {"Normalization", "normalization"},
};
enum { LAYERS = sizeof layers / sizeof layers[0], KEYS_MAX = 8 };

static const char *const names[KEYS_MAX] = {"a", "b", "c", "d", "e", "f", "g", "h"};

static json_t *typed_key(const char *key, const td_tensor *input) {
    const char *dtype = input->dtype == TD_ELEMENT_BYTES     ? "string"
                        : td_element_is_int(input->dtype)    ? "int64"
                        : input->dtype == TD_ELEMENT_FLOAT32 ? "float32"
                                                             : "float64";
    return json_pack("{s:s, s:s}", "key", key, "dtype", dtype);
}

/* What a recorded layer is as a column; NULL: it takes or gives what columns do not have. */
static json_t *describe(const oracle_case *item, int layer, const td_tensor *inputs, int n) {
    const json_t *args = json_object_get(item->config, "args");
    const json_t *set = json_object_get(item->config, "set_vocabulary");
    const char *mode = json_string_value(json_object_get(args, "output_mode"));
    bool inverts = strstr(layers[layer].type, "lookup") != NULL &&
                   json_is_true(json_object_get(args, "invert"));
    bool sums = layer == 5 || mode != NULL;
    for (int i = 0; i < n; i++) {
        inverts = inverts || inputs[i].rank == 0 || (inputs[i].rank == 1 && sums) ||
                  inputs[i].dtype == TD_ELEMENT_FLOAT64;
    }
    if (inverts || json_is_object(json_object_get(item->input, "count_weights"))) {
        return NULL;
    }
    bool crossed = strcmp(layers[layer].type, "hashed_crossing") == 0;
    json_t *spec = crossed ? json_pack("{s:[]}", "keys") : typed_key(names[0], &inputs[0]);
    json_object_set_new(spec, "type", json_string(layers[layer].type));
    for (int i = 0; crossed && i < n; i++) {
        json_array_append_new(json_object_get(spec, "keys"), typed_key(names[i], &inputs[i]));
    }
    json_t *shape = json_array();
    for (int d = 1; d < inputs[0].rank; d++) {
        json_array_append_new(shape, json_integer(inputs[0].shape[d]));
    }
    if (!crossed && inputs[0].rank > 1) {
        json_object_set(spec, "shape", shape);
    }
    json_decref(shape);
    json_object_update(spec, (json_t *)(uintptr_t)args);
    if (set != NULL) {
        json_object_update(spec, (json_t *)(uintptr_t)set);
    }
    if (strstr(layers[layer].type, "lookup") != NULL) {
        json_object_del(spec, "invert");
    }
    return spec;
}

static td_status compute(const json_t *spec, const td_tensor *inputs, int n, td_pool *pool,
                         td_tensor *out) {
    json_t *list = json_pack("[O]", spec);
    td_column_list built;
    td_span keys[KEYS_MAX];
    td_array values[KEYS_MAX];
    for (int i = 0; i < n; i++) {
        keys[i] = td_span_text(names[i]);
        values[i] = (td_array){.kind = TD_ARRAY_TENSOR, .tensor = inputs[i]};
    }
    td_status status = td_columns_build(list, false, pool, &built);
    json_decref(list);
    TD_TRY(status);
    td_feature_map map = {keys, values, n};
    td_ids ids;
    if (!td_column_is_categorical(built.columns[0])) {
        return td_column_dense(built.columns[0], &map, false, pool, out, NULL);
    }
    TD_TRY(td_column_ids(built.columns[0], &map, pool, &ids));
    *out = ids.ids.values;
    return TD_OK;
}

static void check_case(const oracle_case *item, int layer, int ran[LAYERS]) {
    const json_t *inputs = json_object_get(item->input, "inputs");
    td_tensor tensors[KEYS_MAX], got = {0};
    int n = (int)json_array_size(inputs);
    cr_assert_leq(n, KEYS_MAX);
    for (int i = 0; i < n; i++) {
        tensors[i] = oracle_tensor(item, json_array_get(inputs, (size_t)i));
    }
    json_t *spec = describe(item, layer, tensors, n);
    if (spec == NULL) {
        return;
    }
    const json_t *output = json_object_get(item->expected, "output");
    td_status status = compute(spec, tensors, n, item->pool, &got);
    cr_expect_eq(status == TD_OK, output != NULL, "%s: %s", item->id,
                 status == TD_OK ? "succeeded" : td_error());
    ran[layer]++;
    json_decref(spec);
    if (output == NULL || status != TD_OK) {
        return;
    }
    td_tensor want = oracle_tensor(item, output);
    cr_assert_eq(got.count, want.count, "%s", item->id);
    for (int64_t i = 0; i < want.count; i++) {
        double a = td_tensor_real(&got, i), b = td_tensor_real(&want, i);
        cr_expect(a == b || (isnan(a) && isnan(b)), "%s: %g at %d, expected %g", item->id, a,
                  (int)i, b);
    }
}

static void check_file(const char *path, int ran[LAYERS]) {
    json_t *file, *cases;
    cr_assert_eq(oracle_load(path, &file, &cases), TD_OK, "%s", td_error());
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *row = json_array_get(cases, i);
        td_pool pool = {0};
        oracle_case item = {.id = json_string_value(json_object_get(row, "id")),
                            .input = json_object_get(row, "input"),
                            .config = json_object_get(row, "config"),
                            .expected = json_object_get(row, "expected"),
                            .pool = &pool};
        const char *name = json_string_value(json_object_get(item.config, "layer"));
        for (int layer = 0; name != NULL && layer < LAYERS; layer++) {
            if (strcmp(name, layers[layer].keras) == 0) {
                check_case(&item, layer, ran);
            }
        }
        td_pool_destroy(&pool);
    }
    json_decref(file);
}

Test(column_layers, have_the_recorded_results) {
    int ran[LAYERS] = {0};
    check_file(TD_GOLDEN "/tensorflow.json", ran);
    check_file(TD_GOLDEN "/tensorflow_more.json", ran);
    for (int i = 0; i < LAYERS; i++) {
        cr_expect_geq(ran[i], 3, "%s: %d cases", layers[i].type, ran[i]);
    }
}

static td_status build(const char *quoted, td_pool *pool, td_column_list *out) {
    char *text = td_strdup(quoted);
    for (char *at = text; *at != '\0'; at++) {
        *at = *at == '\'' ? '"' : *at;
    }
    json_t *list = json_loads(text, 0, NULL);
    cr_assert_not_null(list, "%s", quoted);
    td_status status = td_columns_build(list, false, pool, out);
    json_decref(list);
    td_free(text);
    return status;
}

/* Two records: the words a, c, d, d and 3, 4; d, z, b, z and 7. */
static void append_records(td_text *bytes, size_t ends[3]) {
    const td_span words[2][4] = {
        {td_span_text("a"), td_span_text("c"), td_span_text("d"), td_span_text("d")},
        {td_span_text("d"), td_span_text("z"), td_span_text("b"), td_span_text("z")}};
    static const int64_t numbers[2][2] = {{3, 4}, {7, 0}};
    static const float reals[2][2] = {{1, 4}, {3, -4}};
    ends[0] = 0;
    for (int r = 0; r < 2; r++) {
        const td_feature features[] = {
            {td_span_text("words"), TD_FEATURE_BYTES, 4, words[r], NULL, NULL},
            {td_span_text("first"), TD_FEATURE_BYTES, 1, words[r], NULL, NULL},
            {td_span_text("numbers"), TD_FEATURE_INT64, 2 - r, NULL, NULL, numbers[r]},
            {td_span_text("reals"), TD_FEATURE_FLOAT, 2, NULL, reals[r], NULL},
        };
        cr_assert_eq(td_example_encode(features, 4, bytes), TD_OK);
        ends[r + 1] = bytes->size;
    }
}

typedef struct row {
    const char *column;
    int width;
    float want[2][8];
} row;

/* The first is of Keras' documentation. */
static const row rows[] = {
    {"{'type':'string_lookup','key':'words','vocabulary':['a','b','c','d'],"
     "'output_mode':'tf_idf','idf_weights':[0.25,0.75,0.6,0.4]}",
     5,
     {{0, 0.25f, 0, 0.6f, 0.8f}, {1, 0, 0.75f, 0, 0.4f}}},
    {"{'type':'string_lookup','key':'words','vocabulary':['a','b','c','d'],"
     "'output_mode':'count','mask_token':'z','max_tokens':7,'pad_to_max_tokens':true}",
     7,
     {{0, 1, 0, 1, 2}, {0, 0, 1, 0, 1}}},
    {"{'type':'string_lookup','key':'words','vocabulary':['a','b','c','d'],"
     "'output_mode':'multi_hot'}",
     5,
     {{0, 1, 0, 1, 1}, {1, 0, 1, 0, 1}}},
    {"{'type':'indicator','categorical':{'type':'string_lookup','key':'words','vocabulary':"
     "['a','b','c','d'],'mask_token':'z'}}",
     6,
     {{0, 0, 1, 0, 1, 2}, {2, 0, 0, 1, 0, 1}}},
    {"{'type':'embedding','dimension':1,'combiner':'sum','table':[[1],[10],[100],[1000],[1e4]],"
     "'categorical':{'type':'string_lookup','key':'words','vocabulary':['a','b','c','d']}}",
     1,
     {{21010}, {10102}}},
    {"{'type':'indicator','categorical':{'type':'integer_lookup','key':'numbers',"
     "'vocabulary':[4,7],'num_oov_indices':2}}",
     4,
     {{0, 1, 1, 0}, {0, 0, 0, 1}}},
    {"{'type':'category_encoding','key':'numbers','num_tokens':5}", 5, {{0, 0, 0, 1, 1}, {0}}},
    {"{'type':'string_lookup','key':'first','shape':[1],'vocabulary':['d'],"
     "'output_mode':'one_hot'}",
     2,
     {{1, 0}, {0, 1}}},
    {"{'type':'normalization','key':'reals','shape':[2],'mean':[1,2],'variance':[4,1]}",
     2,
     {{0, 2}, {1, -6}}},
    {"{'type':'normalization','key':'reals','shape':[2],'mean':1,'variance':4,'axis':null,"
     "'invert':true}",
     2,
     {{3, 9}, {7, -7}}},
    {"{'type':'discretization','key':'reals','shape':[2],'bin_boundaries':[0,3],"
     "'output_mode':'count'}",
     3,
     {{0, 1, 1}, {1, 0, 1}}},
};

Test(column_layers, encode_lists_a_record_after_the_other) {
    td_text bytes = {0};
    size_t ends[3];
    append_records(&bytes, ends);
    td_span records[2];
    for (int r = 0; r < 2; r++) {
        records[r] = (td_span){(const uint8_t *)bytes.data + ends[r], ends[r + 1] - ends[r]};
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        td_pool pool = {0};
        char list[400];
        float got[2][8];
        td_plan_spec spec = {0};
        td_column_plan *plan;
        snprintf(list, sizeof list, "[%s]", rows[i].column);
        cr_assert_eq(build(list, &pool, &spec.dense), TD_OK, "%s", td_error());
        cr_assert_eq(td_column_plan_create(&spec, &plan), TD_OK, "%s", td_error());
        cr_assert_eq(td_column_plan_width(plan), rows[i].width, "%s", list);
        cr_assert_eq(td_column_plan_run(plan, records, 2, NULL, NULL, got[0], 8, NULL), TD_OK,
                     "%s: %s", list, td_error());
        for (int k = 0; k < 2 * rows[i].width; k++) {
            int r = k / rows[i].width, c = k % rows[i].width;
            cr_expect_eq(got[r][c], rows[i].want[r][c], "%s: record %d has %g at %d, expected %g",
                         list, r, (double)got[r][c], c, (double)rows[i].want[r][c]);
        }
        td_column_plan_destroy(plan);
        td_pool_destroy(&pool);
    }
    td_text_destroy(&bytes);
}

typedef struct wrong_layer {
    const char *text, *message;
} wrong_layer;

Test(column_layers, messages_name_the_place) {
    static const wrong_layer wrong[] = {
        {"{'type':'hashing','key':'x'}", "columns[0]: The `num_bins` for `Hashing` cannot"},
        {"{'type':'hashing','num_bins':3}", "columns[0].key: expected the name of a feature"},
        {"{'type':'hashing','key':'x','num_bins':3,'salts':4}",
         "columns[0].salts: expected one of type name key dtype shape output_mode num_bins "
         "mask_value salt"},
        {"{'type':'hashing','key':'x','num_bins':3,'salt':[1,2,3]}",
         "columns[0].salt: expected a whole number, or a list of two"},
        {"{'type':'hashing','key':'x','num_bins':3,'mask_value':4}",
         "columns[0].mask_value: expected a string"},
        {"{'type':'hashing','key':'x','num_bins':3,'dtype':'bool'}",
         "columns[0].dtype: expected string or int64 or float32"},
        {"{'type':'hashing','key':'x','num_bins':3,'output_mode':'tf_idf'}",
         "columns[0].output_mode: expected int or one_hot or multi_hot or count"},
        {"{'type':'hashing','key':'x','num_bins':3,'shape':[0]}",
         "columns[0]: shape dimensions must be greater than 0"},
        {"{'type':'hashing','key':'x','num_bins':9000000000,'output_mode':'count'}",
         "columns[0]: more than 2147483647 numbers a record"},
        {"{'type':'hashing','key':'x','num_bins':3,'sequence':true}",
         "columns[0].sequence: expected one of"},
        {"{'type':'hashing','key':'x','num_bins':3,'name':''}", "columns[0].name: expected a name"},
        {"{'type':'hashed_crossing','keys':['a'],'num_bins':3}",
         "columns[0].keys: expected two keys or more"},
        {"{'type':'hashed_crossing','keys':['a',{'key':'b','dtype':'float32'}],'num_bins':3}",
         "columns[0].keys[1].dtype: expected string or int64"},
        {"{'type':'hashed_crossing','keys':['a','b'],'num_bins':3,'output_mode':'count'}",
         "columns[0].output_mode: expected int or one_hot"},
        {"{'type':'string_lookup','key':'x'}", "columns[0].vocabulary: expected a list of strings"},
        {"{'type':'string_lookup','key':'x','vocabulary':[1]}",
         "columns[0].vocabulary: expected a list of strings"},
        {"{'type':'string_lookup','key':'x','vocabulary':['a','a']}",
         "columns[0]: Duplicate keys in vocabulary_list, at position 1"},
        {"{'type':'string_lookup','key':'x','vocabulary':['a'],'output_mode':'tf_idf'}",
         "columns[0]: `idf_weights` must be set"},
        {"{'type':'string_lookup','key':'x','vocabulary':['a'],'max_tokens':1}",
         "columns[0]: `max_tokens` must be greater than 1"},
        {"{'type':'string_lookup','key':'x','vocabulary':['a'],'invert':true}",
         "columns[0].invert: expected one of"},
        {"{'type':'integer_lookup','key':'x','vocabulary':[1],'oov_method':'md5'}",
         "columns[0].oov_method: expected floormod or farmhash"},
        {"{'type':'discretization','key':'x','bin_boundaries':[2,1]}",
         "columns[0].bin_boundaries: expected numbers that do not fall"},
        {"{'type':'category_encoding','key':'x'}",
         "columns[0].num_tokens: expected a whole number above 0"},
        {"{'type':'normalization','key':'x','mean':1}",
         "columns[0]: When setting values directly, both `mean` and `variance`"},
        {"{'type':'normalization','key':'x','mean':[1,2],'variance':[1,2]}",
         "columns[0].mean: expected 1 number, or one"},
        {"{'type':'normalization','key':'x','mean':1,'variance':-1}",
         "columns[0].variance: expected numbers that are not below 0"},
        {"{'type':'normalization','key':'x','mean':1,'variance':1,'axis':2}",
         "columns[0].axis: expected -1"},
        {"{'type':'embedding','dimension':2,'categorical':{'type':'normalization','key':'x',"
         "'mean':1,'variance':1}}",
         "columns[0].categorical: expected a categorical column"},
        {"{'type':'indicator','categorical':{'type':'hashing','key':'x'}}",
         "columns[0].categorical: The `num_bins`"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        td_pool pool = {0};
        td_column_list built;
        char list[400];
        snprintf(list, sizeof list, "[%s]", wrong[i].text);
        cr_expect_eq(build(list, &pool, &built), TD_EINPUT, "%s", list);
        cr_expect(strncmp(td_error(), wrong[i].message, strlen(wrong[i].message)) == 0,
                  "%s: \"%s\" lacks \"%s\"", list, td_error(), wrong[i].message);
        td_pool_destroy(&pool);
    }
}
