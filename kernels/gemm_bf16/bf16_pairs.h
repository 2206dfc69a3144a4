/* SPDX-License-Identifier: Apache-2.0
 * Operands of bf16 products as they are packed: read from f32, which is rounded, or from bf16; and
 * joined in pairs along k, lower k in the low half of 32 bits.
 */
#ifndef TD_KERNELS_GEMM_BF16_BF16_PAIRS_H
#define TD_KERNELS_GEMM_BF16_BF16_PAIRS_H

#include <immintrin.h>

#include "kernels/args.h"
#include "kernels/convert/bf16.h"

TD_SIMD bf16_source bf16_source_a(const td_gemm_f32_args *args) {
    return (bf16_source){args->a, args->a_bf16, args->lda};
}

TD_SIMD bf16_source bf16_source_b(const td_gemm_f32_args *args) {
    return (bf16_source){args->b, args->b_bf16, args->ldb};
}

/* As bf16_read, rounded. */
TD_SIMD td_v16 bf16_floats(const bf16_source *s, int64_t at, int64_t count, const bool stored) {
    td_v16 x = bf16_read(s, at, count, stored);
    return stored ? x : td_v16_round_bf16(x);
}

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

/* The same of `count` columns at two places; upper < 0: there is no such row. */
TD_SIMD td_v16 pairs_across_at(const bf16_source *s, int64_t lower, int64_t upper, int64_t count,
                               const bool stored) {
#if defined(__AVX512F__)
    if (stored && count >= TD_LANES && upper >= 0) {
        td_i16 low = td_i16_load_u16(s->bf16 + lower), high = td_i16_load_u16(s->bf16 + upper);
        return td_i16_as_v16(td_i16_or(low, td_i16_shl(high, 16)));
    }
#endif
    td_v16 high = upper >= 0 ? bf16_read(s, upper, count, stored) : td_v16_zero();
    return pairs_across(bf16_read(s, lower, count, stored), high);
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

/* 16 pairs of at most 32 consecutive k, zero behind them. */
TD_SIMD td_v16 pairs_along_at(const bf16_source *s, int64_t at, int64_t count, const bool stored) {
    if (stored) {
        float pairs[TD_LANES] = {0};
        if (count >= 2 * TD_LANES) {
            memcpy(pairs, s->bf16 + at, sizeof pairs);
        } else {
            memcpy(pairs, s->bf16 + at, (size_t)count * sizeof *s->bf16);
        }
        return td_v16_load(pairs);
    }
    return pairs_along(
        bf16_read(s, at, count, false),
        bf16_read(s, at + (count > TD_LANES ? TD_LANES : 0), count - TD_LANES, false));
}

#endif
