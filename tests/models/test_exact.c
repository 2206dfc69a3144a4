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

/* What one step executes, by family of operations, and the captions it was given. */
typedef struct work {
    double all, gemm, attention;
} work;

static td_status work_of_step(td_train *train, void *arg) {
    const td_train_options *options = td_train_get_options(train);
    td_case_batch batch = td_case_batch_make(options, 1);
    td_step_result result;
    td_status status = td_train_step(train, batch.images, batch.tokens, &result);
    work *out = arg;
    *out = (work){0};
    for (int i = 0; i < td_program_ops(td_train_program(train)); i++) {
        td_op_cost op;
        td_program_op_cost(td_train_program(train), i, &op);
        out->all += op.flops;
        out->gemm += strcmp(op.family, "gemm") == 0 ? op.flops : 0;
        out->attention += strcmp(op.family, "attention") == 0 ? op.flops : 0;
    }
    td_case_batch_free(&batch);
    return status;
}

static work executed(const td_train_options *options) {
    work done;
    td_case_ok(td_case_inside(options, 1, work_of_step, &done));
    return done;
}

/* Rows of each caption up to its end token, in that batch. */
static void caption_rows(const td_train_options *options, double *rows) {
    td_case_batch batch = td_case_batch_make(options, 1);
    for (int64_t s = 0; s < options->batch; s++) {
        const int32_t *ids = batch.tokens + s * options->config.context;
        rows[s] = 1;
        while (ids[(int64_t)rows[s] - 1] != options->config.vocab - 1) {
            rows[s]++;
        }
    }
    td_case_batch_free(&batch);
}

/* Of one pair of query and key, over all heads: two products forward and five backward, and what
 * softmax counts. */
static double score_flops(const td_tower_config *t) {
    return 14 * (double)t->width + 11 * (double)t->heads;
}

static void expect_saved(const char *what, double saved, double formula) {
    cr_expect(fabs(saved - formula) <= 1e-3 * formula && formula > 0,
              "%s: saved %.10g FLOP, by formula %.10g", what, saved, formula);
}

/* Of the last block, queries, projection and perceptron are computed of one row instead of n: three
 * products (forward, and the gradients of weights and inputs) of width^2 twice and of width x mlp
 * twice, but the queries' part of the gradient of inputs is one product with that of keys and
 * values, of all rows. The pooled row of a caption sees the rows up to it. */
Test(exact, pruning_saves_what_the_formula_says) {
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    const td_model_config *c = &options.config;
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    options.keep_padding = options.keep_last_block = true;
    work whole = executed(&options);
    options.keep_last_block = false;
    work pruned = executed(&options);
    double rows[64], gemm = 0, attention = 0;
    double n = (double)td_model_vision_tokens(c), m = (double)c->context;
    caption_rows(&options, rows);
    for (int64_t s = 0; s < options.batch; s++) {
        const td_tower_config *v = &c->vision, *t = &c->text;
        gemm += (n - 1) * (double)(10 * v->width * v->width + 12 * v->width * v->mlp);
        gemm += (m - 1) * (double)(10 * t->width * t->width + 12 * t->width * t->mlp);
        attention += (n * n - n) * score_flops(v) + (m * (m + 1) / 2 - rows[s]) * score_flops(t);
    }
    expect_saved("products", whole.gemm - pruned.gemm, gemm);
    expect_saved("attention", whole.attention - pruned.attention, attention);
    cr_expect_gt(whole.all - pruned.all, (gemm + attention) * (1 - 1e-3));
}

/* Every row behind an end token saves three times the four products of each block. */
Test(exact, packing_saves_what_the_formula_says) {
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    const td_tower_config *t = &options.config.text;
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    options.keep_padding = options.keep_last_block = true;
    work padded = executed(&options);
    options.keep_padding = false;
    work packed = executed(&options);
    double rows[64], gemm = 0, attention = 0, m = (double)options.config.context;
    caption_rows(&options, rows);
    for (int64_t s = 0; s < options.batch; s++) {
        double block = (double)(4 * t->width * t->width + 2 * t->width * t->mlp);
        gemm += (m - rows[s]) * 6 * block * (double)t->layers;
        attention +=
            (m * (m + 1) - rows[s] * (rows[s] + 1)) / 2 * score_flops(t) * (double)t->layers;
    }
    expect_saved("products", padded.gemm - packed.gemm, gemm);
    expect_saved("attention", padded.attention - packed.attention, attention);
    cr_expect_gt(padded.all - packed.all, (gemm + attention) * (1 - 1e-3));
}

