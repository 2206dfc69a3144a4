/* SPDX-License-Identifier: Apache-2.0
 * Rows of scores to probabilities, forward, and to probabilities and gradients of scores, backward.
 */
#ifndef TD_KERNELS_SOFTMAX_ROWS_H
#define TD_KERNELS_SOFTMAX_ROWS_H

#include "kernels/attention/strip.h"
#include "kernels/vmath.h"

/* The largest of the first `seen` scores that fall into each lane. A NaN may get lost here, never
 * in the sum. */
TD_SIMD td_v16 row_top(const float *row, int64_t seen) {
    int64_t whole = seen / TD_LANES * TD_LANES;
    td_v16 top = td_v16_set1(-INFINITY);
    for (int64_t c = 0; c < whole; c += TD_LANES) {
        top = td_v16_max(top, td_v16_load(row + c));
    }
    if (whole < seen) {
        td_m16 part = td_m16_first(seen - whole);
        top = td_v16_max(top, td_v16_select(part, td_v16_load(row + whole), top));
    }
    return top;
}

/* In place: the first `seen` scores to exp(score * scale - shift), zero from there to the end of a
 * vector. Returns the sums of lanes. */
TD_SIMD td_v16 row_exp(float *row, int64_t seen, td_v16 scale, td_v16 shift) {
    int64_t whole = seen / TD_LANES * TD_LANES;
    td_v16 sum = td_v16_zero();
    for (int64_t c = 0; c < whole; c += TD_LANES) {
        td_v16 e = td_v16_exp_below(td_v16_fms(td_v16_load(row + c), scale, shift));
        td_v16_store(row + c, e);
        sum = td_v16_add(sum, e);
    }
    if (whole < seen) {
        td_m16 part = td_m16_first(seen - whole);
        td_v16 e = td_v16_exp_below(td_v16_fms(td_v16_load(row + whole), scale, shift));
        e = td_v16_select(part, e, td_v16_zero());
        td_v16_store(row + whole, e);
        sum = td_v16_add(sum, e);
    }
    return sum;
}

/* Rows [i, i + rows) of the head, at most 16, whose scores are at `strip`: to unnormalised
 * probabilities; inverse (16) gets 1 / sum, lse is saved. Reductions across lanes are done for 16
 * rows at once: one by one their latency would cost as much as the exponentials. */
TD_SIMD void group_softmax(const td_attention_f32_args *args, float *strip, int64_t ld, int64_t i,
                           int64_t rows, float *inverse) {
    td_v16 lanes[TD_LANES], scale = td_v16_set1(td_attention_scale(args));
    float shifts[TD_LANES];
    for (int64_t r = 0; r < TD_LANES; r++) {
        lanes[r] = r < rows ? row_top(strip + r * ld, td_row_keys(args, i + r)) : td_v16_zero();
    }
    td_v16 max = td_v16_mul(td_v16_max_rows(lanes), scale);
    td_v16_store(shifts, max);
    for (int64_t r = 0; r < rows; r++) {
        lanes[r] = row_exp(strip + r * ld, td_row_keys(args, i + r), scale, td_v16_set1(shifts[r]));
    }
    td_v16 sum = td_v16_sum_rows(lanes);
    td_v16_store(inverse, td_v16_div(td_v16_set1(1.0f), sum));
    td_v16_store_part(args->lse + i, td_v16_add(max, td_v16_log(sum)), rows);
}

/* One row, in place: p from scores, ds from dp, both zero from `seen` to the end of a vector. */
TD_SIMD void row_gradient(float *p, float *ds, int64_t seen, float scale, float lse, float d) {
    td_v16 factor = td_v16_set1(scale), log_sum = td_v16_set1(lse), mean = td_v16_set1(d);
    for (int64_t c = 0; c < seen; c += TD_LANES) {
        td_v16 e = td_v16_exp_below(td_v16_fms(td_v16_load(p + c), factor, log_sum));
        td_v16 g = td_v16_mul(e, td_v16_sub(td_v16_load(ds + c), mean));
        td_v16_store(p + c, e);
        td_v16_store(ds + c, td_v16_mul(g, factor));
    }
    if (seen % TD_LANES != 0) {
        td_m16 part = td_m16_first(seen % TD_LANES);
        float *last_p = p + seen / TD_LANES * TD_LANES, *last_ds = ds + seen / TD_LANES * TD_LANES;
        td_v16_store(last_p, td_v16_select(part, td_v16_load(last_p), td_v16_zero()));
        td_v16_store(last_ds, td_v16_select(part, td_v16_load(last_ds), td_v16_zero()));
    }
}

#endif
