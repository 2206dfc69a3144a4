/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel_oracles.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "bench/vmath_oracle.h"

static twin_check_fn *const oracles[TD_OP_COUNT] = {
    [TD_OP_gemm_f32] = oracle_gemm_f32,
    [TD_OP_gemm_pack_f32] = oracle_gemm_pack,
    [TD_OP_gemm_bf16] = oracle_gemm_bf16,
    [TD_OP_gemm_amx] = oracle_gemm_amx,
    [TD_OP_im2col_f32] = oracle_im2col,
    [TD_OP_tokens_assemble_f32] = oracle_tokens,
    [TD_OP_rows_copy_f32] = oracle_rows_copy,
    [TD_OP_embedding_f32] = oracle_embedding,
    [TD_OP_embedding_sort_i32] = oracle_embedding_sort,
    [TD_OP_embedding_grad_f32] = oracle_embedding_grad,
    [TD_OP_embedding_bag_f32] = oracle_bag,
    [TD_OP_embedding_bag_grad_f32] = oracle_bag_grad,
    [TD_OP_layernorm_f32] = oracle_layernorm,
    [TD_OP_layernorm_grad_x_f32] = oracle_layernorm_grad_x,
    [TD_OP_layernorm_grad_w_f32] = oracle_layernorm_grad_w,
    [TD_OP_colsum_f32] = oracle_colsum,
    [TD_OP_softmax_f32] = oracle_softmax,
    [TD_OP_gelu_f32] = oracle_gelu,
    [TD_OP_attention_f32] = oracle_attention,
    [TD_OP_attention_grad_f32] = oracle_attention_grad,
    [TD_OP_attention_bf16] = oracle_attention_bf16,
    [TD_OP_attention_grad_bf16] = oracle_attention_grad_bf16,
    [TD_OP_pool_f32] = oracle_pool,
    [TD_OP_pool_grad_f32] = oracle_pool_grad,
    [TD_OP_l2norm_f32] = oracle_l2norm,
    [TD_OP_l2norm_grad_f32] = oracle_l2norm_grad,
    [TD_OP_contrastive_lse_f32] = oracle_contrastive_lse,
    [TD_OP_contrastive_grad_f32] = oracle_contrastive_grad,
    [TD_OP_contrastive_pairs_lse_f32] = oracle_pairs_lse,
    [TD_OP_contrastive_pairs_grad_f32] = oracle_pairs_grad,
    [TD_OP_scores_softmax_f32] = oracle_scores_softmax,
    [TD_OP_scores_sigmoid_f32] = oracle_scores_sigmoid,
    [TD_OP_sigmoid_loss_f32] = oracle_sigmoid_loss,
    [TD_OP_cross_entropy_f32] = oracle_cross_entropy,
    [TD_OP_vmath_f32] = oracle_vmath,
    [TD_OP_sumsq_f32] = oracle_sumsq,
    [TD_OP_adamw_f32] = oracle_adamw,
    [TD_OP_lion_f32] = oracle_lion,
    [TD_OP_ema_f32] = oracle_ema,
    [TD_OP_f32_to_bf16] = oracle_to_bf16,
    [TD_OP_bf16_to_f32] = oracle_widened,
};

twin_check_fn *kernel_oracle(td_op_id op) {
    return oracles[op];
}

/* The activations and their slopes, closed forms in f64. */
static double activation(td_act act, double x) {
    switch (act) {
    case TD_ACT_GELU_ERF:
        return x * 0.5 * erfc(-x * M_SQRT1_2);
    case TD_ACT_GELU_TANH:
        return x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case TD_ACT_GELU_QUICK:
        return x / (1 + exp(-1.702 * x));
    case TD_ACT_NONE:
        break;
    }
    return x;
}

static double sigmoid_slope(double x, double u, double du) {
    double s = 1 / (1 + exp(-u));
    return s + x * s * (1 - s) * du;
}

static double slope(td_act act, double x) {
    const double c = 2 * sqrt(2 / M_PI);
    switch (act) {
    case TD_ACT_GELU_ERF:
        return 0.5 * erfc(-x * M_SQRT1_2) + x * exp(-x * x / 2) / sqrt(2 * M_PI);
    case TD_ACT_GELU_TANH:
        return sigmoid_slope(x, c * (x + 0.044715 * x * x * x), c * (1 + 3 * 0.044715 * x * x));
    case TD_ACT_GELU_QUICK:
        return sigmoid_slope(x, 1.702 * x, 1.702);
    case TD_ACT_NONE:
        break;
    }
    return 1;
}

/* A value is within 8 ULP, a slope, which is at most 1.13, within 1e-6 of the float's own. */
void oracle_gelu(const void *before, const void *after) {
    const td_gelu_f32_args *args = before;
    const float *y = ((const td_gelu_f32_args *)after)->y;
    for (int64_t i = 0; i < args->n; i++) {
        double x = (double)args->x[i];
        if (args->dy == NULL) {
            double want = activation(args->act, x);
            twin_near("y", i, (double)y[i], want, 16 * TWIN_U * fabs(want) + 1e-42);
        } else {
            double dy = (double)args->dy[i];
            twin_near("y", i, (double)y[i], dy * slope(args->act, x), 1e-6 * fabs(dy));
        }
    }
}

