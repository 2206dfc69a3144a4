/* SPDX-License-Identifier: Apache-2.0
 * Losses as some trainers compute them, which are wrong: each is built on purpose, and the check
 * that guards against it must tell it from the right one. Towers are one matrix: features are
 * inputs times weights, so d weights is inputs^T times d features.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "models/verify.h"
#include "objective_case.h"
#include "train_case.h"

enum { BATCH = 72, EMBED = 24, INPUTS = 12, RANKS = 3, MICRO = 4, WEIGHTS = INPUTS * EMBED };

/* Cosines of right gradients are 1 to some 1e-7. */
static const double TELLING_COSINE = 0.999;
static const float LN_100 = 4.605170185988092F;

static void select_native(void) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
}

static td_loss_case make_case(td_loss kind) {
    return td_loss_case_make(kind, BATCH, 8, EMBED, kind == TD_LOSS_SOFTMAX ? 14.2857F : 10, 0.5);
}

/* Input k of sample i, and whether draw `draw` of the dropout keeps it. */
static double input(int64_t i, int64_t k) {
    td_rng rng = td_rng_make(5, TD_PURPOSE_TEST, (uint64_t)(i * INPUTS + k));
    return td_rng_normal(&rng);
}

static bool keeps(int64_t draw, int64_t i, int64_t k) {
    td_rng rng = td_rng_make(6, TD_PURPOSE_TEST, (uint64_t)((draw * BATCH + i) * INPUTS + k));
    return draw < 0 || td_rng_below(&rng, 4) != 0;
}

/* Adds what samples [first, last) give. draw -1: all inputs are kept. */
static void add_weights_gradient(double *dw, const double *d_features, int64_t first, int64_t last,
                                 int64_t draw) {
    for (int64_t i = first; i < last; i++) {
        for (int64_t k = 0; k < INPUTS; k++) {
            double x = keeps(draw, i, k) ? input(i, k) : 0;
            for (int64_t e = 0; e < EMBED; e++) {
                dw[k * EMBED + e] += x * d_features[i * EMBED + e];
            }
        }
    }
}

/* The image features of samples [first, last) under a draw of the dropout. */
static void compute_features(td_loss_case *c, int64_t first, int64_t last, int64_t draw) {
    for (int64_t i = first; i < last; i++) {
        for (int64_t e = 0; e < EMBED; e++) {
            double sum = 0;
            for (int64_t k = 0; k < INPUTS; k++) {
                td_rng weight = td_rng_make(8, TD_PURPOSE_TEST, (uint64_t)(k * EMBED + e));
                sum += (keeps(draw, i, k) ? input(i, k) : 0) * td_rng_normal(&weight);
            }
            c->images[i * EMBED + e] = (float)(sum / sqrt(INPUTS * EMBED));
        }
    }
}

/* open_clip's --local-loss without --gather-with-grad: a rank's rows are differentiated, the same
 * features as columns of other ranks' rows are not. */
Test(wrong_loss, local_without_gradient_through_the_gather) {
    select_native();
    td_loss_case c = make_case(TD_LOSS_SOFTMAX);
    c.way = TD_WAY_LOCAL;
    td_loss_answer want = td_loss_twin(&c, 1, 1), right = td_loss_case_run(&c, "p3xt1:thread");
    td_loss_answer images = td_loss_twin(&c, 1, 0), texts = td_loss_twin(&c, 0, 1);
    int64_t n = BATCH * EMBED;
    cr_expect_gt(td_loss_cosine(right.d_images, want.d_images, n), 1 - 1e-9);
    cr_expect_gt(td_loss_cosine(right.d_texts, want.d_texts, n), 1 - 1e-9);
    cr_expect_lt(td_loss_cosine(images.d_images, want.d_images, n), TELLING_COSINE);
    cr_expect_lt(td_loss_cosine(texts.d_texts, want.d_texts, n), TELLING_COSINE);
    /* The scalar is right, so that it cannot be what guards. */
    cr_expect_float_eq(images.dscale + texts.dscale, want.dscale, 1e-12);
    td_loss_answer_free(&want);
    td_loss_answer_free(&right);
    td_loss_answer_free(&images);
    td_loss_answer_free(&texts);
    td_loss_case_free(&c);
}

