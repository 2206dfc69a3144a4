/* SPDX-License-Identifier: Apache-2.0
 * One training step looked at closely: initial losses, gradients against central differences,
 * allocations, refusals, resuming.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/math.h"
#include "base/memory.h"
#include "base/rng.h"
#include "models/checkpoint.h"
#include "train_case.h"

typedef struct step_case {
    char model[16];
    td_loss loss;
} step_case;

static step_case every_case[] = {{"mu", TD_LOSS_SOFTMAX},
                                 {"mu", TD_LOSS_SIGMOID},
                                 {"mu-siglip", TD_LOSS_SOFTMAX},
                                 {"mu-siglip", TD_LOSS_SIGMOID}};
enum { N_CASES = sizeof(every_case) / sizeof(every_case[0]) };

static void select_kernels(void) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
}

TestSuite(train, .init = select_kernels);

/* A step that computes loss and gradients and leaves the weights alone. */
static td_train_options frozen(const step_case *c) {
    td_train_options options = td_case_options(c->model, c->loss);
    options.optimizer.lr = 0;
    options.optimizer.weight_decay = 0;
    options.optimizer.grad_clip = 0;
    options.keep_gradients = true;
    return options;
}

static td_status first_loss(td_train *train, void *arg) {
    td_case_batch batch = td_case_batch_make(td_train_get_options(train), 1);
    td_step_result result;
    td_status status = td_train_step(train, batch.images, batch.tokens, &result);
    *(double *)arg = result.loss;
    td_case_batch_free(&batch);
    return status;
}

ParameterizedTestParameters(train, initial_loss) {
    return cr_make_param_array(step_case, every_case, N_CASES);
}

/* Untrained features carry no information about pairs. Softmax: ln(batch), and a little more the
 * more the logits spread: cosines in 32 dimensions have a deviation of up to 0.18, logits of 2.5.
 * Sigmoid, with all cosines near c: softplus(10 - 10 c) + (batch - 1) softplus(10 c - 10). */
ParameterizedTest(step_case *c, train, initial_loss) {
    td_train_options options = frozen(c);
    double loss = 0;
    td_case_ok(td_case_inside(&options, 1, first_loss, &loss));
    if (c->loss == TD_LOSS_SOFTMAX) {
        cr_assert(loss > log(16) - 0.6 && loss < log(16) + 2, "%s: %f", c->model, loss);
    } else {
        cr_assert(loss > 6 && loss < 14, "%s: %f, expected about 10", c->model, loss);
    }
}

/* The loss along a direction in one tensor: its slope must be <gradient, direction>. */
typedef struct slope {
    int64_t offset, count;
    double norm; /* of the gradient */
    double computed, measured;
} slope;

static double loss_at(td_train *train, const td_case_batch *batch, const slope *s,
                      const float *direction, const float *start, double step) {
    float *params = td_train_params(train) + s->offset;
    for (int64_t i = 0; i < s->count; i++) {
        params[i] = (float)((double)start[i] + step * (double)direction[i]);
    }
    td_step_result result;
    td_case_ok(td_train_step(train, batch->images, batch->tokens, &result));
    memcpy(params, start, (size_t)s->count * sizeof(float));
    return result.loss;
}

/* A direction of length 1: the gradient's own, which shows an error of size, or a random one, which
 * shows a missing part. */
static void choose_direction(slope *s, bool random, const float *gradient, float *direction) {
    td_rng rng = td_rng_make(11, TD_PURPOSE_TEST, (uint64_t)s->offset);
    double norm = 0, length = 0, dot = 0;
    for (int64_t i = 0; i < s->count; i++) {
        direction[i] = random ? (float)td_rng_normal(&rng) : gradient[i];
        norm += (double)gradient[i] * (double)gradient[i];
        length += (double)direction[i] * (double)direction[i];
    }
    for (int64_t i = 0; i < s->count; i++) {
        direction[i] = (float)((double)direction[i] / sqrt(length > 0 ? length : 1));
        dot += (double)direction[i] * (double)gradient[i];
    }
    s->norm = sqrt(norm);
    s->computed = dot;
}

/* Central differences at two steps, extrapolated, so that the error left is of fourth order; the
 * step moves the loss by about a hundredth, far above the rounding of an f32 forward pass. */
