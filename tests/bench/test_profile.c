/* SPDX-License-Identifier: Apache-2.0
 * The model of a step's time, and the timeline that is written of one.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/memory.h"
#include "bench/profile.h"

static td_outcome *make_outcome(void) {
    td_outcome *out = td_alloc_zero(sizeof *out);
    cr_assert_not_null(out);
    out->n_ops = 3;
    out->ops[0] = (td_outcome_op){.name = "v.qkv",
                                  .family = "gemm",
                                  .flops = 92e9,
                                  .bytes = 1e9,
                                  .alone_flops = 8e9,
                                  .alone_ns = 1e8};
    out->ops[1] = (td_outcome_op){.name = "v.attention",
                                  .family = "attention",
                                  .flops = 11e9,
                                  .alone_flops = 5.5e9,
                                  .alone_ns = 1e8};
    out->ops[2] = (td_outcome_op){.name = "adamw", .family = "optimizer", .bytes = 5e9};
    out->n_phases = 1000;
    out->barrier_ns = 500;
    return out;
}

/* 92 / 80 + 11 / 55 + 5 / 50 s and 1,000 barriers; two ranks have the same rates each, and share
 * the memory. */
Test(profile, the_model_adds_what_each_op_takes) {
    td_outcome *out = make_outcome();
    td_profile_rates rates = {.bandwidth = 50, .workers = 2, .ranks = 1};
    double expected = 1.15e9 + 0.2e9 + 0.1e9 + 0.5e6;
    cr_assert_float_eq(td_profile_model(out, &rates) / expected, 1, 1e-12);
    rates.ranks = 2;
    cr_assert_float_eq(td_profile_model(out, &rates) / (expected + 0.1e9), 1, 1e-12);
    td_free(out);
}

static void expect_trace(const char *path) {
    json_error_t error;
    json_t *trace = json_load_file(path, 0, &error), *event;
    cr_assert_not_null(trace, "%s: %s", path, error.text);
    size_t i, spans = 0, lanes = 0;
    json_array_foreach(json_object_get(trace, "traceEvents"), i, event) {
        const char *kind = json_string_value(json_object_get(event, "ph"));
        lanes += strcmp(json_string_value(json_object_get(event, "name")), "thread_name") == 0;
        if (strcmp(kind, "X") != 0) {
            continue;
        }
        json_int_t rank = json_integer_value(json_object_get(event, "pid"));
        cr_assert_eq(json_integer_value(json_object_get(event, "tid")), 0);
        cr_assert_str_eq(json_string_value(json_object_get(event, "cat")), "gemm");
        double start = json_number_value(json_object_get(event, "ts"));
        cr_assert(rank == 0 ? start <= 0 : start > 0);
        cr_assert(json_number_value(json_object_get(event, "dur")) > 0);
        spans++;
    }
    cr_assert(spans == 2 && lanes == 2, "%zu spans, %zu lanes", spans, lanes);
    json_decref(trace);
}

Test(profile, a_timeline_has_a_lane_for_every_worker) {
    td_outcome *out = make_outcome();
    char folder[] = "/tmp/tandem_profile_XXXXXX", path[256];
    cr_assert_not_null(mkdtemp(folder));
    for (int rank = 0; rank < 2; rank++) {
        out->spans[rank] = (td_outcome_span){.name = "v.0.qkv",
                                             .family = "gemm",
                                             .rank = rank,
                                             .start = UINT64_C(1) << 60 | (uint64_t)rank << 20,
                                             .end = UINT64_C(1) << 60 | UINT64_C(1) << 40};
    }
    out->n_spans = 2;
    td_layout layout;
    td_case subject = {.id = "step/clip/mu/b64-f32"};
    cr_assert_eq(td_layout_parse("p2xt1:process", &layout), TD_OK);
    cr_assert_eq(td_profile_write_trace(folder, &subject, &layout, out), TD_OK, "%s", td_error());
    snprintf(path, sizeof path, "%s/step-clip-mu-b64-f32-p2xt1-process.trace.json", folder);
    expect_trace(path);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(rmdir(folder), 0, "nothing else was left in the folder");
    td_free(out);
}
