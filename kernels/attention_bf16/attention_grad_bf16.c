/* SPDX-License-Identifier: Apache-2.0
 * Backward attention in bf16: operands packed as steps of pairs, strips of P and dS made so in
 * place. All rows run with MXCSR flushing.
 */
#define TD_PRODUCT_PAIRS
#include <immintrin.h>

#include "kernels/attention/backward.h"
#include "kernels/attention_bf16/pair_rows.h"
#include "kernels/kernel.h"

TD_SIMD void head_pack(backward *at, float *k_over, float *block, const bool stored) {
    const td_attention_f32_args *args = &at->args;
    const bf16_source k = {args->k, args->k_bf16, args->kv_row};
    const bf16_source v = {args->v, args->v_bf16, args->kv_row};
    pair_rows_turned(at->kt, &k, args->n_k, args->head, block, stored);
    pair_rows_turned(at->vt, &v, args->n_k, args->head, block, stored);
    pair_rows_over(k_over, &k, args->n_k, args->head, stored);
}

/* Packs K and V. */
static void head_begin(backward *at, float *scratch) {
    const td_attention_f32_args *args = &at->args;
    const int64_t ld = td_attention_pad(args->n_k), packed = td_attention_pad(args->head);
    const int64_t all = packed * ld, strip = td_pair_strip_floats(args->n_k);
    float *k_over = scratch + 2 * all, *sums = scratch + 3 * all, *block = scratch + 5 * all;
    at->packs = td_strip_packs(args);
    at->kt = scratch;
    at->vt = scratch + all;
    at->q_strip = block + TD_LANES * packed;
    at->do_strip = at->q_strip + TD_STRIP_MOST * packed;
    at->q_pairs = at->do_strip + TD_STRIP_MOST * packed;
    at->do_pairs = at->q_pairs + TD_PAIR_STRIP_MOST * packed;
    at->p = at->do_pairs + TD_PAIR_STRIP_MOST * packed;
    at->ds = at->p + strip;
    at->ds_over = at->ds + strip;
    at->sum_dk = at->packs ? sums : at->dk;
    at->sum_dv = at->packs ? sums + all : at->dv;
    at->sum_ld = at->packs ? packed : at->dkv_row;
    at->k_over = k_over;
    at->k_over_row = packed;
    if (args->k_bf16 != NULL) {
        head_pack(at, k_over, block, true);
    } else {
        head_pack(at, k_over, block, false);
    }
}

TD_SIMD void strip_queries(const backward *at, int64_t i, int64_t rows, const bool stored) {
    const td_attention_f32_args *args = &at->args;
    const bf16_source all = {args->q, args->q_bf16, args->q_row};
    const bf16_source q = pair_rows_from(&all, i, stored);
    pair_rows_along(at->q_strip, &q, rows, args->head, stored);
    pair_rows_over(at->q_pairs, &q, rows, args->head, stored);
}

static strip_operands strip_begin(const backward *at, int64_t i, int64_t rows) {
    const td_attention_f32_args *args = &at->args;
    const int64_t row = td_attention_pad(args->head);
    const bf16_source d_o = {at->d_o + i * args->o_row, NULL, args->o_row};
    if (args->q_bf16 != NULL) {
        strip_queries(at, i, rows, true);
    } else {
        strip_queries(at, i, rows, false);
    }
    pair_rows_along(at->do_strip, &d_o, rows, args->head, false);
    pair_rows_over(at->do_pairs, &d_o, rows, args->head, false);
    return (strip_operands){at->q_strip, at->do_strip, row, row,
                            at->q_pairs, at->do_pairs, row, row};
}

static void strip_weights(const backward *at, int64_t i, int64_t rows) {
    const td_attention_f32_args *args = &at->args;
    const int64_t ld = td_attention_pad(args->n_k), keys = td_strip_keys(args, i, rows);
    pair_rows_join(at->p, at->p, ld, rows, keys);
    pair_rows_join(at->ds_over, at->ds, ld, rows, keys);
    for (int64_t r = 0; r < rows; r++) {
        pair_row_in_place(at->ds + r * ld, td_row_keys(args, i + r));
    }
}

static void look_ahead(const backward *at, td_ahead *ahead) {
    const td_attention_f32_args *args = &at->args;
    pair_rows_ahead(ahead, args->k, args->k_bf16, args->kv_row, args->n_k, args->head);
    pair_rows_ahead(ahead, args->v, args->v_bf16, args->kv_row, args->n_k, args->head);
    pair_rows_ahead(ahead, args->q, args->q_bf16, args->q_row, args->n_q, args->head);
    look_ahead_at_gradients(at, ahead);
}

void TD_FN(attention_grad_bf16)(const td_attention_grad_bf16_args *args, int64_t first,
                                int64_t last, void *scratch) {
    const unsigned mxcsr = _mm_getcsr(), flush = 0x8040;
    const int64_t heads = args->forward.heads;
    _mm_setcsr(mxcsr | flush);
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
    _mm_setcsr(mxcsr);
}
