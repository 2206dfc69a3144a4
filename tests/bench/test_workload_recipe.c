/* SPDX-License-Identifier: Apache-2.0
 * Cases of recipes and of inference, run as `tandem bench` runs them: what a record says of them.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "bench/runner.h"
#include "kernels/kernel.h"

static td_outcome *outcome;
static td_case_list cases;

static void set_up(void) {
    td_isa isa;
    cr_assert_eq(td_isa_active(&isa), TD_OK, "%s", td_error());
    cr_assert_eq(td_kernels_select(isa), TD_OK, "%s", td_error());
    cr_assert_eq(td_runner_outcome_create(&outcome), TD_OK);
    cr_assert_eq(td_case_list_all(&cases), TD_OK, "%s", td_error());
}

static void tear_down(void) {
    td_runner_outcome_destroy(outcome);
    td_case_list_destroy(&cases);
}
TestSuite(workload_recipe, .init = set_up, .fini = tear_down, .timeout = 300);

static const td_case *find(const char *id) {
    for (int64_t i = 0; i < cases.count; i++) {
        if (strcmp(cases.at[i].id, id) == 0) {
            return &cases.at[i];
        }
    }
    cr_assert_fail("no case %s", id);
    return NULL;
}

static void run(const char *id, const char *layout_text, const char *expected) {
    static const td_bench_settings settings = {.data = NULL};
    td_layout layout;
    cr_assert_eq(td_layout_parse(layout_text, &layout), TD_OK, "%s", td_error());
    td_runner_options options = {.settings = &settings, .samples = 1};
    cr_assert_eq(td_runner_run(find(id), &layout, &options, expected, NULL, NULL, outcome), TD_OK,
                 "%s", td_error());
}

static double number(const char *name) {
    for (int64_t i = 0; i < outcome->n_numbers; i++) {
        if (strcmp(outcome->numbers[i].name, name) == 0) {
            return outcome->numbers[i].value;
        }
    }
    return NAN;
}

/* Features are proved against the frozen tower inside the case, and both end with one hash. */
Test(workload_recipe, a_record_holds_both_speedups) {
    char sha[TD_SHA256_HEX];
    run("recipe/lit/ti-32/b32-f32", "p1xt1", "");
    cr_assert_eq(outcome->state, TD_OUTCOME_OK, "%s", outcome->reason);
    cr_assert_str_empty(outcome->reason);
    cr_expect_float_eq(number("predicted_speedup"), 2.36, 0.01);
    cr_expect_gt(number("speedup"), 0);
    cr_expect_float_eq(number("speedup_share"), number("speedup") / number("predicted_speedup"),
                       1e-12);
    memcpy(sha, outcome->sha256, sizeof sha);
    run("recipe/lit-features/ti-32/b32-f32", "p1xt2+over", sha);
    cr_assert_eq(outcome->state, TD_OUTCOME_OK, "%s", outcome->reason);
    cr_expect_float_eq(number("predicted_speedup"), 7.38, 0.01);
    cr_expect_gt(number("speedup"), 0);
    cr_expect_str_eq(outcome->sha256, sha);
    run("recipe/flip75/ti-32/b32-f32", "p1xt1", sha);
    cr_assert_eq(outcome->state, TD_OUTCOME_FAILED, "dropped patches gave the same weights");
}

Test(workload_recipe, inference_gives_one_answer) {
    static const char *const ids[] = {"embed/image/mu/b64-f32", "embed/text/mu/b64-f32"};
    static const char *const layouts[] = {"p1xt2+over", "p2xt1:process+over", "p3xt1:thread+over"};
    for (int i = 0; i < 2; i++) {
        char sha[TD_SHA256_HEX];
        run(ids[i], "p1xt1", "");
        cr_assert_eq(outcome->state, TD_OUTCOME_OK, "%s", outcome->reason);
        memcpy(sha, outcome->sha256, sizeof sha);
        double flops = outcome->cost.flops;
        cr_assert(flops > 0 && flops < outcome->cost.nominal, "%g of %g", flops,
                  outcome->cost.nominal);
        for (int l = 0; l < 3; l++) {
            run(ids[i], layouts[l], sha);
            cr_expect_eq(outcome->state, TD_OUTCOME_OK, "%s: %s", layouts[l], outcome->reason);
            cr_expect_str_eq(outcome->sha256, sha);
        }
        sha[0] = sha[0] == '0' ? '1' : '0';
        run(ids[i], "p1xt1", sha);
        cr_expect_eq(outcome->state, TD_OUTCOME_FAILED, "another answer was not noticed");
    }
}
