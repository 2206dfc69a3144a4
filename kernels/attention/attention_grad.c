/* SPDX-License-Identifier: Apache-2.0
 * Backward attention of one head, in strips of query rows in ascending order: P again from the
 * saved log-sum-exp, dP = dO V^T, dS = P (dP - D) scale with D = rowsum(dO O); dQ = dS K, and
 * dV += P^T dO, dK += dS^T Q continue their chains in place from strip to strip.
 */
#include "kernels/attention/strip.h"
#include "kernels/kernel.h"
#include "kernels/row.h"
#include "kernels/vmath.h"

typedef struct head {
    td_attention_f32_args args; /* of this head alone */
    const float *d_o;
    float *dq, *dk, *dv;
    int64_t dq_row, dkv_row;
    float *kt, *vt, *p, *ds; /* scratch */
} head;

/* One row, in place: p from scores, ds from dp. What lies behind the first `seen` is never read. */
TD_SIMD void row_gradient(float *p, float *ds, int64_t seen, float scale, float lse, float d) {
    td_v16 factor = td_v16_set1(scale), log_sum = td_v16_set1(lse), mean = td_v16_set1(d);
    for (int64_t c = 0; c < seen; c += TD_LANES) {
        td_v16 e = td_v16_exp(td_v16_fms(td_v16_load(p + c), factor, log_sum));
        td_v16 g = td_v16_mul(e, td_v16_sub(td_v16_load(ds + c), mean));
        td_v16_store(p + c, e);
        td_v16_store(ds + c, td_v16_mul(g, factor));
    }
}

static void backward_strip(const head *at, int64_t i, int64_t rows) {
    const td_attention_f32_args *args = &at->args;
    int64_t ld = td_attention_pad(args->n_k), keys = td_strip_keys(args, i, rows);
    float scale = td_attention_scale(args);
    const float *q = args->q + i * args->q_row, *d_o = at->d_o + i * args->o_row;
    td_strip_scores(args, q, args->q_row, rows, keys, at->kt, at->p);
    td_strip_scores(args, d_o, args->o_row, rows, keys, at->vt, at->ds);
    for (int64_t r = 0; r < rows; r++) {
        float d = td_row_dot(d_o + r * args->o_row, args->o + (i + r) * args->o_row, args->head);
        row_gradient(at->p + r * ld, at->ds + r * ld, td_row_keys(args, i + r), scale,
                     args->lse[i + r], d);
    }
    td_product product = {.m = rows,
                          .n = args->head,
                          .k = keys,
                          .a = at->ds,
                          .a_row = ld,
                          .a_col = 1,
                          .b = args->k,
                          .ldb = args->kv_row,
                          .c = at->dq + i * at->dq_row,
                          .ldc = at->dq_row,
                          .diagonal = i};
    td_product columns = {.m = keys,
                          .n = args->head,
                          .k = rows,
                          .a = at->p,
                          .a_row = 1,
                          .a_col = ld,
                          .b = d_o,
                          .ldb = args->o_row,
                          .c = at->dv,
                          .ldc = at->dkv_row,
                          .accumulate = true,
                          .diagonal = i};
    void (*of_rows)(const td_product *) = args->causal ? td_strip_lower : td_product_run;
    void (*of_columns)(const td_product *) = args->causal ? td_strip_upper : td_product_run;
    of_rows(&product);
    of_columns(&columns);
    columns.a = at->ds;
    columns.b = q;
    columns.ldb = args->q_row;
    columns.c = at->dk;
    of_columns(&columns);
}

static void backward_head(const td_attention_grad_f32_args *grad, int64_t s, int64_t h,
                          float *scratch) {
    const td_attention_f32_args *all = &grad->forward;
    td_attention_place place = td_attention_place_of(all, s);
    int64_t shift = h * all->head;
    int64_t q_first = all->q_starts != NULL ? all->q_starts[s] * grad->dq_row : s * grad->dq_seq;
    int64_t kv_first =
        all->kv_starts != NULL ? all->kv_starts[s] * grad->dkv_row : s * grad->dkv_seq;
    head at = {.args = td_attention_one(all, s, h),
               .d_o = grad->d_o + place.o + shift,
               .dq = grad->dq + q_first + shift,
               .dk = grad->dk + kv_first + shift,
               .dv = grad->dv + kv_first + shift,
               .dq_row = grad->dq_row,
               .dkv_row = grad->dkv_row,
               .kt = scratch};
    const td_attention_f32_args *args = &at.args;
    int64_t ld = td_attention_pad(args->n_k);
    at.vt = at.kt + args->head * ld;
    at.p = at.vt + args->head * ld;
    at.ds = at.p + TD_STRIP_ROWS * ld;
    td_product_transpose(at.kt, ld, args->k, args->kv_row, args->n_k, args->head);
    td_product_transpose(at.vt, ld, args->v, args->kv_row, args->n_k, args->head);
    for (int64_t j = 0; j < place.n_k; j++) {
        memset(at.dk + j * at.dkv_row, 0, (size_t)args->head * sizeof *at.dk);
        memset(at.dv + j * at.dkv_row, 0, (size_t)args->head * sizeof *at.dv);
    }
    for (int64_t i = 0; i < args->n_q; i += td_strip_rows(args, i)) {
        backward_strip(&at, i, td_strip_rows(args, i));
    }
}

void TD_FN(attention_grad_f32)(const td_attention_grad_f32_args *args, int64_t first, int64_t last,
                               void *scratch) {
    int64_t heads = args->forward.heads;
    for (int64_t tile = first; tile < last; tile++) {
        backward_head(args, tile / heads, tile % heads, scratch);
    }
}
