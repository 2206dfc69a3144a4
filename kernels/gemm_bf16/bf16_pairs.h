/* SPDX-License-Identifier: Apache-2.0
 * f32 rounded to bf16 and joined in pairs along k, lower k in the low half of 32 bits.
 */
#ifndef TD_KERNELS_GEMM_BF16_BF16_PAIRS_H
#define TD_KERNELS_GEMM_BF16_BF16_PAIRS_H

#include <immintrin.h>

#include "kernels/convert/bf16.h"

/* lower and upper are rows of k, 16 columns of each: one pair a column. */
TD_SIMD td_v16 pairs_across(td_v16 lower, td_v16 upper) {
#if defined(__AVX512BF16__)
    /* The instruction puts one row behind the other; the permutation takes one of each in turn. */
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(upper, lower);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, rounded));
#else
    td_i16 high = td_i16_shl(td_v16_to_bf16(upper), 16);
    return td_i16_as_v16(td_i16_or(td_v16_to_bf16(lower), high));
#endif
}

/* Two vectors of consecutive k: 16 pairs along them. */
TD_SIMD td_v16 pairs_along(td_v16 first, td_v16 second) {
#if defined(__AVX512BF16__)
    return _mm512_castsi512_ps((__m512i)_mm512_cvtne2ps_pbh(second, first));
#else
    uint16_t halves[2 * TD_LANES];
    float pairs[TD_LANES];
    td_i16_store_u16(halves, td_v16_to_bf16(first));
    td_i16_store_u16(halves + TD_LANES, td_v16_to_bf16(second));
    memcpy(pairs, halves, sizeof pairs);
    return td_v16_load(pairs);
#endif
}

/* Pairs of `count` consecutive k, whole vectors written. */
static inline void pairs_of_row(float *to, const float *from, int64_t count) {
    for (int64_t k = 0; k < count; k += 2 * TD_LANES, to += TD_LANES) {
        int64_t left = count - k;
        td_v16 first =
            left >= TD_LANES ? td_v16_load(from + k) : td_v16_load_part(from + k, left, 0.0f);
        td_v16 second = left >= 2 * TD_LANES ? td_v16_load(from + k + TD_LANES)
                        : left > TD_LANES
                            ? td_v16_load_part(from + k + TD_LANES, left - TD_LANES, 0.0f)
                            : td_v16_zero();
        td_v16_store(to, pairs_along(first, second));
    }
}

/* At most 16 columns of a row, zero behind them. */
TD_SIMD td_v16 pairs_read(const float *p, int64_t cols) {
    return cols >= TD_LANES ? td_v16_load(p)
           : cols > 0       ? td_v16_load_part(p, cols, 0.0f)
                            : td_v16_zero();
}

#endif
