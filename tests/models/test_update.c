/* SPDX-License-Identifier: Apache-2.0
 * Weights that are updated as soon as their gradients are there: the same bits as an update after
 * the whole backward pass, and no memory for all gradients.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "train_case.h"

enum { STEPS = 4, FLATS = 4 };

typedef struct update_case {
    const char *what, *model;
    td_loss loss;
    bool whole, recompute, freeze_image;
    double patch_mask, ema;
} update_case;

static const update_case cases[] = {
    {"packed and pruned", "mu", TD_LOSS_SOFTMAX, false, false, false, 0, 0},
    {"whole", "mu", TD_LOSS_SIGMOID, true, false, false, 0, 0},
    {"recomputed", "mu", TD_LOSS_SOFTMAX, false, true, false, 0, 0},
    {"frozen", "mu", TD_LOSS_SIGMOID, false, false, true, 0, 0.5},
    {"masked, then not", "mu", TD_LOSS_SOFTMAX, false, false, false, 0.5, 0},
    {"averaged", "mu", TD_LOSS_SOFTMAX, false, false, false, 0, 0.9},
    {"attention pooling", "mu-siglip", TD_LOSS_SIGMOID, false, false, false, 0, 0.9},
    {"attention pooling, recomputed", "mu-siglip", TD_LOSS_SOFTMAX, true, true, false, 0, 0},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static td_train_options options_of(const update_case *c, bool keep_gradients) {
    td_train_options options = td_case_options(c->model, c->loss);
    options.optimizer.grad_clip = 0;
    options.keep_padding = options.keep_last_block = c->whole;
    options.recompute = c->recompute;
    options.freeze_image = c->freeze_image;
    options.patch_mask = c->patch_mask;
    options.optimizer.steps = STEPS;
    options.unmask_steps = STEPS / 2;
    options.ema = c->ema;
    options.keep_gradients = keep_gradients;
    return options;
}

/* All that a run leaves: weights, both moments, and their average. */
typedef struct state {
    float *flats[FLATS];
    size_t bytes[FLATS];
    double loss[STEPS];
} state;

static td_status run_case(td_train *train, void *arg) {
    state *out = arg;
    for (int64_t step = 0; step < STEPS; step++) {
        td_case_batch batch = td_case_batch_make(td_train_get_options(train), (uint64_t)step);
        td_step_result result;
        TD_TRY(td_train_step(train, batch.images, batch.tokens, &result));
        out->loss[step] = result.loss;
        td_case_batch_free(&batch);
    }
    size_t all = (size_t)td_train_tensors(train)->flat * sizeof(float);
    size_t trained = all - (size_t)td_train_first(train) * sizeof(float);
    const float *flats[FLATS] = {td_train_params(train), td_train_moments(train, 1),
                                 td_train_moments(train, 2), td_train_ema(train)};
    const size_t bytes[FLATS] = {all, trained, trained, flats[3] == NULL ? 0 : all};
    for (int i = 0; i < FLATS; i++) {
        out->flats[i] = td_alloc(bytes[i] + 1);
        out->bytes[i] = bytes[i];
        if (bytes[i] > 0) {
            memcpy(out->flats[i], flats[i], bytes[i]);
        }
    }
    return TD_OK;
}

static void expect_same(const state *early, const state *late, const char *what) {
    static const char *const names[FLATS] = {"weights", "first moments", "second moments",
                                             "moving average"};
    for (int i = 0; i < FLATS; i++) {
        cr_assert_eq(early->bytes[i], late->bytes[i]);
        cr_expect_eq(memcmp(early->flats[i], late->flats[i], late->bytes[i]), 0, "%s: other %s",
                     what, names[i]);
    }
    cr_expect_arr_eq(early->loss, late->loss, sizeof late->loss, "%s: other losses", what);
    cr_expect_neq(late->loss[0], late->loss[STEPS - 1]);
}

static void drop(state *s) {
    for (int i = 0; i < FLATS; i++) {
        td_free(s->flats[i]);
    }
}

static void select_native(void) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
}

TestSuite(update, .init = select_native);

Test(update, early_and_late_give_the_same_bits) {
    for (int i = 0; i < N_CASES; i++) {
        td_train_options early = options_of(&cases[i], false), late = options_of(&cases[i], true);
        state a, b;
        td_case_ok(td_case_inside(&early, 2, run_case, &a));
        td_case_ok(td_case_inside(&late, 3, run_case, &b));
        expect_same(&a, &b, cases[i].what);
        drop(&a);
        drop(&b);
    }
}

static td_train_needs needs_of(const td_train_options *options) {
    td_train_needs needs;
    td_case_ok(td_train_measure(options, 1, &needs));
    return needs;
}

/* Of the first step, whose moments are zero: every weight moves by the rate, against the sign of
 * its gradient. */