/* open_clip's default, neither flag: every rank has the whole loss and the gradient of its own rows
 * of it, and the mean over ranks divides what should be a sum. */
Test(wrong_loss, mean_over_ranks_of_own_rows) {
    select_native();
    td_loss_case c = make_case(TD_LOSS_SOFTMAX);
    c.way = TD_WAY_FULL;
    td_loss_answer full = td_loss_case_run(&c, "p3xt1:thread");
    double right[WEIGHTS] = {0}, wrong[WEIGHTS] = {0}, wrong_scale = 0;
    add_weights_gradient(right, full.d_images, 0, BATCH, -1);
    for (int r = 0; r < RANKS; r++) {
        add_weights_gradient(wrong, full.d_images, BATCH * r / RANKS, BATCH * (r + 1) / RANKS, -1);
        wrong_scale += full.dscale / RANKS;
    }
    for (int i = 0; i < WEIGHTS; i++) {
        wrong[i] /= RANKS;
    }
    /* A cosine does not see a factor; the relative error does. */
    cr_expect_gt(td_loss_cosine(wrong, right, WEIGHTS), 1 - 1e-12);
    cr_expect_float_eq(td_loss_distance(wrong, right, WEIGHTS), 1 - 1.0 / RANKS, 1e-9);
    cr_expect_gt(td_loss_distance(wrong, right, WEIGHTS), TD_VERIFY_GRAD);
    cr_expect_float_eq(wrong_scale, full.dscale, 1e-12);
    td_loss_answer_free(&full);
    td_loss_case_free(&c);
}

static td_status first_scale_gradient(td_train *train, void *arg) {
    td_case_batch batch = td_case_batch_make(td_train_get_options(train), 1);
    td_step_result result;
    td_status status = td_train_step(train, batch.images, batch.tokens, &result);
    td_case_batch_free(&batch);
    int64_t scalars = td_train_tensors(train)->scalars - td_train_first(train);
    *(double *)arg = (double)td_train_grads(train)[scalars];
    return status;
}

/* open_clip's --accum-freq A: each micro-batch's backward pass runs the whole loss, and adds the
 * whole gradient of the scalars. */
Test(wrong_loss, accumulation_multiplies_the_scalars) {
    select_native();
    td_loss_case c = make_case(TD_LOSS_SOFTMAX);
    td_loss_answer one = td_loss_case_run(&c, "p1xt1");
    double right[WEIGHTS] = {0}, wrong[WEIGHTS] = {0}, wrong_scale = 0;
    add_weights_gradient(right, one.d_images, 0, BATCH, -1);
    for (int m = 0; m < MICRO; m++) {
        td_loss_answer again = td_loss_case_run(&c, "p1xt1");
        add_weights_gradient(wrong, again.d_images, BATCH * m / MICRO, BATCH * (m + 1) / MICRO, -1);
        wrong_scale += again.dscale;
        td_loss_answer_free(&again);
    }
    cr_expect_leq(td_loss_distance(wrong, right, WEIGHTS), 1e-12);
    cr_expect_float_eq(wrong_scale / one.dscale, MICRO, 1e-12);
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    double whole = 0, micro = 0;
    td_case_ok(td_case_inside(&options, 1, first_scale_gradient, &whole));
    options.accum = MICRO;
    td_case_ok(td_case_inside(&options, 1, first_scale_gradient, &micro));
    cr_expect(whole != 0 && micro == whole, "%.9g, of micro-batches %.9g", whole, micro);
    cr_expect_gt(fabs(MICRO * micro - whole), TD_VERIFY_GRAD * fabs(whole));
    td_loss_answer_free(&one);
    td_loss_case_free(&c);
}

/* FLIP, Inf-CL's ring: exp of a score as it is. 100 is the largest scale, equal features the
 * largest cosine. */
