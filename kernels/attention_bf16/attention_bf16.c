/* SPDX-License-Identifier: Apache-2.0
 * Forward attention in bf16: the strips of attention.c, with operands packed as steps of pairs. A
 * strip of probabilities becomes steps over keys in place. All rows run with MXCSR flushing.
 */
#define TD_PRODUCT_PAIRS
#include <immintrin.h>

#include "kernels/attention/softmax_rows.h"
#include "kernels/attention_bf16/pair_rows.h"
#include "kernels/kernel.h"

typedef struct forward {
    td_attention_f32_args args; /* of one head */
    bf16_source q, k, v;
    float *kt, *v_over, *block, *q_strip, *strip; /* scratch */
    td_ahead *ahead;
} forward;

/* Its queries lie in q_strip. */
static void forward_strip(const forward *at, int64_t i, int64_t rows) {
    const td_attention_f32_args *args = &at->args;
    const int64_t ld = td_attention_pad(args->n_k), head = td_attention_pad(args->head);
    float inverse[TD_STRIP_MOST];
    td_strip_scores(args, at->q_strip, head, i, rows, at->kt, at->strip, at->ahead);
    for (int64_t r = 0; r < rows; r += TD_LANES) {
        group_softmax(args, at->strip + r * ld, ld, i + r,
                      rows - r < TD_LANES ? rows - r : TD_LANES, inverse + r);
    }
    for (int64_t r = 0; r < rows; r++) {
        pair_row_in_place(at->strip + r * ld, td_row_keys(args, i + r));
    }
    td_product product = {.m = rows,
                          .n = args->head,
                          .k = td_strip_steps(td_strip_keys(args, i, rows)),
                          .a = at->strip,
                          .a_row = ld,
                          .a_col = 1,
                          .b = at->v_over,
                          .ldb = head,
                          .c = args->o + i * args->o_row,
                          .ldc = args->o_row,
                          .diagonal = i,
                          .row_factor = inverse,
                          .ahead = at->ahead};
    if (args->causal) {
        td_strip_lower(&product);
    } else {
        td_strip_whole(&product);
    }
}

TD_SIMD void forward_head(forward *at, float *scratch, const bool stored) {
    const td_attention_f32_args *args = &at->args;
    const int64_t ld = td_attention_pad(args->n_k), head = td_attention_pad(args->head);
    const int64_t step = td_strip_rows(args);
    at->q = (bf16_source){args->q, args->q_bf16, args->q_row};
    at->k = (bf16_source){args->k, args->k_bf16, args->kv_row};
    at->v = (bf16_source){args->v, args->v_bf16, args->kv_row};
    at->kt = scratch;
    at->v_over = at->kt + ld * head;
    at->block = at->v_over + ld * head;
    at->q_strip = at->block + TD_LANES * head;
    at->strip = at->q_strip + TD_STRIP_MOST * head;
    pair_rows_turned(at->kt, &at->k, args->n_k, args->head, at->block, stored);
    pair_rows_over(at->v_over, &at->v, args->n_k, args->head, stored);
    for (int64_t i = 0; i < args->n_q; i += step) {
        const int64_t rows = args->n_q - i < step ? args->n_q - i : step;
        const bf16_source q = pair_rows_from(&at->q, i, stored);
        pair_rows_along(at->q_strip, &q, rows, args->head, stored);
        forward_strip(at, i, rows);
    }
}

static void look_ahead(td_ahead *ahead, const td_attention_f32_args *next) {
    pair_rows_ahead(ahead, next->k, next->k_bf16, next->kv_row, next->n_k, next->head);
    pair_rows_ahead(ahead, next->v, next->v_bf16, next->kv_row, next->n_k, next->head);
    pair_rows_ahead(ahead, next->q, next->q_bf16, next->q_row, next->n_q, next->head);
    td_ahead_add(ahead, next->o, next->o_row, next->n_q, next->head);
}

void TD_FN(attention_bf16)(const td_attention_bf16_args *args, int64_t first, int64_t last,
                           void *scratch) {
    const unsigned mxcsr = _mm_getcsr(), flush = 0x8040;
    _mm_setcsr(mxcsr | flush);
    for (int64_t tile = first; tile < last; tile++) {
        td_ahead ahead = {0};
        forward at = {.args = td_attention_one(args, tile / args->heads, tile % args->heads),
                      .ahead = &ahead};
        if (tile + 1 < last) {
            td_attention_f32_args next =
                td_attention_one(args, (tile + 1) / args->heads, (tile + 1) % args->heads);
            look_ahead(&ahead, &next);
        }
        td_ahead_spread(&ahead, td_strip_tile_steps(&at.args, 2));
        td_ahead_begin(&ahead, scratch);
        if (args->q_bf16 != NULL) {
            forward_head(&at, scratch, true);
        } else {
            forward_head(&at, scratch, false);
        }
    }
    _mm_setcsr(mxcsr);
}
