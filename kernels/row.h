/* SPDX-License-Identifier: Apache-2.0
 * What many kernels do with a run of n floats. No float behind the n is touched.
 */
#ifndef TD_KERNELS_ROW_H
#define TD_KERNELS_ROW_H

#include "kernels/simd.h"

TD_SIMD void td_row_copy(float *to, const float *from, int64_t n) {
    int64_t c = 0;
    for (; c + TD_LANES <= n; c += TD_LANES) {
        td_v16_store(to + c, td_v16_load(from + c));
    }
    if (c < n) {
        td_v16_store_part(to + c, td_v16_load_part(from + c, n - c, 0), n - c);
    }
}

/* to = a + b; to may be either. */
TD_SIMD void td_row_add(float *to, const float *a, const float *b, int64_t n) {
    int64_t c = 0;
    for (; c + TD_LANES <= n; c += TD_LANES) {
        td_v16_store(to + c, td_v16_add(td_v16_load(a + c), td_v16_load(b + c)));
    }
    if (c < n) {
        td_v16 sum =
            td_v16_add(td_v16_load_part(a + c, n - c, 0), td_v16_load_part(b + c, n - c, 0));
        td_v16_store_part(to + c, sum, n - c);
    }
}

/* to = from / divisor; to may be from. */
TD_SIMD void td_row_div(float *to, const float *from, float divisor, int64_t n) {
    td_v16 d = td_v16_set1(divisor);
    int64_t c = 0;
    for (; c + TD_LANES <= n; c += TD_LANES) {
        td_v16_store(to + c, td_v16_div(td_v16_load(from + c), d));
    }
    if (c < n) {
        td_v16_store_part(to + c, td_v16_div(td_v16_load_part(from + c, n - c, 0), d), n - c);
    }
}

/* Sum of a[c] * b[c]: lane = c mod 16, one FMA chain a lane, then the tree of td_v16_sum. */
TD_SIMD td_v16 td_row_dot_lanes(const float *a, const float *b, int64_t n) {
    td_v16 sum = td_v16_zero();
    int64_t c = 0;
    for (; c + TD_LANES <= n; c += TD_LANES) {
        sum = td_v16_fma(td_v16_load(a + c), td_v16_load(b + c), sum);
    }
    if (c < n) {
        sum = td_v16_fma(td_v16_load_part(a + c, n - c, 0), td_v16_load_part(b + c, n - c, 0), sum);
    }
    return sum;
}

TD_SIMD float td_row_dot(const float *a, const float *b, int64_t n) {
    return td_v16_sum(td_row_dot_lanes(a, b, n));
}

#endif