Test(wrong_loss, exp_without_its_shift) {
    const td_way right[] = {TD_WAY_TILED, TD_WAY_STORED, TD_WAY_LOCAL, TD_WAY_TWO_WAY};
    select_native();
    td_loss_case c = make_case(TD_LOSS_SOFTMAX);
    c.scale = 100;
    memcpy(c.texts, c.images, (size_t)(BATCH * EMBED) * sizeof(float));
    td_loss_answer want = td_loss_twin(&c, 1, 1);
    float sum = 0;
    for (int64_t j = 0; j < BATCH; j++) {
        float score = 0;
        for (int64_t e = 0; e < EMBED; e++) {
            score += c.images[e] * c.texts[j * EMBED + e];
        }
        sum += expf(c.scale * score);
    }
    cr_expect(!isfinite(logf(sum)), "a plain sum is %g", (double)sum);
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        c.way = right[i];
        td_loss_answer got = td_loss_case_run(&c, "p1xt1");
        cr_expect(fabs(got.loss - want.loss) <= 1e-5, "way %d: %g, not %g", c.way, got.loss,
                  want.loss);
        td_loss_answer_free(&got);
    }
    td_loss_answer_free(&want);
    td_loss_case_free(&c);
}

enum { CLAMP_STEPS = 4 };

static td_status follow_scale(td_train *train, void *arg) {
    float *scale = td_train_params(train) + td_train_tensors(train)->scalars, *path = arg;
    *scale = LN_100 + 0.05F;
    for (int i = 0; i < CLAMP_STEPS; i++) {
        td_case_batch batch = td_case_batch_make(td_train_get_options(train), 1);
        td_step_result result;
        td_status status = td_train_step(train, batch.images, batch.tokens, &result);
        td_case_batch_free(&batch);
        TD_TRY(status);
        path[i] = *scale;
    }
    return TD_OK;
}

/* FLIP, corenet: the loss reads min(logit_scale, ln 100), whose derivative beyond is zero. Once
 * there, the parameter stays, however much the loss would fall. Clamped after the step instead, it
 * comes back. */
Test(wrong_loss, clamp_inside_the_graph_freezes_the_scale) {
    select_native();
    td_loss_case c = td_loss_case_make(TD_LOSS_SOFTMAX, BATCH, 8, EMBED, 100, 0);
    float frozen = LN_100 + 0.05F, start = frozen, path[CLAMP_STEPS] = {0};
    for (int i = 0; i < CLAMP_STEPS; i++) {
        td_loss_answer at = td_loss_case_run(&c, "p1xt1");
        cr_expect_gt(at.dscale, 0.1, "a lower scale would be better");
        frozen -= 0.1F * (float)(frozen > LN_100 ? 0 : at.dscale);
        td_loss_answer_free(&at);
    }
    cr_expect_eq(frozen, start);
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    td_case_ok(td_case_inside(&options, 1, follow_scale, path));
    cr_expect_leq(path[0], LN_100);
    cr_expect_lt(path[CLAMP_STEPS - 1], path[0]);
    td_loss_case_free(&c);
}

static void weights_gradient_at(td_loss_case *c, int64_t features_draw, int64_t again_draw,
                                double *dw) {
    memset(dw, 0, WEIGHTS * sizeof(double));
    compute_features(c, 0, BATCH, features_draw);
    td_loss_answer at = td_loss_case_run(c, "p1xt1");
    add_weights_gradient(dw, at.d_images, 0, BATCH, again_draw);
    td_loss_answer_free(&at);
}

/* Gradient caching computes features, then the loss, then features again to go back through them.
 * With dropout that has to drop the same inputs; draws keyed by sample do. */
Test(wrong_loss, gradient_caching_with_another_dropout) {
    select_native();
    td_loss_case c = make_case(TD_LOSS_SIGMOID);
    double right[WEIGHTS], again[WEIGHTS], wrong[WEIGHTS];
    weights_gradient_at(&c, 0, 0, right);
    weights_gradient_at(&c, 0, 0, again);
    weights_gradient_at(&c, 0, 1, wrong);
    cr_expect_eq(memcmp(again, right, sizeof right), 0);
    cr_expect_lt(td_loss_cosine(wrong, right, WEIGHTS), TELLING_COSINE);
    td_loss_case_free(&c);
}

