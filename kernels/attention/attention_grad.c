/* SPDX-License-Identifier: Apache-2.0
 * Backward attention of one head, in strips of query rows in ascending order: P again from the
 * saved log-sum-exp, dP = dO V^T, dS = P (dP - D) scale with D = rowsum(dO O); dQ = dS K, and
 * dV += P^T dO, dK += dS^T Q continue their chains from strip to strip.
 */
#include "kernels/attention/probe.h"
#include "kernels/attention/strip.h"
#include "kernels/kernel.h"
#include "kernels/row.h"
#include "kernels/vmath.h"

typedef struct head {
    td_attention_f32_args args; /* of this head alone */
    const float *d_o;
    float *dq, *dk, *dv;
    int64_t dq_row, dkv_row;
    int64_t rows_of_dkv; /* to be written: those of unseen keys as well */
    td_ahead *ahead;
    float *kt, *vt, *q_strip, *do_strip, *p, *ds; /* scratch */
    bool packs;
    float *sum_dk, *sum_dv; /* grow here, or, when nothing is packed, where they belong */
    int64_t sum_ld;
} head;

/* One row, in place: p from scores, ds from dp. What lies behind the first `seen` is never read. */
TD_SIMD void row_gradient(float *p, float *ds, int64_t seen, float scale, float lse, float d) {
    td_v16 factor = td_v16_set1(scale), log_sum = td_v16_set1(lse), mean = td_v16_set1(d);
    for (int64_t c = 0; c < seen; c += TD_LANES) {
        td_v16 e = td_v16_exp_below(td_v16_fms(td_v16_load(p + c), factor, log_sum));
        td_v16 g = td_v16_mul(e, td_v16_sub(td_v16_load(ds + c), mean));
        td_v16_store(p + c, e);
        td_v16_store(ds + c, td_v16_mul(g, factor));
    }
}

/* rowsum(dO O) of up to 16 rows. */
TD_SIMD void group_means(const head *at, int64_t i, int64_t rows, float *d) {
    const td_attention_f32_args *args = &at->args;
    td_v16 lanes[TD_LANES];
    for (int64_t r = 0; r < TD_LANES; r++) {
        int64_t row = (i + r) * args->o_row;
        lanes[r] =
            r < rows ? td_row_dot_lanes(at->d_o + row, args->o + row, args->head) : td_v16_zero();
    }
    td_v16_store(d, td_v16_sum_rows(lanes));
}

