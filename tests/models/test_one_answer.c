/* SPDX-License-Identifier: Apache-2.0
 * One answer: the SHA-256 of the weights after ten steps is the same on every layout whose ranks
 * divide the blocks, and on every instruction set that runs here.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "train_case.h"

enum { STEPS = 10, N_LAYOUTS = 10 };

static const char layouts[N_LAYOUTS][24] = {
    "p1xt1",         "p1xt2",         "p1xt3",        "p1xt7",        "p2xt1:thread",
    "p2xt1:process", "p2xt2:process", "p4xt1:thread", "p4xt2:thread", "p8xt1:process"};

typedef struct answer_case {
    char model[16];
    td_loss loss;
    td_precision precision;
} answer_case;

ParameterizedTestParameters(one_answer, layouts) {
    static answer_case cases[] = {{"mu", TD_LOSS_SOFTMAX, TD_PRECISION_F32},
                                  {"mu", TD_LOSS_SIGMOID, TD_PRECISION_F32},
                                  {"mu-siglip", TD_LOSS_SIGMOID, TD_PRECISION_F32},
                                  {"mu-siglip", TD_LOSS_SOFTMAX, TD_PRECISION_F32},
                                  {"mu", TD_LOSS_SOFTMAX, TD_PRECISION_BF16},
                                  {"mu-siglip", TD_LOSS_SIGMOID, TD_PRECISION_BF16},
                                  {"mu", TD_LOSS_SOFTMAX, TD_PRECISION_BF16_AMX},
                                  {"mu-siglip", TD_LOSS_SIGMOID, TD_PRECISION_BF16_AMX}};
    return cr_make_param_array(answer_case, cases, sizeof cases / sizeof cases[0]);
}

/* Steps must have done something, or equal answers would say nothing. */
static void check_progress(const td_case_result *result) {
    for (int step = 0; step < STEPS; step++) {
        cr_assert(isfinite(result->loss[step]));
    }
    cr_assert_neq(result->loss[0], result->loss[STEPS - 1]);
    cr_assert_eq(strlen(result->sha256), 64);
}

ParameterizedTest(answer_case *c, one_answer, layouts) {
    td_train_options options = td_case_options(c->model, c->loss);
    options.precision = c->precision;
    td_isa native;
    td_case_ok(td_isa_active(&native));
    td_case_ok(td_kernels_select(native));
    td_case_result reference = {0};
    td_case_ok(td_case_run(&options, layouts[0], STEPS, &reference));
    check_progress(&reference);
    for (int i = 1; i < N_LAYOUTS; i++) {
        td_case_result result = {0};
        td_case_ok(td_case_run(&options, layouts[i], STEPS, &result));
        cr_assert_str_eq(result.sha256, reference.sha256, "%s, %s: another answer", c->model,
                         layouts[i]);
        cr_assert_arr_eq(result.loss, reference.loss, STEPS * sizeof(double),
                         "%s, %s: other losses", c->model, layouts[i]);
    }
}

ParameterizedTestParameters(one_answer, instruction_sets) {
    static answer_case cases[] = {{"mu", TD_LOSS_SOFTMAX, TD_PRECISION_F32},
                                  {"mu-siglip", TD_LOSS_SIGMOID, TD_PRECISION_F32},
                                  {"mu", TD_LOSS_SOFTMAX, TD_PRECISION_BF16},
                                  {"mu-siglip", TD_LOSS_SIGMOID, TD_PRECISION_BF16},
                                  {"mu", TD_LOSS_SOFTMAX, TD_PRECISION_BF16_AMX},
                                  {"mu-siglip", TD_LOSS_SIGMOID, TD_PRECISION_BF16_AMX}};
    return cr_make_param_array(answer_case, cases, sizeof cases / sizeof cases[0]);
}

ParameterizedTest(answer_case *c, one_answer, instruction_sets) {
    td_train_options options = td_case_options(c->model, c->loss);
    options.precision = c->precision;
    td_isa highest;
    td_case_ok(td_isa_active(&highest));
    char first[TD_SHA256_HEX] = "";
    for (td_isa isa = TD_ISA_PORTABLE; isa <= highest; isa++) {
        td_case_ok(td_kernels_select(isa));
        td_case_result result = {0};
        td_case_ok(td_case_run(&options, "p2xt1:thread", STEPS, &result));
        check_progress(&result);
        if (first[0] == '\0') {
            strcpy(first, result.sha256);
        }
        cr_assert_str_eq(result.sha256, first, "%s, %s: another answer", c->model,
                         td_isa_name(isa));
    }
}

/* Ranks that do not divide the blocks: the same again for the same layout, and close to the one
 * answer, but allowed to differ in rounding. */
Test(one_answer, three_ranks_are_deterministic) {
    td_train_options options = td_case_options("mu", TD_LOSS_SIGMOID);
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    td_case_result one = {0}, process = {0}, thread = {0};
    td_case_ok(td_case_run(&options, "p1xt1", STEPS, &one));
    td_case_ok(td_case_run(&options, "p3xt1:process", STEPS, &process));
    td_case_ok(td_case_run(&options, "p3xt1:thread", STEPS, &thread));
    cr_assert_str_eq(process.sha256, thread.sha256);
    for (int step = 0; step < STEPS; step++) {
        cr_assert(fabs(one.loss[step] - process.loss[step]) <= 1e-4 * one.loss[step],
                  "step %d: %.9g and %.9g", step, one.loss[step], process.loss[step]);
    }
}

/* Another seed, another answer: the hash sees the weights. */
Test(one_answer, seeds_differ) {
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    td_case_result a = {0}, b = {0};
    td_case_ok(td_case_run(&options, "p1xt1", 2, &a));
    options.seed++;
    td_case_ok(td_case_run(&options, "p1xt1", 2, &b));
    cr_assert_str_neq(a.sha256, b.sha256);
}
