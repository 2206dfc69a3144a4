/* SPDX-License-Identifier: Apache-2.0
 * SequenceExamples, in batches and alone, with ragged partitions of what they give.
 */
#include "data/example_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static td_feature_spec spec(const char *key, td_spec_kind kind, td_element_type dtype) {
    return (td_feature_spec){.key = td_span_text(key),
                             .kind = kind,
                             .dtype = dtype,
                             .allow_missing = true,
                             .value_key = td_span_text(key),
                             .splits_dtype = TD_ELEMENT_INT32};
}

static void run(const td_span *records, int64_t n, bool batch, bool validate) {
    td_pool pool = {0};
    td_feature_spec context[3] = {spec("ctx", TD_SPEC_VAR_LEN, TD_ELEMENT_INT64),
                                  spec("v", TD_SPEC_RAGGED, TD_ELEMENT_INT64),
                                  spec("name", TD_SPEC_VAR_LEN, TD_ELEMENT_BYTES)};
    td_feature_spec lists[3] = {spec("a", TD_SPEC_FIXED_LEN_SEQUENCE, TD_ELEMENT_INT64),
                                spec("b", TD_SPEC_RAGGED, TD_ELEMENT_FLOAT32),
                                spec("s", TD_SPEC_VAR_LEN, TD_ELEMENT_BYTES)};
    static const char *const keys[] = {"splits", "lengths", "starts", "limits", "ids"};
    context[1].n_partitions = 3;
    context[1].validate = validate;
    for (int i = 0; i < 3; i++) {
        int kind = (int)(records[0].size + (size_t)i) % 6;
        context[1].partitions[i].kind = (td_partition_kind)kind;
        context[1].partitions[i].length = 2;
        context[1].partitions[i].key = td_span_text(keys[kind % 5]);
    }
    td_spec_plan plan, list_plan;
    if (td_spec_plan_create(context, 3, false, &pool, &plan) == TD_OK &&
        td_spec_plan_create(lists, 3, true, &pool, &list_plan) == TD_OK) {
        td_array raw[16] = {{0}}, list_raw[16] = {{0}}, out[3];
        td_tensor lengths[16];
        td_sequence_spec wanted = {plan.raw, plan.n_raw, list_plan.raw, list_plan.n_raw};
        td_sequence_result result = {raw, list_raw, lengths};
        if (td_sequence_parse(&wanted, records, n, NULL, batch, &pool, &result) == TD_OK) {
            td_spec_compose(&plan, raw, &pool, out);
            td_spec_compose(&list_plan, list_raw, &pool, out);
        }
    }
    td_pool_destroy(&pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const td_span records[2] = {{data, size}, {data, size / 2}};
    run(records, 2, true, false);
    run(records, 1, true, true);
    run(records, 1, false, size % 2 == 0);
    return 0;
}
