/* SPDX-License-Identifier: Apache-2.0
 * Examples: the strict reader, the batch parser and the single one, with every kind of feature.
 */
#include <stdlib.h>

#include "data/example_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
    const char *key;
    td_parse_kind kind;
    td_element_type dtype;
    int rank;
    int64_t shape[2];
} wanted[] = {
    {"a", TD_PARSE_FIXED, TD_ELEMENT_INT64, 1, {2}},
    {"b", TD_PARSE_SPARSE, TD_ELEMENT_INT64, 0, {0}},
    {"c", TD_PARSE_RAGGED, TD_ELEMENT_FLOAT32, 0, {0}},
    {"f", TD_PARSE_FIXED, TD_ELEMENT_FLOAT32, 0, {0}},
    {"i", TD_PARSE_PADDED, TD_ELEMENT_INT64, 1, {2}},
    {"s", TD_PARSE_SPARSE, TD_ELEMENT_BYTES, 0, {0}},
    {"v", TD_PARSE_PADDED, TD_ELEMENT_FLOAT32, 0, {0}},
    {"w", TD_PARSE_FIXED, TD_ELEMENT_BYTES, 0, {0}},
};
enum { WANTED = sizeof wanted / sizeof wanted[0] };

static td_example_parser *make_parser(void) {
    static const int64_t ints[2] = {1, 2};
    static const float one = 1;
    static const td_span word = {(const uint8_t *)"x", 1};
    td_parse_feature features[WANTED];
    td_example_parser *parser = NULL;
    for (int i = 0; i < WANTED; i++) {
        features[i] = (td_parse_feature){.key = td_span_text(wanted[i].key),
                                         .kind = wanted[i].kind,
                                         .dtype = wanted[i].dtype,
                                         .rank = wanted[i].rank,
                                         .shape = {wanted[i].shape[0], wanted[i].shape[1]},
                                         .splits_dtype = TD_ELEMENT_INT64};
        if (wanted[i].kind == TD_PARSE_FIXED) {
            features[i].fallback = wanted[i].dtype == TD_ELEMENT_INT64     ? (const void *)ints
                                   : wanted[i].dtype == TD_ELEMENT_FLOAT32 ? (const void *)&one
                                                                           : (const void *)&word;
        }
    }
    if (td_example_parser_create(features, WANTED, &parser) != TD_OK) {
        abort();
    }
    return parser;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static td_example_parser *parser;
    static td_pool pool;
    static td_example example;
    if (parser == NULL) {
        parser = make_parser();
    }
    td_array out[WANTED] = {{0}};
    const td_span records[3] = {{data, size / 2}, {data + size / 2, size - size / 2}, {data, size}};
    td_pool_reset(&pool);
    td_example_decode(data, size, &example);
    td_example_parse_one(parser, records[2], &pool, out);
    td_example_parse_batch(parser, records, 3, NULL, NULL, &pool, out);
    td_example_parse_batch(parser, records + 2, 1, NULL, NULL, &pool, out);
    return 0;
}
