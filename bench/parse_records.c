/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/parse_records.h"

#include <stdio.h>

#include "base/rng.h"

enum { SEED = 7 };

const td_parse_field td_parse_fields[TD_PARSE_FEATURES] = {
    {"f_one", TD_ELEMENT_FLOAT32, 1, 1},   {"f_two", TD_ELEMENT_FLOAT32, 1, 1},
    {"f_eight", TD_ELEMENT_FLOAT32, 8, 8}, {"f_sixteen", TD_ELEMENT_FLOAT32, 16, 16},
    {"i_one", TD_ELEMENT_INT64, 1, 1},     {"i_two", TD_ELEMENT_INT64, 1, 1},
    {"i_four", TD_ELEMENT_INT64, 4, 4},    {"b_tags", TD_ELEMENT_BYTES, 0, 3},
    {"b_words", TD_ELEMENT_BYTES, 0, 3},   {"f_list", TD_ELEMENT_FLOAT32, 0, 10},
};

typedef struct field_values {
    float floats[16];
    int64_t ints[16];
    char text[3][12];
    td_span spans[3];
} field_values;

static td_feature make_feature(td_rng *rng, int field, field_values *room) {
    int64_t count = td_parse_fields[field].values;
    if (count == 0) {
        count = (int64_t)td_rng_below(rng, (uint64_t)td_parse_fields[field].most + 1);
    }
    for (int64_t i = 0; i < count; i++) {
        room->floats[i] = (float)td_rng_normal(rng);
        room->ints[i] = (int64_t)td_rng_below(rng, UINT64_C(1) << (1 + td_rng_below(rng, 40)));
        if (td_parse_fields[field].dtype == TD_ELEMENT_BYTES) {
            snprintf(room->text[i], sizeof room->text[i], "word_%06u", td_rng_u32(rng) % 1000000);
            room->spans[i] = (td_span){(const uint8_t *)room->text[i], 11};
        }
    }
    return (td_feature){.key = td_span_text(td_parse_fields[field].key),
                        .kind = td_parse_fields[field].dtype == TD_ELEMENT_BYTES ? TD_FEATURE_BYTES
                                : td_parse_fields[field].dtype == TD_ELEMENT_FLOAT32
                                    ? TD_FEATURE_FLOAT
                                    : TD_FEATURE_INT64,
                        .count = count,
                        .bytes = room->spans,
                        .floats = room->floats,
                        .ints = room->ints};
}

td_status td_parse_records_make(td_pool *pool, td_text *bytes, td_span **records) {
    size_t *ends = td_pool_take(pool, (TD_PARSE_RECORDS + 1) * sizeof *ends);
    td_span *out = td_pool_take(pool, TD_PARSE_RECORDS * sizeof *out);
    if (ends == NULL || out == NULL) {
        return td_fail(TD_ENOMEM, "records");
    }
    ends[0] = 0;
    for (int i = 0; i < TD_PARSE_RECORDS; i++) {
        td_rng rng = td_rng_make(SEED, TD_PURPOSE_TEST, (uint64_t)i);
        field_values room[TD_PARSE_FEATURES];
        td_feature features[TD_PARSE_FEATURES];
        for (int f = 0; f < TD_PARSE_FEATURES; f++) {
            features[f] = make_feature(&rng, f, &room[f]);
        }
        TD_TRY(td_example_encode(features, TD_PARSE_FEATURES, bytes));
        ends[i + 1] = bytes->size;
    }
    for (int i = 0; i < TD_PARSE_RECORDS; i++) {
        out[i] = (td_span){(const uint8_t *)bytes->data + ends[i], ends[i + 1] - ends[i]};
    }
    *records = out;
    return TD_OK;
}
