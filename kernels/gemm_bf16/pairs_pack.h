/* SPDX-License-Identifier: Apache-2.0
 * f32 operands rounded to bf16 and joined in pairs along k, lower k in the low half, in the order
 * in which the register tiles read them. A pair without a second k has a zero there.
 */
#ifndef TD_KERNELS_GEMM_BF16_PAIRS_PACK_H
#define TD_KERNELS_GEMM_BF16_PAIRS_PACK_H

#include "kernels/gemm/gemm_tile.h"
#include "kernels/gemm_bf16/bf16_pairs.h"

/* As in gemm_pack.h: columns taken together, rows asked for ahead. */
enum { PAIRS_COLS = 128, PAIRS_AHEAD = 8 };

/* B stored (k, n): `cols` columns of `count` rows into panels `stride` apart. */
static inline void pairs_pack_rows(float *to, int64_t stride, const float *b, int64_t ldb,
                                   int64_t count, int64_t cols) {
    for (int64_t c = 0; c < cols; c += PAIRS_COLS) {
        int64_t end = cols - c < PAIRS_COLS ? cols : c + PAIRS_COLS;
        for (int64_t k = 0; k < count; k += 2) {
            const float *lower = b + k * ldb, *upper = k + 1 < count ? lower + ldb : NULL;
            const float *ahead = k + PAIRS_AHEAD + 1 < count ? lower + PAIRS_AHEAD * ldb : lower;
            for (int64_t j = c; j < td_gemm_ceil_div(end, GEMM_NR) * GEMM_NR; j += TD_LANES) {
                int64_t panel = j / GEMM_NR;
                td_v16 low = pairs_read(lower + (j < end ? j : 0), end - j);
                td_v16 high =
                    upper != NULL ? pairs_read(upper + (j < end ? j : 0), end - j) : td_v16_zero();
                __builtin_prefetch(ahead + (j < end ? j : 0), 0, 3);
                __builtin_prefetch(ahead + (upper != NULL ? ldb : 0) + (j < end ? j : 0), 0, 3);
                td_v16_store(to + panel * stride + k / 2 * GEMM_NR + (j - panel * GEMM_NR),
                             pairs_across(low, high));
            }
        }
    }
}

/* B stored (n, k): 16 columns by 16 pairs at a time are rounded, then turned. */
static inline void pairs_pack_turned(float *to, int64_t stride, const float *b, int64_t ldb,
                                     int64_t count, int64_t cols) {
    float square[TD_LANES * TD_LANES], turned[TD_LANES * TD_LANES];
    int64_t pairs = td_gemm_ceil_div(count, 2), padded = td_gemm_ceil_div(cols, GEMM_NR) * GEMM_NR;
    for (int64_t j = 0; j < padded; j += TD_LANES) {
        int64_t panel = j / GEMM_NR;
        float *into = to + panel * stride + (j - panel * GEMM_NR);
        for (int64_t p = 0; p < pairs; p += TD_LANES) {
            int64_t left = pairs - p < TD_LANES ? pairs - p : TD_LANES;
            int64_t some = count - 2 * p < 2 * TD_LANES ? count - 2 * p : 2 * TD_LANES;
            for (int64_t i = 0; i < TD_LANES; i++) {
                if (j + i < cols) {
                    pairs_of_row(square + i * TD_LANES, b + (j + i) * ldb + 2 * p, some);
                } else {
                    td_v16_store(square + i * TD_LANES, td_v16_zero());
                }
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

/* A stored (k, m): panel q is columns start[q] .. start[q + 1] and goes, from pair `at` on, to to +
 * q * stride, `rows` pairs a step. Read and written as gemm_pack_a does. */
static inline void pairs_pack_panels(float *to, int64_t stride, int64_t at, const float *a,
                                     int64_t lda, int64_t count, const int64_t *start,
                                     int64_t panels, int64_t room) {
    for (int64_t k = 0; k < count; k += 2) {
        const float *lower = a + k * lda, *upper = k + 1 < count ? lower + lda : NULL;
        const float *ahead = k + PAIRS_AHEAD + 1 < count ? lower + PAIRS_AHEAD * lda : lower;
        for (int64_t q = 0; q < panels; q++) {
            int64_t first = start[q], rows = start[q + 1] - first;
            int64_t cols = room - first >= TD_LANES ? TD_LANES : rows;
            td_v16 high = upper != NULL ? pairs_read(upper + first, cols) : td_v16_zero();
            __builtin_prefetch(ahead + first, 0, 3);
            __builtin_prefetch(ahead + (upper != NULL ? lda : 0) + first, 0, 3);
            td_v16_store(to + q * stride + (at + k / 2) * rows,
                         pairs_across(pairs_read(lower + first, cols), high));
        }
    }
}

#endif
