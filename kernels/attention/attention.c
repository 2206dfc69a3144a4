/* SPDX-License-Identifier: Apache-2.0
 * Forward attention of one head: K transposed once, then strips of query rows whose scores never
 * leave the strip. Scores stay unnormalised; 1 / sum is applied to the output row.
 */
#include "kernels/attention/strip.h"
#include "kernels/kernel.h"
#include "kernels/vmath.h"

/* In place: scores to exp(score * scale - max), max being the largest score times scale. Returns
 * the sum of the first `seen` and gives max; what lies behind them is not read again. A NaN may get
 * lost in the maximum, never in the sum. */
TD_SIMD float row_softmax(float *row, int64_t seen, float scale, float *max) {
    int64_t whole = seen / TD_LANES * TD_LANES;
    td_m16 part = td_m16_first(seen - whole);
    td_v16 factor = td_v16_set1(scale), top = td_v16_set1(-INFINITY), sum = td_v16_zero();
    for (int64_t c = 0; c < whole; c += TD_LANES) {
        top = td_v16_max(top, td_v16_load(row + c));
    }
    if (whole < seen) {
        top = td_v16_max(top, td_v16_select(part, td_v16_load(row + whole), top));
    }
    *max = td_v16_reduce_max(top) * scale;
    td_v16 shift = td_v16_set1(*max);
    for (int64_t c = 0; c < whole; c += TD_LANES) {
        td_v16 e = td_v16_exp(td_v16_fms(td_v16_load(row + c), factor, shift));
        td_v16_store(row + c, e);
        sum = td_v16_add(sum, e);
    }
    if (whole < seen) {
        td_v16 e = td_v16_exp(td_v16_fms(td_v16_load(row + whole), factor, shift));
        td_v16_store(row + whole, e);
        sum = td_v16_add(sum, td_v16_select(part, e, td_v16_zero()));
    }
    return td_v16_sum(sum);
}

/* lse = max + log(sum), 16 rows at a time. */
TD_SIMD void save_lse(float *lse, const float *max, const float *sum, int64_t rows) {
    for (int64_t r = 0; r < rows; r += TD_LANES) {
        int64_t part = rows - r < TD_LANES ? rows - r : TD_LANES;
        td_v16 log = td_v16_log(td_v16_load_part(sum + r, part, 1));
        td_v16_store_part(lse + r, td_v16_add(td_v16_load_part(max + r, part, 0), log), part);
    }
}

TD_SIMD void scale_row(float *row, int64_t n, float factor) {
    td_v16 by = td_v16_set1(factor);
    int64_t c = 0;
    for (; c + TD_LANES <= n; c += TD_LANES) {
        td_v16_store(row + c, td_v16_mul(td_v16_load(row + c), by));
    }
    if (c < n) {
        td_v16_store_part(row + c, td_v16_mul(td_v16_load_part(row + c, n - c, 0), by), n - c);
    }
}

static void forward_strip(const td_attention_f32_args *args, const float *kt, float *strip,
                          int64_t i) {
    int64_t ld = td_attention_pad(args->n_k), rows = td_strip_rows(args, i);
    int64_t keys = td_strip_keys(args, i, rows);
    float sums[TD_STRIP_ROWS], maxima[TD_STRIP_ROWS], scale = td_attention_scale(args);
    td_strip_scores(args, args->q + i * args->q_row, args->q_row, rows, keys, kt, strip);
    for (int64_t r = 0; r < rows; r++) {
        sums[r] = row_softmax(strip + r * ld, td_row_keys(args, i + r), scale, &maxima[r]);
    }
    save_lse(args->lse + i, maxima, sums, rows);
    td_product product = {.m = rows,
                          .n = args->head,
                          .k = keys,
                          .a = strip,
                          .a_row = ld,
                          .a_col = 1,
                          .b = args->v,
                          .ldb = args->kv_row,
                          .c = args->o + i * args->o_row,
                          .ldc = args->o_row,
                          .diagonal = i};
    if (args->causal) {
        td_strip_lower(&product);
    } else {
        td_product_run(&product);
    }
    for (int64_t r = 0; r < rows; r++) {
        scale_row(args->o + (i + r) * args->o_row, args->head, 1.0f / sums[r]);
    }
}

/* args: of one head. */
static void forward_head(const td_attention_f32_args *args, float *scratch) {
    int64_t ld = td_attention_pad(args->n_k);
    float *kt = scratch, *strip = kt + args->head * ld;
    td_product_transpose(kt, ld, args->k, args->kv_row, args->n_k, args->head);
    for (int64_t i = 0; i < args->n_q; i += td_strip_rows(args, i)) {
        forward_strip(args, kt, strip, i);
    }
}

void TD_FN(attention_f32)(const td_attention_f32_args *args, int64_t first, int64_t last,
                          void *scratch) {
    for (int64_t tile = first; tile < last; tile++) {
        td_attention_f32_args one = td_attention_one(args, tile / args->heads, tile % args->heads);
        forward_head(&one, scratch);
    }
}