/* vmath.h's bounds, which bench/vmath_oracle.h has as data. */
void oracle_vmath(const void *before, const void *after) {
    const td_vmath_f32_args *args = before;
    const td_vmath_f32_args *done = after;
    int64_t even = (args->n + 1) / 2 * 2;
    float *x = td_alloc_zero((size_t)even * sizeof *x);
    double *want = td_alloc((size_t)even * sizeof *want);
    memcpy(x, args->x, (size_t)args->n * sizeof *x);
    td_vmath_exact(args->function, even, x, want);
    td_vmath_finding found = {0};
    td_vmath_compare(td_vmath_bound_of(args->function), args->n, x, want, done->y, false, &found);
    twin_near("y, share of its bound", args->n, found.worst, 0, 1);
    td_free(x);
    td_free(want);
}

/* ---- products ---- */

typedef struct product {
    double value, magnitude;
} product;

/* Rounded to nearest even where the product is one of bf16; inputs are finite and normal. */
static double operand(float x, bool bf16) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = bf16 ? (bits + 0x7FFFu + (bits >> 16 & 1u)) & 0xFFFF0000u : bits;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

static product dot(const td_gemm_f32_args *g, int64_t i, int64_t j, bool bf16) {
    double start = g->accumulate ? (double)g->c[i * g->ldc + j] : 0;
    product sum = {start, fabs(start)};
    for (int64_t k = 0; k < g->k; k++) {
        double a = operand(g->a_trans ? g->a[k * g->lda + i] : g->a[i * g->lda + k], bf16);
        double b = operand(g->b_trans ? g->b[j * g->ldb + k] : g->b[k * g->ldb + j], bf16);
        sum.value += a * b;
        sum.magnitude += fabs(a * b);
    }
    return sum;
}

/* One element, epilogue and all. `error` is what f32 may have lost so far. The chain rounds once a
 * product and the tree once a block; of gemm_amx two chains meet every 32 products. */
static void check_element(const td_gemm_f32_args *g, const td_gemm_f32_args *done, int64_t i,
                          int64_t j, bool bf16) {
    product sum = dot(g, i, j, bf16);
    double v = sum.value;
    double roundings = (double)(g->k + g->k / 16 + 2 * g->k_blocks) + 2;
    double error = oracle_gamma(roundings) * sum.magnitude + (bf16 ? roundings * 0x1p-126 : 0);
    if (g->bias != NULL) {
        v += (double)g->bias[j];
        error += TWIN_U * (fabs(v) + error);
    }
    if (g->preact != NULL) {
        twin_near("preact", i * g->n + j, (double)done->preact[i * g->ldpreact + j], v, error);
    }
    if (g->act_grad_of != NULL) {
        double by = slope(g->act, (double)g->act_grad_of[i * g->ldact_grad_of + j]);
        error = 1.2 * error + 1.1e-6 * fabs(v);
        v *= by;
    } else if (g->act != TD_ACT_NONE) {
        v = activation(g->act, v);
        error = 1.2 * error + 16 * TWIN_U * fabs(v) + 1e-42;
    }
    if (g->residual != NULL) {
        v += (double)g->residual[i * g->ldresidual + j];
        error += TWIN_U * (fabs(v) + error);
    }
    twin_near("c", i * g->n + j, (double)done->c[i * g->ldc + j], v, error);
}

static void check_gemm(const td_gemm_f32_args *before, const td_gemm_f32_args *after, bool bf16) {
    for (int64_t i = 0; i < before->m * before->n; i++) {
        check_element(before, after, i / before->n, i % before->n, bf16);
    }
}

void oracle_gemm_f32(const void *before, const void *after) {
    check_gemm(before, after, false);
}

/* Panels of 16 columns, zero beyond the last column. */
void oracle_gemm_pack(const void *before, const void *after) {
    const td_gemm_pack_f32_args *g = before, *done = after;
    for (int64_t i = 0; i < (g->n + 15) / 16 * 16 * g->k; i++) {
        int64_t k = i / 16 % g->k, j = i / 16 / g->k * 16 + i % 16;
        double want = j >= g->n ? 0 : (double)g->b[g->b_trans ? j * g->ldb + k : k * g->ldb + j];
        twin_near("packed", i, (double)done->packed[i], want, 0);
    }
}

void oracle_gemm_bf16(const void *before, const void *after) {
    check_gemm(before, after, true);
}

void oracle_gemm_amx(const void *before, const void *after) {
    check_gemm(before, after, true);
}

Test(kernel_oracles, slopes_agree_with_central_differences) {
    const double h = 1e-5;
    twin_named("oracle");
    for (int act = TD_ACT_NONE; act <= TD_ACT_GELU_QUICK; act++) {
        for (int i = -120; i <= 120; i++) {
            double x = 0.1 * i;
            double rise = activation((td_act)act, x + h) - activation((td_act)act, x - h);
            twin_near("slope", i, slope((td_act)act, x), rise / (2 * h), 1e-7);
        }
    }
}

Test(kernel_oracles, every_operation_has_one) {
    for (int op = 0; op < TD_OP_COUNT; op++) {
        cr_expect(kernel_oracle((td_op_id)op) != NULL, "%s", td_ops[op].name);
    }
}
