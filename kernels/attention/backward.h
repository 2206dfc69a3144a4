/* SPDX-License-Identifier: Apache-2.0
 * Backward attention of one head, in strips of query rows in ascending order: P again from the
 * saved log-sum-exp, dP = dO V^T, dS = P (dP - D) scale with D = rowsum(dO O); dQ = dS K, and
 * dV += P^T dO, dK += dS^T Q continue their chains from strip to strip. The file that includes this
 * one says how the operands of these products are laid out.
 */
#ifndef TD_KERNELS_BACKWARD_H
#define TD_KERNELS_BACKWARD_H

#include "kernels/attention/softmax_rows.h"
#include "kernels/row.h"

/* The operands of a strip's products: rows of Q and dO, as the left side of products over the head,
 * and as the right side of products over queries. */
typedef struct strip_operands {
    const float *q, *d_o;
    int64_t q_row, do_row;
    const float *q_over, *do_over;
    int64_t q_over_row, do_over_row;
} strip_operands;

typedef struct backward {
    td_attention_f32_args args; /* of this head alone */
    const float *d_o;
    float *dq, *dk, *dv;
    int64_t dq_row, dkv_row;
    int64_t rows_of_dkv; /* to be written: those of unseen keys as well */
    td_ahead *ahead;
    float *kt, *vt, *p, *ds; /* scratch */
    float *ds_over;          /* dS as dK's product reads it */
    const float *k_over;     /* K as dQ's product reads it */
    int64_t k_over_row;
    float *q_strip, *do_strip, *q_pairs, *do_pairs; /* scratch of strip_begin, where it needs any */
    bool packs;
    float *sum_dk, *sum_dv; /* grow here, or, when nothing is packed, where they belong */
    int64_t sum_ld;
} backward;

/* Lays out scratch, and what of K and V all strips read. */
static void head_begin(backward *at, float *scratch);

/* Rows [i, i + rows) of Q and dO. */
static strip_operands strip_begin(const backward *at, int64_t i, int64_t rows);

/* P and dS, which are complete, to what the products read. */
static void strip_weights(const backward *at, int64_t i, int64_t rows);

/* rowsum(dO O) of up to 16 rows. */
TD_SIMD void group_means(const backward *at, int64_t i, int64_t rows, float *d) {
    const td_attention_f32_args *args = &at->args;
    td_v16 lanes[TD_LANES];
    for (int64_t r = 0; r < TD_LANES; r++) {
        int64_t row = (i + r) * args->o_row;
        lanes[r] =
            r < rows ? td_row_dot_lanes(at->d_o + row, args->o + row, args->head) : td_v16_zero();
    }
    td_v16_store(d, td_v16_sum_rows(lanes));
}

static void strip_gradient(const backward *at, int64_t i, int64_t rows) {
    const td_attention_f32_args *args = &at->args;
    int64_t ld = td_attention_pad(args->n_k);
    float scale = td_attention_scale(args), d[TD_LANES];
    for (int64_t r = 0; r < rows; r++) {
        if (r % TD_LANES == 0) {
            group_means(at, i + r, rows - r < TD_LANES ? rows - r : TD_LANES, d);
        }
        row_gradient(at->p + r * ld, at->ds + r * ld, td_row_keys(args, i + r), scale,
                     args->lse[i + r], d[r % TD_LANES]);
    }
}

/* to (keys, head) += weights^T x for the strip of rows [i, i + rows): keys before the strip's own
 * have been added to, the others begin; without a mask all have, but for the first strip. */
static void strip_columns(const backward *at, const float *weights, const float *x, int64_t x_row,
                          float *to, int64_t i, int64_t rows) {
    const td_attention_f32_args *args = &at->args;
    int64_t before = args->causal ? i : i > 0 ? args->n_k : 0;
    td_product product = {.m = before,
                          .n = args->head,
                          .k = td_strip_steps(rows),
                          .a = weights,
                          .a_row = 1,
                          .a_col = td_attention_pad(args->n_k),
                          .b = x,
                          .ldb = x_row,
                          .c = to,
                          .ldc = at->sum_ld,
                          .accumulate = true,
                          .ahead = at->ahead};
    td_strip_whole(&product);
    product.m = td_strip_keys(args, i, rows) - before;
    product.a += before;
    product.c += before * at->sum_ld;
    product.accumulate = false;
    if (args->causal) {
        td_strip_upper(&product);
    } else {
        td_strip_whole(&product);
    }
}

