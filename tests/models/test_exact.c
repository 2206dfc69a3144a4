/* SPDX-License-Identifier: Apache-2.0
 * Savings that must not change a bit: packing of captions, pruning of the last block, recomputation
 * of activations, micro-batches. Each is held to the step that computes everything.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "models/program.h"
#include "train_case.h"

enum { STEPS = 4 };

typedef struct exact_case {
    const char *what;
    bool keep_padding, keep_last_block, recompute;
    int64_t accum;
} exact_case;

static const exact_case cases[] = {
    {"packed and pruned", false, false, false, 1},
    {"packed", false, true, false, 1},
    {"pruned", true, false, false, 1},
    {"recomputed", false, false, true, 1},
    {"recomputed whole", true, true, true, 1},
    {"2 micro-batches", false, false, false, 2},
    {"4 micro-batches", false, false, false, 4},
    {"8 micro-batches", true, true, false, 8},
    {"all at once", false, false, true, 4},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static td_train_options exact_options(const td_train_options *plain, const exact_case *c) {
    td_train_options options = *plain;
    options.keep_padding = c->keep_padding;
    options.keep_last_block = c->keep_last_block;
    options.recompute = c->recompute;
    options.accum = c->accum;
    return options;
}

static void expect_exact(const char *model, td_loss loss, const char *layout) {
    td_train_options plain = td_case_options(model, loss);
    td_case_result whole = {0}, result;
    plain.keep_padding = plain.keep_last_block = true;
    td_case_ok(td_case_run(&plain, layout, STEPS, &whole));
    cr_assert(whole.loss[0] > 0 && isfinite(whole.loss[STEPS - 1]));
    for (int i = 0; i < N_CASES; i++) {
        td_train_options options = exact_options(&plain, &cases[i]);
        result = (td_case_result){0};
        td_case_ok(td_case_run(&options, layout, STEPS, &result));
        cr_expect_str_eq(result.sha256, whole.sha256, "%s %s: other weights", model, cases[i].what);
        cr_expect_arr_eq(result.loss, whole.loss, STEPS * sizeof(double), "%s %s: other losses",
                         model, cases[i].what);
    }
}

Test(exact, clip) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
    expect_exact("mu", TD_LOSS_SOFTMAX, "p1xt2");
}

Test(exact, clip_portable) {
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    expect_exact("mu", TD_LOSS_SIGMOID, "p1xt1");
}

Test(exact, siglip) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
    expect_exact("mu-siglip", TD_LOSS_SIGMOID, "p1xt3");
}

/* Two ranks have four logical blocks each: up to four micro-batches. */
Test(exact, micro_batches_of_two_ranks) {
    td_train_options plain = td_case_options("mu", TD_LOSS_SIGMOID);
    td_case_result one = {0}, two = {0};
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    td_case_ok(td_case_run(&plain, "p1xt1", STEPS, &one));
    plain.accum = 4;
    td_case_ok(td_case_run(&plain, "p2xt2:process", STEPS, &two));
    cr_assert_str_eq(two.sha256, one.sha256);
    plain.accum = 8;
    cr_assert_eq(td_case_run(&plain, "p2xt1:thread", STEPS, &two), TD_EUSAGE);
    plain.accum = 3;
    cr_assert_eq(td_case_run(&plain, "p1xt1", STEPS, &two), TD_EUSAGE);
}

static td_status flops_of_step(td_train *train, void *arg) {
    const td_train_options *options = td_train_get_options(train);
    td_case_batch batch = td_case_batch_make(options, 1);
    td_step_result result;
    td_status status = td_train_step(train, batch.images, batch.tokens, &result);
    td_program_cost cost;
    td_program_total_cost(td_train_program(train), &cost);
    *(double *)arg = cost.flops;
    td_case_batch_free(&batch);
    return status;
}

static double executed(const td_train_options *options) {
    double flops = 0;
    td_case_ok(td_case_inside(options, 1, flops_of_step, &flops));
    return flops;
}

/* What pruning saves, by formula: per sample and tower with n rows of width W and mlp M, of the
 * last block's forward and backward passes. */
static double pruned_gemm_flops(const td_tower_config *t, double n) {
    double w = (double)t->width, m = (double)t->mlp;
    /* q forward and its weight gradient, out and the perceptron with both gradients */
    return (n - 1) * 2 * (2 * w * w + 3 * w * w + 3 * 2 * w * m);
}

Test(exact, pruning_saves_what_the_formula_says) {
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    options.keep_padding = options.keep_last_block = true;
    double whole = executed(&options);
    options.keep_last_block = false;
    double pruned = executed(&options);
    const td_model_config *c = &options.config;
    double saved =
        (double)options.batch * (pruned_gemm_flops(&c->vision, (double)td_model_vision_tokens(c)) +
                                 pruned_gemm_flops(&c->text, (double)c->context));
    /* The rest, attention and norms, is small: between 0 and 25 % more than the products. */
    cr_assert(whole - pruned > saved && whole - pruned < 1.25 * saved,
              "saved %g FLOP, products alone %g", whole - pruned, saved);
}

/* SigLIP's text attends to padding: leaving it out would be another function, so it is never
 * packed, whatever the options say. */
Test(exact, siglip_text_is_not_packed) {
    td_train_options options = td_case_options("mu-siglip", TD_LOSS_SIGMOID);
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    double packed = executed(&options);
    options.keep_padding = true;
    double padded = executed(&options);
    cr_assert(packed >= padded && packed <= padded);
    options = td_case_options("mu", TD_LOSS_SIGMOID);
    double clip_packed = executed(&options);
    options.keep_padding = true;
    double clip_padded = executed(&options);
    cr_assert_lt(clip_packed, 0.97 * clip_padded);
}

/* Micro-batches and recomputation are there to save memory. */
Test(exact, activations_shrink) {
    td_train_options options = td_case_options("ti-32", TD_LOSS_SOFTMAX);
    td_train_needs whole, less;
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    td_case_ok(td_train_measure(&options, 1, &whole));
    options.accum = 4;
    td_case_ok(td_train_measure(&options, 1, &less));
    cr_assert_lt((double)less.activation_bytes, 0.27 * (double)whole.activation_bytes);
    options.accum = 1;
    options.recompute = true;
    td_case_ok(td_train_measure(&options, 1, &less));
    cr_assert_lt((double)less.activation_bytes, 0.5 * (double)whole.activation_bytes);
}