typedef struct gradients {
    int64_t n;
    float *values;
    double loss;
} gradients;

static td_status copy_gradients(td_train *train, void *arg) {
    const td_train_options *options = td_train_get_options(train);
    gradients *out = arg;
    td_case_batch batch = td_case_batch_make(options, 1);
    td_step_result result;
    td_status status = td_train_step(train, batch.images, batch.tokens, &result);
    td_case_batch_free(&batch);
    out->n = td_train_tensors(train)->flat - td_train_first(train);
    out->values = td_alloc((size_t)out->n * sizeof(float));
    memcpy(out->values, td_train_grads(train), (size_t)out->n * sizeof(float));
    out->loss = result.loss;
    return status;
}

/* The gradients themselves: equal weights alone could hide a difference behind AdamW's division. */
static void expect_gradients(const char *model, td_loss loss) {
    td_train_options plain = td_case_options(model, loss);
    gradients whole, other;
    plain.optimizer.grad_clip = 0;
    plain.keep_gradients = true;
    plain.keep_padding = plain.keep_last_block = true;
    td_case_ok(td_case_inside(&plain, 2, copy_gradients, &whole));
    for (int i = 0; i < N_CASES; i++) {
        td_train_options options = exact_options(&plain, &cases[i]);
        td_case_ok(td_case_inside(&options, 2, copy_gradients, &other));
        cr_expect_eq(other.n, whole.n);
        cr_expect_arr_eq(other.values, whole.values, (size_t)whole.n * sizeof(float),
                         "%s %s: other gradients", model, cases[i].what);
        cr_expect_arr_eq(&other.loss, &whole.loss, sizeof whole.loss, "%s %s: another loss", model,
                         cases[i].what);
        td_free(other.values);
    }
    td_free(whole.values);
}

Test(exact, gradients) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
    expect_gradients("mu", TD_LOSS_SOFTMAX);
    expect_gradients("mu-siglip", TD_LOSS_SIGMOID);
}

/* SigLIP's text attends to padding: leaving it out would be another function, so it is never
 * packed, whatever the options say. */
Test(exact, siglip_text_is_not_packed) {
    td_train_options options = td_case_options("mu-siglip", TD_LOSS_SIGMOID);
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    double packed = executed(&options).all;
    options.keep_padding = true;
    double padded = executed(&options).all;
    cr_assert(packed >= padded && packed <= padded);
    options = td_case_options("mu", TD_LOSS_SIGMOID);
    double clip_packed = executed(&options).all;
    options.keep_padding = true;
    double clip_padded = executed(&options).all;
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
}

static double bytes_of_a_block(td_train_options options) {
    td_train_needs needs[2];
    for (int i = 0; i < 2; i++, options.config.vision.layers++) {
        td_case_ok(td_train_measure(&options, 1, &needs[i]));
    }
    return (double)(needs[1].activation_bytes - needs[0].activation_bytes);
}

/* What a block more keeps of a token: its input, queries, keys, values, attention's result, the
 * sum behind it, and the hidden layer before its activation, which are ten widths, and a few
 * scalars; or its input alone, when blocks are run again. Outputs of norms and activations lie in
 * buffers that all blocks share. */
Test(exact, blocks_keep_ten_widths) {
    td_train_options options = td_case_options("ti-32", TD_LOSS_SOFTMAX);
    const td_tower_config *shape = &options.config.vision;
    td_case_ok(td_kernels_select(TD_ISA_PORTABLE));
    double tokens = (double)(options.batch * td_model_vision_tokens(&options.config));
    double word = sizeof(float), width = (double)shape->width, align = 11 * 64;
    double scalars = 4 + (double)shape->heads;
    cr_assert_eq(shape->mlp, 4 * shape->width);
    cr_expect_float_eq(bytes_of_a_block(options), tokens * (10 * width + scalars) * word, align);
    options.recompute = true;
    cr_expect_float_eq(bytes_of_a_block(options), tokens * width * word, align);
}
