/* SPDX-License-Identifier: Apache-2.0
 * The steps along k of products of bf16.
 *
 * With VDPBF16PS a step is a pair, two bf16 in 32 bits (lower k in the low half), and the
 * instruction is two FMAs, upper product first, each rounded to nearest even, denormals zero on the
 * way in and out whatever MXCSR says. Without it the same FMAs are steps of their own, on floats
 * that were put in that order when they were packed: f32's own speed, which some CPUs' instruction
 * does not reach. A pair without a second k has a zero there.
 */
#ifndef TD_KERNELS_GEMM_BF16_PAIR_STEPS_H
#define TD_KERNELS_GEMM_BF16_PAIR_STEPS_H

#include "kernels/gemm_bf16/bf16_pairs.h"

#if defined(__AVX512BF16__)
enum { PAIR_STEPS = 1 };
#else
enum { PAIR_STEPS = 2 };
#endif

/* k that a vector of steps along a row takes. */
enum { PAIRS_ALONG = 2 * TD_LANES / PAIR_STEPS };

/* Steps of n k from the start of a pair. */
static inline int64_t pair_steps(int64_t n) {
    return (n + 1) / 2 * PAIR_STEPS;
}

TD_SIMD td_v16 pair_step(td_v16 a, td_v16 b, td_v16 acc) {
#if defined(__AVX512BF16__)
    return _mm512_dpbf16_ps(acc, (__m512bh)_mm512_castps_si512(a),
                            (__m512bh)_mm512_castps_si512(b));
#else
    return td_v16_fma(a, b, acc);
#endif
}

/* 16 steps along a row, of at most PAIRS_ALONG k. */
TD_SIMD td_v16 steps_along(const bf16_source *s, int64_t at, int64_t count, const bool stored) {
#if defined(__AVX512BF16__)
    return pairs_along_at(s, at, count, stored);
#else
    return td_v16_swap_pairs(bf16_floats(s, at, count, stored));
#endif
}

/* The steps of one pair of rows, 16 columns, `apart` floats from one to the next. */
TD_SIMD void steps_across(float *to, int64_t apart, const bf16_source *s, int64_t lower,
                          int64_t upper, int64_t count, const bool stored) {
#if defined(__AVX512BF16__)
    (void)apart;
    td_v16_store(to, pairs_across_at(s, lower, upper, count, stored));
#else
    td_v16_store(to, upper >= 0 ? bf16_floats(s, upper, count, stored) : td_v16_zero());
    td_v16_store(to + apart, bf16_floats(s, lower, count, stored));
#endif
}

/* Steps of `count` consecutive k of one row, whole vectors written. */
TD_SIMD void steps_of_row(float *to, const bf16_source *s, int64_t at, int64_t count,
                          const bool stored) {
    for (int64_t k = 0; k < count; k += PAIRS_ALONG, to += TD_LANES) {
        td_v16_store(to, steps_along(s, at + k, count - k, stored));
    }
}

#endif