/* Micro-batch m's features are computed again and put among the others' cached ones. With the draws
 * of the first pass that changes nothing; with others, loss and gradients are those of a batch that
 * never was. */
static void accumulate(td_loss_case *c, bool same_draws, double *dw) {
    memset(dw, 0, WEIGHTS * sizeof(double));
    for (int64_t m = 0; m < MICRO; m++) {
        int64_t first = BATCH * m / MICRO, last = BATCH * (m + 1) / MICRO;
        int64_t draw = same_draws ? 0 : m + 1;
        compute_features(c, 0, BATCH, 0);
        compute_features(c, first, last, draw);
        td_loss_answer at = td_loss_case_run(c, "p1xt1");
        add_weights_gradient(dw, at.d_images, first, last, draw);
        td_loss_answer_free(&at);
    }
}

Test(wrong_loss, accumulation_with_another_dropout) {
    select_native();
    td_loss_case c = make_case(TD_LOSS_SOFTMAX);
    double whole[WEIGHTS], right[WEIGHTS], wrong[WEIGHTS];
    weights_gradient_at(&c, 0, 0, whole);
    accumulate(&c, true, right);
    accumulate(&c, false, wrong);
    cr_expect_eq(memcmp(right, whole, sizeof right), 0);
    cr_expect_lt(td_loss_cosine(wrong, whole, WEIGHTS), TELLING_COSINE);
    td_loss_case_free(&c);
}

/* SigLIP's labels are +1 for the pair and -1 for all others, and the bias starts at -10: then one
 * positive costs 10 and the rest nothing. With the sign turned, of label or bias, it is the others
 * that cost 10 each. Turned labels are the loss at scores and bias turned. */
Test(wrong_loss, siglip_with_the_sign_turned) {
    select_native();
    for (int way = 0; way < 3; way++) {
        td_loss_case c = td_loss_case_make(TD_LOSS_SIGMOID, 64, 8, EMBED, 1e-3F, 0);
        double expected = log1p(exp(10)) + 63 * log1p(exp(-10));
        c.scale = way == 1 ? -c.scale : c.scale;
        c.bias = way > 0 ? 10 : -10;
        td_loss_answer got = td_loss_case_run(&c, "p1xt1");
        if (way == 0) {
            cr_expect_float_eq(got.loss, expected, 1e-3, "starts at %g, not %g", got.loss,
                               expected);
        } else {
            cr_expect_gt(got.loss, 60 * expected, "turned, it starts at %g", got.loss);
        }
        td_loss_answer_free(&got);
        td_loss_case_free(&c);
    }
}

/* open_clip's softmax loss over several ranks adds the bias to one matrix through two names. There
 * a constant changes nothing; in the sigmoid loss, counted twice, it is another loss. */
Test(wrong_loss, bias_counted_twice) {
    select_native();
    td_loss_case c = make_case(TD_LOSS_SIGMOID);
    int64_t n = BATCH * EMBED;
    c.bias = -10;
    td_loss_answer want = td_loss_twin(&c, 1, 1), right = td_loss_case_run(&c, "p1xt1");
    c.bias *= 2;
    td_loss_answer wrong = td_loss_case_run(&c, "p1xt1");
    cr_expect_leq(fabs(right.loss - want.loss), TD_VERIFY_LOSS * want.loss);
    cr_expect_gt(fabs(wrong.loss - want.loss), TD_VERIFY_LOSS * want.loss);
    cr_expect_leq(td_loss_distance(right.d_images, want.d_images, n), TD_VERIFY_GRAD);
    cr_expect_gt(td_loss_distance(wrong.d_images, want.d_images, n), TD_VERIFY_GRAD);
    td_loss_answer_free(&want);
    td_loss_answer_free(&right);
    td_loss_answer_free(&wrong);
    td_loss_case_free(&c);
}
