/* SPDX-License-Identifier: Apache-2.0
 * Recipes that are compositions of the same step: a frozen image tower, features given instead of
 * images, dropped patches, a moving average of the weights.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "train_case.h"

enum { STEPS = 5 };

static void select_native(void) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
}

/* What a run leaves behind, copied out. */
typedef struct kept {
    const float *features; /* given instead of images */
    int64_t steps, first, flat;
    float *params, *grads;
    double loss[STEPS];
} kept;

static td_status keep_run(td_train *train, void *arg) {
    kept *k = arg;
    const td_train_options *options = td_train_get_options(train);
    k->flat = td_train_tensors(train)->flat;
    k->first = td_train_first(train);
    k->params = td_alloc((size_t)k->flat * sizeof(float));
    k->grads = td_alloc((size_t)k->flat * sizeof(float));
    for (int64_t step = 0; step < k->steps; step++) {
        td_case_batch batch = td_case_batch_make(options, 3);
        td_step_result result;
        const float *images = k->features != NULL ? k->features : batch.images;
        td_status status = td_train_step(train, images, batch.tokens, &result);
        td_case_batch_free(&batch);
        TD_TRY(status);
        k->loss[step] = result.loss;
        if (step == 0) {
            memcpy(k->grads, td_train_grads(train), (size_t)(k->flat - k->first) * sizeof(float));
        }
    }
    memcpy(k->params, td_train_params(train), (size_t)k->flat * sizeof(float));
    return TD_OK;
}

static kept run(const td_train_options *options, int64_t steps, const float *features) {
    kept k = {.steps = steps, .features = features};
    td_case_ok(td_case_inside(options, 2, keep_run, &k));
    return k;
}

static void drop(kept *k) {
    td_free(k->params);
    td_free(k->grads);
}

/* A frozen tower has a forward pass and its weights, and not one byte more; the other tower has
 * what it had. */
static void expect_frozen_plan(const td_train_needs *whole, const td_train_needs *frozen) {
    const td_tower_needs *a = &whole->image, *b = &frozen->image;
    cr_expect(a->grads >= a->params && a->moments == 2 * a->params && a->backward > 0);
    cr_expect(b->grads == 0 && b->moments == 0 && b->backward == 0);
    cr_expect(b->params == a->params && b->forward == a->forward && b->forward > 0);
    cr_expect_arr_eq(&whole->text, &frozen->text, sizeof whole->text);
    const td_train_needs *both[] = {whole, frozen};
    for (int i = 0; i < 2; i++) {
        const td_tower_needs *v = &both[i]->image, *t = &both[i]->text;
        int64_t sum = v->params + v->average + v->grads + v->moments + t->params + t->average +
                      t->grads + t->moments + both[i]->activation_bytes + both[i]->other_bytes;
        cr_expect_eq(sum, both[i]->segment_bytes + both[i]->arena_bytes);
        cr_expect_geq(both[i]->other_bytes, 0);
    }
}

/* The frozen tower's weights stay; the text tower's first gradient is that of the full step. */
static void expect_frozen(const char *model, int64_t accum) {
    td_train_options options = td_case_options(model, TD_LOSS_SIGMOID);
    options.optimizer.grad_clip = 0;
    options.keep_gradients = true;
    options.accum = accum;
    kept start = run(&options, 0, NULL), whole = run(&options, STEPS, NULL);
    td_train_needs needs, frozen_needs;
    td_case_ok(td_train_measure(&options, 1, &needs));
    options.freeze_image = true;
    td_case_ok(td_train_measure(&options, 1, &frozen_needs));
    kept frozen = run(&options, STEPS, NULL);
    cr_assert_gt(frozen.first, 0);
    cr_expect_arr_eq(frozen.params, start.params, (size_t)frozen.first * sizeof(float));
    cr_expect(memcmp(whole.params, start.params, (size_t)frozen.first * sizeof(float)) != 0);
    cr_expect(memcmp(frozen.params + frozen.first, start.params + frozen.first,
                     (size_t)(frozen.flat - frozen.first) * sizeof(float)) != 0);
    cr_expect_arr_eq(frozen.grads, whole.grads + frozen.first,
                     (size_t)(frozen.flat - frozen.first) * sizeof(float));
    /* No gradients and no moments of the tower, and no activations of its blocks. */
    cr_expect_eq(frozen_needs.n_params - frozen_needs.n_trained > 0, true);
    int64_t saved = needs.segment_bytes + needs.arena_bytes - frozen_needs.segment_bytes -
                    frozen_needs.arena_bytes;
    cr_expect_geq(saved, 3 * frozen.first * (int64_t)sizeof(float));
    cr_expect_lt(frozen_needs.activation_bytes, needs.activation_bytes);
    expect_frozen_plan(&needs, &frozen_needs);
    drop(&start);
    drop(&whole);
    drop(&frozen);
}

