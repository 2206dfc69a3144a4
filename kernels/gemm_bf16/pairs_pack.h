/* SPDX-License-Identifier: Apache-2.0
 * Operands of gemm_bf16 as the register tiles read them, step after step.
 */
#ifndef TD_KERNELS_GEMM_BF16_PAIRS_PACK_H
#define TD_KERNELS_GEMM_BF16_PAIRS_PACK_H

#include "kernels/gemm/gemm_tile.h"
#include "kernels/gemm_bf16/pair_steps.h"

/* As in gemm_pack.h: columns taken together, rows asked for ahead. */
enum { PAIRS_COLS = 128, PAIRS_AHEAD = 8 };

/* B stored (k, n): `cols` columns of `count` rows from element `at` on, into panels `stride` apart.
 */
TD_SIMD void pairs_pack_rows(float *to, int64_t stride, const bf16_source *b, int64_t at,
                             int64_t count, int64_t cols, const bool stored) {
    const int64_t ld = b->ld;
    for (int64_t c = 0; c < cols; c += PAIRS_COLS) {
        int64_t end = cols - c < PAIRS_COLS ? cols : c + PAIRS_COLS;
        for (int64_t k = 0; k < count; k += 2) {
            int64_t lower = at + k * ld, upper = k + 1 < count ? lower + ld : -1;
            int64_t ahead = k + PAIRS_AHEAD + 1 < count ? lower + PAIRS_AHEAD * ld : lower;
            for (int64_t j = c; j < td_gemm_ceil_div(end, GEMM_NR) * GEMM_NR; j += TD_LANES) {
                int64_t panel = j / GEMM_NR, col = j < end ? j : 0;
                bf16_ask_for(b, ahead + col, stored);
                bf16_ask_for(b, ahead + (upper >= 0 ? ld : 0) + col, stored);
                steps_across(
                    to + panel * stride + k / 2 * PAIR_STEPS * GEMM_NR + (j - panel * GEMM_NR),
                    GEMM_NR, b, lower + col, upper >= 0 ? upper + col : -1, end - j, stored);
            }
        }
    }
}

/* B stored (n, k): 16 columns by 16 steps at a time are rounded, then turned. */
TD_SIMD void pairs_pack_turned(float *to, int64_t stride, const bf16_source *b, int64_t at,
                               int64_t count, int64_t cols, const bool stored) {
    float square[TD_LANES * TD_LANES], turned[TD_LANES * TD_LANES];
    int64_t steps = td_gemm_ceil_div(count, 2) * PAIR_STEPS;
    int64_t padded = td_gemm_ceil_div(cols, GEMM_NR) * GEMM_NR;
    for (int64_t j = 0; j < padded; j += TD_LANES) {
        int64_t panel = j / GEMM_NR;
        float *into = to + panel * stride + (j - panel * GEMM_NR);
        for (int64_t p = 0; p < steps; p += TD_LANES) {
            int64_t left = steps - p < TD_LANES ? steps - p : TD_LANES;
            int64_t k = p / TD_LANES * PAIRS_ALONG;
            for (int64_t i = 0; i < TD_LANES; i++) {
                td_v16_store(square + i * TD_LANES,
                             j + i < cols
                                 ? steps_along(b, at + (j + i) * b->ld + k, count - k, stored)
                                 : td_v16_zero());
            }
            if (left == TD_LANES) {
                td_transpose16(into + p * GEMM_NR, GEMM_NR, square, TD_LANES);
                continue;
            }
            td_transpose16(turned, TD_LANES, square, TD_LANES);
            for (int64_t i = 0; i < left; i++) {
                td_v16_store(into + (p + i) * GEMM_NR, td_v16_load(turned + i * TD_LANES));
            }
        }
    }
}

/* A stored (k, m), from element `from` on: panel q is columns start[q] .. start[q + 1] and goes,
 * from step `at` on, to to + q * stride, `rows` floats a step. Read and written as gemm_pack_a
 * does; `room`: columns there are. */
TD_SIMD void pairs_pack_panels(float *to, int64_t stride, int64_t at, const bf16_source *a,
                               int64_t from, int64_t count, const int64_t *start, int64_t panels,
                               int64_t room, const bool stored) {
    const int64_t ld = a->ld;
    for (int64_t k = 0; k < count; k += 2) {
        int64_t lower = from + k * ld, upper = k + 1 < count ? lower + ld : -1;
        int64_t ahead = k + PAIRS_AHEAD + 1 < count ? lower + PAIRS_AHEAD * ld : lower;
        for (int64_t q = 0; q < panels; q++) {
            int64_t first = start[q], rows = start[q + 1] - first;
            int64_t cols = room - first >= TD_LANES ? TD_LANES : rows;
            bf16_ask_for(a, ahead + first, stored);
            bf16_ask_for(a, ahead + (upper >= 0 ? ld : 0) + first, stored);
            steps_across(to + q * stride + (at + k / 2 * PAIR_STEPS) * rows, rows, a, lower + first,
                         upper >= 0 ? upper + first : -1, cols, stored);
        }
    }
}

#endif