static void backward_strip(const backward *at, int64_t i, int64_t rows) {
    const td_attention_f32_args *args = &at->args;
    const strip_operands x = strip_begin(at, i, rows);
    td_strip_scores(args, x.q, x.q_row, i, rows, at->kt, at->p, at->ahead);
    td_strip_scores(args, x.d_o, x.do_row, i, rows, at->vt, at->ds, at->ahead);
    strip_gradient(at, i, rows);
    strip_weights(at, i, rows);
    td_product product = {.m = rows,
                          .n = args->head,
                          .k = td_strip_steps(td_strip_keys(args, i, rows)),
                          .a = at->ds,
                          .a_row = td_attention_pad(args->n_k),
                          .a_col = 1,
                          .b = at->k_over,
                          .ldb = at->k_over_row,
                          .c = at->dq + i * at->dq_row,
                          .ldc = at->dq_row,
                          .diagonal = i,
                          .ahead = at->ahead};
    if (args->causal) {
        td_strip_lower(&product);
    } else {
        td_strip_whole(&product);
    }
    strip_columns(at, at->p, x.do_over, x.do_over_row, at->sum_dv, i, rows);
    strip_columns(at, at->ds_over, x.q_over, x.q_over_row, at->sum_dk, i, rows);
}

static backward head_of(const td_attention_grad_f32_args *grad, int64_t s, int64_t h) {
    const td_attention_f32_args *all = &grad->forward;
    td_attention_place place = td_attention_place_of(all, s);
    int64_t shift = h * all->head;
    int64_t q_first = all->q_starts != NULL ? all->q_starts[s] * grad->dq_row : s * grad->dq_seq;
    int64_t kv_first =
        all->kv_starts != NULL ? all->kv_starts[s] * grad->dkv_row : s * grad->dkv_seq;
    return (backward){.args = td_attention_one(all, s, h),
                      .d_o = grad->d_o + place.o + shift,
                      .dq = grad->dq + q_first + shift,
                      .dk = grad->dk + kv_first + shift,
                      .dv = grad->dv + kv_first + shift,
                      .dq_row = grad->dq_row,
                      .dkv_row = grad->dkv_row,
                      .rows_of_dkv = place.n_k};
}

/* dK and dV to their places, and zeros for unseen keys. */
static void head_end(const backward *at) {
    const td_attention_f32_args *args = &at->args;
    int64_t written = args->causal || args->n_q == 0 ? args->n_q : args->n_k;
    for (int64_t j = 0; j < written && at->packs; j++) {
        td_row_copy(at->dk + j * at->dkv_row, at->sum_dk + j * at->sum_ld, args->head);
        td_row_copy(at->dv + j * at->dkv_row, at->sum_dv + j * at->sum_ld, args->head);
    }
    for (int64_t j = written; j < at->rows_of_dkv; j++) {
        memset(at->dk + j * at->dkv_row, 0, (size_t)args->head * sizeof *at->dk);
        memset(at->dv + j * at->dkv_row, 0, (size_t)args->head * sizeof *at->dv);
    }
}

static void backward_head(backward *at, float *scratch) {
    int64_t n_q = at->args.n_q, step = td_strip_rows(&at->args);
    head_begin(at, scratch);
    for (int64_t i = 0; i < n_q; i += step) {
        backward_strip(at, i, n_q - i < step ? n_q - i : step);
    }
    head_end(at);
}

/* What is read or written but Q, K and V. */
static void look_ahead_at_gradients(const backward *at, td_ahead *ahead) {
    const td_attention_f32_args *args = &at->args;
    td_ahead_add(ahead, at->d_o, args->o_row, args->n_q, args->head);
    td_ahead_add(ahead, args->o, args->o_row, args->n_q, args->head);
    td_ahead_add(ahead, at->dq, at->dq_row, args->n_q, args->head);
    td_ahead_add(ahead, at->dv, at->dkv_row, args->n_k, args->head);
    td_ahead_add(ahead, at->dk, at->dkv_row, args->n_k, args->head);
}

#endif