Test(recipes, frozen_image_tower) {
    select_native();
    expect_frozen("mu", 1);
    expect_frozen("mu", 4);
    expect_frozen("mu-siglip", 1);
}

/* With features of length 1 in place of images, the image tower's weights do not matter. */
Test(recipes, features_instead_of_images) {
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    select_native();
    options.image_features = true;
    int64_t embed = options.config.embed;
    float *features = td_alloc_zero((size_t)(options.batch * embed) * sizeof(float));
    for (int64_t i = 0; i < options.batch; i++) {
        features[i * embed + i % embed] = 1;
    }
    kept k = run(&options, STEPS, features);
    cr_assert_lt(k.loss[STEPS - 1], k.loss[0]);
    td_train_needs given, frozen;
    td_case_ok(td_train_measure(&options, 1, &given));
    options.image_features = false;
    options.freeze_image = true;
    td_case_ok(td_train_measure(&options, 1, &frozen));
    cr_assert_eq(given.activation_bytes, frozen.activation_bytes - frozen.image.forward);
    cr_assert(given.image.forward == 0 && given.image.backward == 0 && given.image.grads == 0);
    drop(&k);
    td_free(features);
}

/* The same patches on every layout and in every micro-batch; other answers than without. */
Test(recipes, dropped_patches_give_one_answer) {
    td_train_options options = td_case_options("mu", TD_LOSS_SIGMOID);
    td_case_result whole = {0}, one = {0}, other = {0};
    select_native();
    options.optimizer.steps = STEPS;
    td_case_ok(td_case_run(&options, "p1xt1", STEPS, &whole));
    options.patch_mask = 0.5;
    options.unmask_steps = 2;
    td_case_ok(td_case_run(&options, "p1xt1", STEPS, &one));
    cr_assert_str_neq(one.sha256, whole.sha256);
    cr_assert(isfinite(one.loss[STEPS - 1]));
    static const char *const layouts[] = {"p1xt3", "p2xt1:process", "p8xt1:thread"};
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        other = (td_case_result){0};
        td_case_ok(td_case_run(&options, layouts[i], STEPS, &other));
        cr_expect_str_eq(other.sha256, one.sha256, "%s: another answer", layouts[i]);
    }
    options.accum = 4;
    options.recompute = true;
    td_case_ok(td_case_run(&options, "p1xt2", STEPS, &other));
    cr_expect_str_eq(other.sha256, one.sha256, "micro-batches: another answer");
    options.unmask_steps = 0;
    td_case_ok(td_case_run(&options, "p1xt2", STEPS, &other));
    cr_expect_str_neq(other.sha256, one.sha256, "the last steps saw all patches");
    options.patch_mask = 1;
    cr_expect_eq(td_case_run(&options, "p1xt2", STEPS, &other), TD_EUSAGE);
    options.patch_mask = 0.5;
    options.freeze_image = true;
    cr_expect_eq(td_case_run(&options, "p1xt2", STEPS, &other), TD_EUSAGE);
}

/* Every choice of patches ascends, holds no patch twice, and over many samples each patch is kept
 * as often as any other. */