static void strip_gradient(const head *at, int64_t i, int64_t rows) {
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
static void strip_columns(const head *at, const float *weights, const float *x, int64_t x_row,
                          float *to, int64_t i, int64_t rows) {
    const td_attention_f32_args *args = &at->args;
    int64_t before = args->causal ? i : i > 0 ? args->n_k : 0;
    td_product product = {.m = before,
                          .n = args->head,
                          .k = rows,
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

static void backward_strip(const head *at, int64_t i, int64_t rows) {
    const td_attention_f32_args *args = &at->args;
    const float *q = args->q + i * args->q_row, *d_o = at->d_o + i * args->o_row;
    int64_t q_row = args->q_row, do_row = args->o_row;
    if (at->packs) {
        td_strip_pack(at->q_strip, q, q_row, rows, args->head);
        td_strip_pack(at->do_strip, d_o, do_row, rows, args->head);
        q = at->q_strip;
        d_o = at->do_strip;
        q_row = do_row = td_attention_pad(args->head);
    }
    td_strip_scores(args, q, q_row, i, rows, at->kt, at->p, at->ahead);
    td_strip_scores(args, d_o, do_row, i, rows, at->vt, at->ds, at->ahead);
    strip_gradient(at, i, rows);
    td_product product = {.m = rows,
                          .n = args->head,
                          .k = td_strip_keys(args, i, rows),
                          .a = at->ds,
                          .a_row = td_attention_pad(args->n_k),
                          .a_col = 1,
                          .b = args->k,
                          .ldb = args->kv_row,
                          .c = at->dq + i * at->dq_row,
                          .ldc = at->dq_row,
                          .diagonal = i,
                          .ahead = at->ahead};
    if (args->causal) {
        td_strip_lower(&product);
    } else {
        td_strip_whole(&product);
    }
    strip_columns(at, at->p, d_o, do_row, at->sum_dv, i, rows);
    strip_columns(at, at->ds, q, q_row, at->sum_dk, i, rows);
}

static head head_of(const td_attention_grad_f32_args *grad, int64_t s, int64_t h) {
    const td_attention_f32_args *all = &grad->forward;
    td_attention_place place = td_attention_place_of(all, s);
    int64_t shift = h * all->head;
    int64_t q_first = all->q_starts != NULL ? all->q_starts[s] * grad->dq_row : s * grad->dq_seq;
    int64_t kv_first =
        all->kv_starts != NULL ? all->kv_starts[s] * grad->dkv_row : s * grad->dkv_seq;
    return (head){.args = td_attention_one(all, s, h),
                  .d_o = grad->d_o + place.o + shift,
                  .dq = grad->dq + q_first + shift,
                  .dk = grad->dk + kv_first + shift,
                  .dv = grad->dv + kv_first + shift,
                  .dq_row = grad->dq_row,
                  .dkv_row = grad->dkv_row,
                  .rows_of_dkv = place.n_k};
}

/* Lays out scratch, transposes K and V, and packs K. */
static void head_begin(head *at, float *scratch) {
    td_attention_f32_args *args = &at->args;
    int64_t ld = td_attention_pad(args->n_k), packed = td_attention_pad(args->head);
    int64_t all = packed * ld;
    float *k = scratch + 2 * all, *sums = scratch + 3 * all;
    at->packs = td_strip_packs(args);
    at->kt = scratch;
    at->vt = scratch + all;
    at->q_strip = scratch + 5 * all;
    at->do_strip = at->q_strip + TD_STRIP_MOST * packed;
    at->p = at->do_strip + TD_STRIP_MOST * packed;
    at->ds = at->p + td_strip_floats(args->n_k);
    at->sum_dk = at->packs ? sums : at->dk;
    at->sum_dv = at->packs ? sums + all : at->dv;
    at->sum_ld = at->packs ? packed : at->dkv_row;
    td_product_transpose(at->kt, ld, args->k, args->kv_row, args->n_k, args->head);
    td_product_transpose(at->vt, ld, args->v, args->kv_row, args->n_k, args->head);
    if (at->packs) {
        td_strip_pack(k, args->k, args->kv_row, args->n_k, args->head);
        args->k = k;
        args->kv_row = packed;
    }
}

/* dK and dV to their places, and zeros for unseen keys. */
static void head_end(const head *at) {
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

static void backward_head(head *at, float *scratch) {
    int64_t n_q = at->args.n_q, step = td_strip_rows(&at->args);
    head_begin(at, scratch);
    for (int64_t i = 0; i < n_q; i += step) {
        backward_strip(at, i, n_q - i < step ? n_q - i : step);
    }
    head_end(at);
}

static void look_ahead(const head *at, td_ahead *ahead) {
    const td_attention_f32_args *args = &at->args;
    td_ahead_add(ahead, args->k, args->kv_row, args->n_k, args->head);
    td_ahead_add(ahead, args->v, args->kv_row, args->n_k, args->head);
    td_ahead_add(ahead, args->q, args->q_row, args->n_q, args->head);
    td_ahead_add(ahead, at->d_o, args->o_row, args->n_q, args->head);
    td_ahead_add(ahead, args->o, args->o_row, args->n_q, args->head);
    td_ahead_add(ahead, at->dq, at->dq_row, args->n_q, args->head);
    td_ahead_add(ahead, at->dv, at->dkv_row, args->n_k, args->head);
    td_ahead_add(ahead, at->dk, at->dkv_row, args->n_k, args->head);
}

/* A block of keys of one head that has one query. mean: D. */
static void probe_block(const head *at, int64_t j, float mean, float *scratch) {
    const td_attention_f32_args *args = &at->args;
    int64_t n = td_probe_keys(args, j);
    float *p = scratch, *ds = p + TD_LANES, *block = ds + TD_LANES;
    const float *k = args->k + j * args->kv_row, *v = args->v + j * args->kv_row;
    td_probe_products(args->q, k, args->kv_row, n, args->head, block, p);
    td_probe_products(at->d_o, v, args->kv_row, n, args->head, block, ds);
    row_gradient(p, ds, TD_LANES, td_attention_scale(args), args->lse[0], mean);
    td_product_run(&(td_product){.m = 1,
                                 .n = args->head,
                                 .k = n,
                                 .a = ds,
                                 .a_col = 1,
                                 .b = k,
                                 .ldb = args->kv_row,
                                 .c = at->dq,
                                 .accumulate = j > 0});
    td_product columns = {.m = n,
                          .n = args->head,
                          .k = 1,
                          .a = p,
                          .a_row = 1,
                          .b = at->d_o,
                          .c = at->dv + j * at->dkv_row,
                          .ldc = at->dkv_row};
    td_product_run(&columns);
    columns.a = ds;
    columns.b = args->q;
    columns.c = at->dk + j * at->dkv_row;
    td_product_run(&columns);
}

static void probe_tiles(const td_attention_grad_f32_args *args, int64_t first, int64_t last,
                        float *scratch) {
    int64_t heads = args->forward.heads;
    float *means = scratch, *rest = means + heads;
    for (int64_t tile = first; tile < last;) {
        int64_t end = td_probe_end(&args->forward, tile, last), s = tile / heads;
        head at = head_of(args, s, tile - s * heads);
        int64_t seen = at.args.n_q > 0 ? at.args.n_k : 0;
        for (int64_t t = tile; t < end; t++) {
            head one = head_of(args, s, t - s * heads);
            if (seen > 0) {
                means[t - tile] = td_row_dot(one.d_o, one.args.o, one.args.head);
            }
        }
        for (int64_t j = 0; j < at.rows_of_dkv; j += TD_LANES) {
            for (int64_t t = tile; t < end; t++) {
                head one = head_of(args, s, t - s * heads);
                if (j < seen) {
                    probe_block(&one, j, means[t - tile], rest);
                }
                int64_t stop = j + TD_LANES < one.rows_of_dkv ? j + TD_LANES : one.rows_of_dkv;
                for (int64_t row = j > seen ? j : seen; row < stop; row++) {
                    memset(one.dk + row * one.dkv_row, 0, (size_t)one.args.head * sizeof *one.dk);
                    memset(one.dv + row * one.dkv_row, 0, (size_t)one.args.head * sizeof *one.dv);
                }
            }
        }
        tile = end;
    }
}

void TD_FN(attention_grad_f32)(const td_attention_grad_f32_args *args, int64_t first, int64_t last,
                               void *scratch) {
    if (td_attention_probes(&args->forward)) {
        probe_tiles(args, first, last, scratch);
        return;
    }
    int64_t heads = args->forward.heads;
    for (int64_t tile = first; tile < last; tile++) {
        head at = head_of(args, tile / heads, tile % heads);
        td_ahead ahead = {0};
        if (tile + 1 < last) {
            head next = head_of(args, (tile + 1) / heads, (tile + 1) % heads);
            look_ahead(&next, &ahead);
        }
        td_ahead_begin(&ahead, scratch);
        at.ahead = &ahead;
        backward_head(&at, scratch);
    }
}