static void measure_slope(td_train *train, const td_case_batch *batch, bool random, slope *s) {
    float *direction = td_alloc((size_t)s->count * sizeof(float));
    float *start = td_alloc((size_t)s->count * sizeof(float));
    td_step_result result;
    td_case_ok(td_train_step(train, batch->images, batch->tokens, &result));
    memcpy(start, td_train_params(train) + s->offset, (size_t)s->count * sizeof(float));
    choose_direction(s, random, td_train_grads(train) + s->offset, direction);
    double size = 0;
    for (int64_t i = 0; i < s->count; i++) {
        size += (double)start[i] * (double)start[i];
    }
    double h = 0.02 / (fabs(s->computed) + 1e-3), most = 0.05 * (sqrt(size) + 0.1);
    h = h < most ? h : most;
    double wide = (loss_at(train, batch, s, direction, start, h) -
                   loss_at(train, batch, s, direction, start, -h)) /
                  (2 * h);
    double narrow = (loss_at(train, batch, s, direction, start, h / 2) -
                     loss_at(train, batch, s, direction, start, -h / 2)) /
                    h;
    s->measured = (4 * narrow - wide) / 3;
    td_free(direction);
    td_free(start);
}

static td_status check_slopes(td_train *train, void *arg) {
    (void)arg;
    td_case_batch batch = td_case_batch_make(td_train_get_options(train), 1);
    const td_tensors *tensors = td_train_tensors(train);
    for (int i = 0; i < 2 * tensors->count; i++) {
        const td_tensor *tensor = &tensors->tensors[i / 2];
        slope s = {.offset = tensor->offset, .count = tensor->count};
        bool random = i % 2 == 1;
        measure_slope(train, &batch, random, &s);
        /* Relative to the gradient: a random direction sees little of a long one, and must be
         * closer. A gradient below 1e-3 would be lost in the rounding of the loss; none is. */
        double error = fabs(s.measured - s.computed) / (s.norm + 1e-3);
        cr_expect(error < (random ? 0.004 : 0.02), "%s, %s direction: slope %.6g, computed %.6g",
                  tensor->name, random ? "random" : "own", s.measured, s.computed);
    }
    td_case_batch_free(&batch);
    return TD_OK;
}

ParameterizedTestParameters(train, gradients) {
    return cr_make_param_array(step_case, every_case, N_CASES);
}

ParameterizedTest(step_case *c, train, gradients) {
    td_train_options options = frozen(c);
    td_case_ok(td_case_inside(&options, 2, check_slopes, NULL));
}

static td_status count_allocations(td_train *train, void *arg) {
    (void)arg;
    td_case_batch batch = td_case_batch_make(td_train_get_options(train), 1);
    td_step_result result;
    td_case_ok(
        td_train_step(train, batch.images, batch.tokens, &result)); /* first: stacks, locks */
    uint64_t ours = td_alloc_count();
    struct mallinfo2 before = mallinfo2();
    for (int step = 0; step < 3; step++) {
        td_case_ok(td_train_step(train, batch.images, batch.tokens, &result));
    }
    struct mallinfo2 after = mallinfo2();
    cr_assert_eq(td_alloc_count(), ours);
    cr_assert_eq(after.uordblks, before.uordblks, "%zu bytes more are in use",
                 after.uordblks - before.uordblks);
    cr_assert_eq(after.arena, before.arena);
    td_case_batch_free(&batch);
    return TD_OK;
}

Test(train, a_step_allocates_nothing) {
    for (int c = 0; c < N_CASES; c++) {
        td_train_options options = td_case_options(every_case[c].model, every_case[c].loss);
        td_case_ok(td_case_inside(&options, 2, count_allocations, NULL));
        td_case_result result = {0};
        td_case_ok(td_case_run(&options, "p2xt2:process", 3, &result));
        cr_assert_eq(result.allocations_in_steps, 0);
    }
}

static td_status wrong_token(td_train *train, void *arg) {
    const td_train_options *options = td_train_get_options(train);
    td_case_batch batch = td_case_batch_make(options, 1);
    batch.tokens[3 * options->config.context + 5] = *(int32_t *)arg;
    td_step_result result;
    td_status status = td_train_step(train, batch.images, batch.tokens, &result);
    cr_assert_eq(status, TD_EINPUT);
    cr_assert_not_null(strstr(td_error(), "sample 3, position 5"), "%s", td_error());
    td_case_batch_free(&batch);
    return TD_OK;
}

Test(train, a_token_outside_the_vocabulary_is_refused) {
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    int32_t wrong[] = {-1, 1024, INT32_MAX};
    for (int i = 0; i < 3; i++) {
        td_case_ok(td_case_inside(&options, 1, wrong_token, &wrong[i]));
    }
}

