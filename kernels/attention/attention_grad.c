/* SPDX-License-Identifier: Apache-2.0
 * Backward attention in f32. Operands are read where they lie, or copied side by side.
 */
#include "kernels/attention/backward.h"
#include "kernels/attention/probe.h"
#include "kernels/kernel.h"

/* Transposes K and V, and packs K. */
static void head_begin(backward *at, float *scratch) {
    const td_attention_f32_args *args = &at->args;
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
    at->ds_over = at->ds;
    at->k_over = at->packs ? k : args->k;
    at->k_over_row = at->packs ? packed : args->kv_row;
    td_product_transpose(at->kt, ld, args->k, args->kv_row, args->n_k, args->head);
    td_product_transpose(at->vt, ld, args->v, args->kv_row, args->n_k, args->head);
    if (at->packs) {
        td_strip_pack(k, args->k, args->kv_row, args->n_k, args->head);
    }
}

static strip_operands strip_begin(const backward *at, int64_t i, int64_t rows) {
    const td_attention_f32_args *args = &at->args;
    const float *q = args->q + i * args->q_row, *d_o = at->d_o + i * args->o_row;
    if (!at->packs) {
        return (strip_operands){q, d_o, args->q_row, args->o_row, q, d_o, args->q_row, args->o_row};
    }
    const int64_t row = td_attention_pad(args->head);
    td_strip_pack(at->q_strip, q, args->q_row, rows, args->head);
    td_strip_pack(at->do_strip, d_o, args->o_row, rows, args->head);
    return (strip_operands){at->q_strip, at->do_strip, row, row,
                            at->q_strip, at->do_strip, row, row};
}

static void strip_weights(const backward *at, int64_t i, int64_t rows) {
    (void)at, (void)i, (void)rows;
}

static void look_ahead(const backward *at, td_ahead *ahead) {
    const td_attention_f32_args *args = &at->args;
    td_ahead_add(ahead, args->k, args->kv_row, args->n_k, args->head);
    td_ahead_add(ahead, args->v, args->kv_row, args->n_k, args->head);
    td_ahead_add(ahead, args->q, args->q_row, args->n_q, args->head);
    look_ahead_at_gradients(at, ahead);
}

/* A block of keys of one head that has one query. mean: D. */
static void probe_block(const backward *at, int64_t j, float mean, float *scratch) {
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
        backward at = head_of(args, s, tile - s * heads);
        int64_t seen = at.args.n_q > 0 ? at.args.n_k : 0;
        for (int64_t t = tile; t < end; t++) {
            backward one = head_of(args, s, t - s * heads);
            if (seen > 0) {
                means[t - tile] = td_row_dot(one.d_o, one.args.o, one.args.head);
            }
        }
        for (int64_t j = 0; j < at.rows_of_dkv; j += TD_LANES) {
            for (int64_t t = tile; t < end; t++) {
                backward one = head_of(args, s, t - s * heads);
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
        backward at = head_of(args, tile / heads, tile % heads);
        td_ahead ahead = {0};
        if (tile + 1 < last) {
            backward next = head_of(args, (tile + 1) / heads, (tile + 1) % heads);
            look_ahead(&next, &ahead);
        }
        td_ahead_spread(&ahead, td_strip_tile_steps(&at.args, 5));
        td_ahead_begin(&ahead, scratch);
        at.ahead = &ahead;
        backward_head(&at, scratch);
    }
}