static td_status check_signs(td_train *train, void *arg) {
    const td_tensors *tensors = td_train_tensors(train);
    const td_optimizer *o = &td_train_get_options(train)->optimizer;
    size_t bytes = (size_t)tensors->flat * sizeof(float);
    float *before = td_alloc(bytes);
    memcpy(before, td_train_params(train), bytes);
    td_case_batch batch = td_case_batch_make(td_train_get_options(train), 1);
    td_step_result result;
    TD_TRY(td_train_step(train, batch.images, batch.tokens, &result));
    double lr = td_optimizer_lr(o, 0);
    float decay = (float)(1 - lr * o->weight_decay), rate = (float)lr;
    int64_t moved[2] = {0};
    for (int t = 0; t < tensors->count; t++) {
        const td_tensor *tensor = &tensors->tensors[t];
        for (int64_t i = tensor->offset; i < tensor->offset + tensor->count; i++) {
            float g = td_train_grads(train)[i], sign = g > 0 ? 1.0f : g < 0 ? -1.0f : 0.0f;
            float want = fmaf(-rate, sign, before[i] * (tensor->decay ? decay : 1.0f));
            float got = td_train_params(train)[i], m = td_train_moments(train, 1)[i];
            cr_assert(!(got < want || got > want), "%s[%d]: %.9g, not %.9g", tensor->name,
                      (int)(i - tensor->offset), (double)got, (double)want);
            cr_assert_float_eq(m, (1 - o->beta2) * (double)g, 1e-6 * fabs((double)g) + 1e-30);
            moved[g > 0] += g > 0 || g < 0;
        }
    }
    cr_assert(moved[0] > tensors->n_elements / 4 && moved[1] > tensors->n_elements / 4);
    *(int *)arg = 1;
    td_case_batch_free(&batch);
    td_free(before);
    return TD_OK;
}

static td_train_options lion_options(td_loss loss) {
    td_train_options options = td_case_options("mu", loss);
    options.optimizer.kind = TD_OPTIMIZER_LION;
    options.optimizer.beta2 = 0.99;
    options.optimizer.lr = 1e-4;
    options.optimizer.grad_clip = 0;
    return options;
}

Test(update, lion_steps_by_signs) {
    td_train_options options = lion_options(TD_LOSS_SIGMOID);
    int checked = 0;
    options.keep_gradients = true;
    td_case_ok(td_case_inside(&options, 2, check_signs, &checked));
    cr_assert_eq(checked, 1);
}

/* One answer, early on one rank and late on several, and half the moments. */
Test(update, lion_gives_one_answer) {
    td_train_options options = lion_options(TD_LOSS_SOFTMAX);
    static const char *const layouts[] = {"p1xt1", "p1xt3", "p2xt1:process", "p4xt1:thread"};
    td_case_result first = {0}, other = {0};
    td_case_ok(td_case_run(&options, layouts[0], STEPS, &first));
    for (int i = 1; i < 4; i++) {
        td_case_ok(td_case_run(&options, layouts[i], STEPS, &other));
        cr_expect_str_eq(other.sha256, first.sha256, "%s", layouts[i]);
    }
    options.zero = true;
    td_case_ok(td_case_run(&options, "p2xt1:thread", STEPS, &other));
    cr_expect_str_eq(other.sha256, first.sha256, "zero");
    options.zero = false;
    int64_t signs = needs_of(&options).image.moments;
    options.optimizer.kind = TD_OPTIMIZER_ADAMW;
    cr_expect_eq(needs_of(&options).image.moments, 2 * signs);
    td_case_ok(td_case_run(&options, "p1xt1", STEPS, &other));
    cr_expect_str_neq(other.sha256, first.sha256);
}

/* Several ranks add up their gradients first. */
Test(update, ranks_give_the_same_weights) {
    td_train_options options = options_of(&cases[0], false);
    td_case_result one = {0}, two = {0};
    td_case_ok(td_case_run(&options, "p1xt2", STEPS, &one));
    td_case_ok(td_case_run(&options, "p2xt1:process", STEPS, &two));
    cr_assert_str_eq(two.sha256, one.sha256);
    cr_expect_eq(one.allocations_in_steps, 0);
}

/* A block more has weights and moments, and no gradients of its own. */
Test(update, blocks_share_gradients) {
    td_train_options options = options_of(&cases[0], false);
    td_case_ok(td_model_config_find("ti-32", &options.config));
    td_train_needs early = needs_of(&options);
    options.config.vision.layers++;
    options.config.text.layers++;
    td_train_needs more = needs_of(&options);
    cr_expect_gt(more.image.params, early.image.params);
    cr_expect_gt(more.text.moments, early.text.moments);
    cr_expect_eq(more.image.grads, early.image.grads);
    cr_expect_eq(more.text.grads, early.text.grads);
    options.keep_gradients = true;
    td_train_needs late = needs_of(&options);
    cr_expect_eq(late.image.grads, late.image.params);
    cr_expect_eq(late.text.grads, late.text.params);
    int64_t table = options.config.vocab * options.config.text.width * (int64_t)sizeof(float);
    cr_expect_lt(early.text.grads, late.text.grads - table);
}

/* Whoever needs all gradients has them all. */
Test(update, gradients_that_are_needed_are_kept) {
    td_train_options options = options_of(&cases[0], false);
    int64_t all = needs_of(&options).image.params;
    cr_assert_lt(needs_of(&options).image.grads, all);
    options.optimizer.grad_clip = 1;
    cr_expect_eq(needs_of(&options).image.grads, all);
    options.optimizer.grad_clip = 0;
    options.accum = 2;
    cr_expect_eq(needs_of(&options).image.grads, 2 * all);
    options.accum = 1;
    td_train_needs needs;
    td_case_ok(td_train_measure(&options, 2, &needs));
    cr_expect_eq(needs.image.grads, all);
}