Test(train, splits_that_do_not_fit_are_refused) {
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    td_train_needs needs;
    td_case_ok(td_train_measure(&options, 8, &needs));
    cr_assert_eq(td_train_measure(&options, 9, &needs), TD_EUSAGE);
    options.batch = 20;
    cr_assert_eq(td_train_measure(&options, 1, &needs), TD_EUSAGE);
    cr_assert_not_null(strstr(td_error(), "--batch 24 or --blocks 4"), "%s", td_error());
    options.blocks = 6;
    cr_assert_eq(td_train_measure(&options, 1, &needs), TD_EUSAGE);
}

/* Six steps at once, or three, saved, and three more by another object. */
typedef struct resume_job {
    const char *path;
    int64_t first, last;
    bool load, store;
    char sha256[TD_SHA256_HEX];
} resume_job;

static td_status run_part(td_train *train, void *arg) {
    resume_job *job = arg;
    if (job->load) {
        TD_TRY(td_checkpoint_resume(job->path, train));
        cr_assert_eq(td_train_steps_done(train), job->first);
    }
    for (int64_t step = job->first; step < job->last; step++) {
        td_case_batch batch = td_case_batch_make(td_train_get_options(train), (uint64_t)step);
        td_step_result result;
        td_status status = td_train_step(train, batch.images, batch.tokens, &result);
        td_case_batch_free(&batch);
        TD_TRY(status);
    }
    if (job->store) {
        TD_TRY(td_checkpoint_save(job->path, train, NULL));
    }
    return td_train_sha256(train, job->sha256);
}

Test(train, resuming_continues_to_the_same_weights) {
    char path[64];
    snprintf(path, sizeof(path), "/tmp/tandem_resume_%d.safetensors", (int)getpid());
    for (int c = 0; c < N_CASES; c++) {
        td_train_options options = td_case_options(every_case[c].model, every_case[c].loss);
        resume_job whole = {.path = path, .last = 6};
        resume_job half = {.path = path, .last = 3, .store = true};
        resume_job rest = {.path = path, .first = 3, .last = 6, .load = true};
        td_case_ok(td_case_inside(&options, 1, run_part, &whole));
        td_case_ok(td_case_inside(&options, 2, run_part, &half));
        td_case_ok(td_case_inside(&options, 1, run_part, &rest));
        cr_assert_str_eq(rest.sha256, whole.sha256);
        cr_assert_str_neq(half.sha256, whole.sha256);
        options.seed++;
        cr_assert_eq(td_case_inside(&options, 1, run_part, &rest), TD_EUSAGE);
        cr_assert_not_null(strstr(td_error(), "seed"), "%s", td_error());
        options.seed--;
        options.batch = 32;
        cr_assert_eq(td_case_inside(&options, 1, run_part, &rest), TD_EUSAGE);
    }
    unlink(path);
}

Test(train, learning_rates) {
    td_optimizer o = {.lr = 2, .schedule = TD_SCHEDULE_COSINE, .warmup = 4, .steps = 12};
    cr_assert_float_eq(td_optimizer_lr(&o, 0), 0.5, 1e-15);
    cr_assert_float_eq(td_optimizer_lr(&o, 3), 2, 1e-15);
    cr_assert_float_eq(td_optimizer_lr(&o, 4), 2, 1e-15);
    cr_assert_float_eq(td_optimizer_lr(&o, 8), 1, 1e-15);
    cr_assert_float_eq(td_optimizer_lr(&o, 12), 0, 1e-15);
    o.schedule = TD_SCHEDULE_CONST;
    cr_assert_float_eq(td_optimizer_lr(&o, 100), 2, 1e-15);
}

/* What the kernel computes with these factors, in f64: after any number of steps with equal
 * gradients the moments, corrected, are that gradient again, and the update is lr. */
Test(train, factors_of_adamw_make_up_for_their_rounding) {
    td_optimizer o = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.98, .eps = 1e-6, .weight_decay = 0.2};
    double m = 0, v = 0, g = 0.37;
    for (int64_t step = 0; step < 50; step++) {
        td_adamw_step s = td_optimizer_adamw(&o, step, 1);
        m = (double)s.beta1 * m + (double)s.one_minus_beta1 * g;
        v = (double)s.beta2 * v + (double)s.one_minus_beta2 * g * g;
        double update = (double)s.lr_bc1 * m / (sqrt(v) * (double)s.rsqrt_bc2 + (double)s.eps);
        double exact = o.lr * g / (g + o.eps);
        /* What is left: the rounding of lr_bc1 itself, and of eps. */
        cr_assert(fabs(update - exact) <= 6.1e-8 * exact, "step %d: off by %.3g", (int)step,
                  update / exact - 1);
    }
}
