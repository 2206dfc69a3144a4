/* SPDX-License-Identifier: Apache-2.0
 * Training with rounded products beside f32: close in loss, never the same weights, and the same
 * bits whatever is recomputed or cut into micro-batches.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "train_case.h"

enum { STEPS = 10 };

typedef struct precision_case {
    char model[16];
    td_loss loss;
    td_precision precision;
} precision_case;

static precision_case cases[] = {{"mu", TD_LOSS_SOFTMAX, TD_PRECISION_BF16},
                                 {"mu-siglip", TD_LOSS_SIGMOID, TD_PRECISION_BF16},
                                 {"mu", TD_LOSS_SOFTMAX, TD_PRECISION_BF16_AMX},
                                 {"mu-siglip", TD_LOSS_SIGMOID, TD_PRECISION_BF16_AMX}};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static void run(const td_train_options *options, td_case_result *out) {
    td_isa isa;
    *out = (td_case_result){0};
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
    td_case_ok(td_case_run(options, "p1xt2", STEPS, out));
}

ParameterizedTestParameters(precision, near_f32) {
    return cr_make_param_array(precision_case, cases, N_CASES);
}

/* 2e-2 of the loss; arithmetic that stays in f32 would differ by 1e-6, wrong pairs by more than
 * one. */
ParameterizedTest(precision_case *c, precision, near_f32) {
    td_train_options options = td_case_options(c->model, c->loss);
    td_case_result exact, rounded;
    run(&options, &exact);
    options.precision = c->precision;
    run(&options, &rounded);
    double worst = 0;
    for (int step = 0; step < STEPS; step++) {
        double error = fabs(rounded.loss[step] / exact.loss[step] - 1);
        worst = error > worst ? error : worst;
        cr_assert(error <= 2e-2, "step %d: loss %.6f, in f32 %.6f", step, rounded.loss[step],
                  exact.loss[step]);
    }
    cr_assert(worst > 1e-6, "losses within %.1e of f32: nothing was rounded", worst);
    cr_assert_eq(rounded.allocations_in_steps, 0);
}

ParameterizedTestParameters(precision, savings_keep_the_answer) {
    return cr_make_param_array(precision_case, cases, N_CASES);
}

ParameterizedTest(precision_case *c, precision, savings_keep_the_answer) {
    td_train_options options = td_case_options(c->model, c->loss);
    td_case_result plain, saving;
    options.precision = c->precision;
    run(&options, &plain);
    options.recompute = true;
    run(&options, &saving);
    cr_assert_str_eq(saving.sha256, plain.sha256, "recomputed: other weights");
    options.accum = 4;
    run(&options, &saving);
    cr_assert_str_eq(saving.sha256, plain.sha256, "4 micro-batches: other weights");
}

Test(precision, names) {
    td_precision precision;
    for (td_precision p = TD_PRECISION_F32; p < TD_PRECISION_COUNT; p++) {
        td_case_ok(td_precision_find(td_precision_name(p), &precision));
        cr_assert_eq(precision, p);
    }
    cr_assert_eq(td_precision_find("f16", &precision), TD_EUSAGE);
    cr_assert(strstr(td_error(), TD_PRECISION_CHOICES) != NULL, "%s", td_error());
}