Test(recipes, patches_are_chosen_fairly) {
    enum { PATCHES = 49, KEPT = 12, SAMPLES = 4096 };
    td_tower *tower = td_alloc_zero(sizeof *tower);
    int32_t *keep = td_alloc(SAMPLES * KEPT * sizeof *keep);
    int32_t *position = td_alloc_zero(SAMPLES * (KEPT + 1) * sizeof *position);
    *tower = (td_tower){.samples = SAMPLES,
                        .tokens = KEPT + 1,
                        .kept = KEPT,
                        .n_patches = PATCHES,
                        .keep = keep,
                        .position = position};
    td_vision_set_patches(tower, 5, 3, 0);
    int count[PATCHES] = {0};
    for (int64_t i = 0; i < SAMPLES * KEPT; i++) {
        cr_assert(keep[i] >= 0 && keep[i] < PATCHES);
        cr_assert(i % KEPT == 0 || keep[i] > keep[i - 1]);
        cr_assert_eq(position[i / KEPT * (KEPT + 1) + 1 + i % KEPT], keep[i] + 1);
        count[keep[i]]++;
    }
    /* Mean 1003, deviation 27.5: five deviations, 49 times. */
    for (int p = 0; p < PATCHES; p++) {
        cr_assert(count[p] > 865 && count[p] < 1141, "patch %d was kept %d times", p, count[p]);
    }
    td_free(keep);
    td_free(position);
    td_free(tower);
}

/* Against f64: each step adds at most half an ulp for the difference, one for the sum, and the
 * weight's own rounding, all of a number no larger than the largest so far. */
static td_status check_ema(td_train *train, void *arg) {
    double decay = *(const double *)arg;
    const td_train_options *options = td_train_get_options(train);
    int64_t n = td_train_tensors(train)->flat;
    double *expected = td_alloc((size_t)n * sizeof(double));
    double *largest = td_alloc((size_t)n * sizeof(double));
    for (int64_t i = 0; i < n; i++) {
        expected[i] = (double)td_train_params(train)[i];
        largest[i] = fabs(expected[i]);
    }
    for (int64_t step = 0; step < STEPS; step++) {
        td_case_batch batch = td_case_batch_make(options, 3);
        td_step_result result;
        td_status status = td_train_step(train, batch.images, batch.tokens, &result);
        td_case_batch_free(&batch);
        TD_TRY(status);
        for (int64_t i = 0; i < n; i++) {
            double p = (double)td_train_params(train)[i];
            expected[i] = decay * expected[i] + (1 - decay) * p;
            largest[i] = fmax(largest[i], fmax(fabs(p), fabs(expected[i])));
        }
    }
    const float *ema = td_train_ema(train);
    for (int64_t i = 0; i < n; i++) {
        double bound = STEPS * 2 * 0x1p-23 * largest[i];
        cr_assert(fabs((double)ema[i] - expected[i]) <= bound, "element %lld: %.9g, f64 has %.9g",
                  (long long)i, (double)ema[i], expected[i]);
    }
    cr_expect(memcmp(ema, td_train_params(train), (size_t)n * sizeof(float)) != 0);
    td_free(expected);
    td_free(largest);
    return TD_OK;
}

Test(recipes, moving_average) {
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    options.ema = 0.9;
    select_native();
    td_case_ok(td_case_inside(&options, 2, check_ema, &options.ema));
}

/* The speed-ups that counting predicts, against values worked out from the towers' shapes by hand:
 * a ViT-B/16 with a mask of a half and of three quarters (dropped before they are embedded;
 * embedding all first would give 1.758 and 2.780), frozen, and with features given. */
Test(recipes, predicted_speedups) {
    td_train_options whole = td_case_options("vit-b-16", TD_LOSS_SOFTMAX), part = whole;
    double base = td_train_nominal_flops(&whole);
    cr_assert_float_eq(base, td_model_nominal_flops(&whole.config), 1);
    part.patch_mask = 0.5;
    cr_expect_float_eq(base / td_train_nominal_flops(&part), 1.7668, 0.0001);
    part.patch_mask = 0.75;
    cr_expect_float_eq(base / td_train_nominal_flops(&part), 2.8134, 0.0001);
    part = whole;
    part.freeze_image = true;
    cr_expect_float_eq(base / td_train_nominal_flops(&part), 2.33, 0.005);
    part.image_features = true;
    cr_expect_float_eq(base / td_train_nominal_flops(&part), 6.9, 0.05);
}
