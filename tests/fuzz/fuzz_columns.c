/* SPDX-License-Identifier: Apache-2.0
 * Descriptions of feature columns, and the columns they make over one small batch.
 */
#include "data/column.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void evaluate(const td_column_list *list, td_pool *pool) {
    static const float numbers[4] = {-1, 0.5f, 2, 7};
    static const int64_t ids[4] = {0, -1, 3, 99};
    static const td_span words[4] = {{(const uint8_t *)"red", 3},
                                     {(const uint8_t *)"", 0},
                                     {(const uint8_t *)"a", 1},
                                     {(const uint8_t *)"zz", 2}};
    static const int64_t places[8] = {0, 0, 0, 1, 1, 0, 1, 2};
    const td_span keys[4] = {td_span_text("x"), td_span_text("a"), td_span_text("w"),
                             td_span_text("s")};
    td_array values[4] = {
        {.kind = TD_ARRAY_TENSOR, .tensor = {TD_ELEMENT_FLOAT32, 2, {2, 2}, 4, NULL}},
        {.kind = TD_ARRAY_TENSOR, .tensor = {TD_ELEMENT_INT64, 2, {2, 2}, 4, NULL}},
        {.kind = TD_ARRAY_TENSOR, .tensor = {TD_ELEMENT_BYTES, 2, {2, 2}, 4, NULL}}};
    values[0].tensor.data = (void *)(uintptr_t)numbers;
    values[1].tensor.data = (void *)(uintptr_t)ids;
    values[2].tensor.data = (void *)(uintptr_t)words;
    values[3] = (td_array){.kind = TD_ARRAY_SPARSE,
                           .sparse = {.rank = 2,
                                      .indices = (void *)(uintptr_t)places,
                                      .values = {TD_ELEMENT_BYTES, 1, {4}, 4, NULL},
                                      .dense_shape = {2, 3}}};
    values[3].sparse.values.data = (void *)(uintptr_t)words;
    td_feature_map map = {keys, values, 4};
    td_column_list sorted;
    td_tensor out, lengths;
    if (td_columns_sort(list, pool, &sorted) == TD_OK) {
        td_columns_dense(&sorted, &map, pool, &out);
        td_columns_sequence(&sorted, &map, pool, &out, &lengths);
    }
    for (int i = 0; i < list->count; i++) {
        td_ids found;
        if (td_column_is_categorical(list->columns[i])) {
            td_column_ids(list->columns[i], &map, pool, &found);
        }
    }
}

/* Tables as wide as their buckets say would only test memory. */
static bool is_small(const td_column_list *list) {
    for (int i = 0; i < list->count; i++) {
        const td_column *column = list->columns[i];
        if (column->buckets > 1 << 16 || column->dimension > 1 << 12) {
            return false;
        }
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *json = json_loadb((const char *)data, size, 0, NULL);
    td_pool pool = {0};
    td_column_list list;
    if (json != NULL && td_columns_build(json, true, &pool, &list) == TD_OK && is_small(&list)) {
        td_feature_spec *specs;
        int n;
        td_columns_parse_spec(&list, &pool, &specs, &n);
        evaluate(&list, &pool);
    }
    json_decref(json);
    td_pool_destroy(&pool);
    return 0;
}
