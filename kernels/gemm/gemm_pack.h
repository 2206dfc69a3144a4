/* SPDX-License-Identifier: Apache-2.0
 * Operands brought into the order in which the register tiles read them.
 */
#ifndef TD_KERNELS_GEMM_PACK_H
#define TD_KERNELS_GEMM_PACK_H

#include "kernels/gemm/gemm_tile.h"

/* B stored (k, n) is copied 128 columns at a time: fewer would use a fetched row badly, more would
 * write to so many places, a multiple of the page apart, that they evict one another. Rows ahead
 * are asked for, because the hardware does not look ahead across rows. */
enum { GEMM_PACK_COLS = 128, GEMM_PACK_AHEAD = 8, GEMM_PACK_COLUMNS_AHEAD = 64 };

/* One row of one panel: `cols` columns, zero up to GEMM_NR. */
static inline void gemm_pack_row(float *to, const float *b, int64_t cols) {
    for (int v = 0; v < GEMM_NV; v++) {
        int64_t left = cols - v * TD_LANES;
        td_v16 x = left >= TD_LANES ? td_v16_load(b + v * TD_LANES)
                   : left > 0       ? td_v16_load_part(b + v * TD_LANES, left, 0.0f)
                                    : td_v16_zero();
        td_v16_store(to + v * TD_LANES, x);
    }
}

/* B stored (k, n), at most GEMM_PACK_COLS columns. */
static inline void gemm_pack_rows(float *to, const float *b, int64_t ldb, int64_t k, int64_t cols) {
    for (int64_t p = 0; p < k; p++, b += ldb, to += GEMM_NR) {
        const float *ahead = p + GEMM_PACK_AHEAD < k ? b + GEMM_PACK_AHEAD * ldb : b;
        for (int64_t j = 0; j < cols; j += GEMM_NR) {
            for (int64_t line = 0; line < GEMM_NR; line += 16) {
                __builtin_prefetch(ahead + j + line, 0, 3);
            }
            gemm_pack_row(to + j * k, b + j, cols - j);
        }
    }
}

/* A ragged block of up to 16 x 16, zero where there is nothing. */
static inline void gemm_pack_corner(float *to, const float *b, int64_t ldb, int64_t k,
                                    int64_t cols) {
    float square[TD_LANES * TD_LANES], turned[TD_LANES * TD_LANES];
    for (int64_t j = 0; j < TD_LANES; j++) {
        td_v16_store(square + j * TD_LANES,
                     j < cols ? td_v16_load_part(b + j * ldb, k, 0.0f) : td_v16_zero());
    }
    td_transpose16(turned, TD_LANES, square, TD_LANES);
    for (int64_t p = 0; p < k; p++) {
        td_v16_store(to + p * GEMM_NR, td_v16_load(turned + p * TD_LANES));
    }
}

/* B stored (n, k), one panel. */
static inline void gemm_pack_panel_turned(float *to, const float *b, int64_t ldb, int64_t k,
                                          int64_t cols) {
    for (int64_t j = 0; j < GEMM_NR; j += TD_LANES) {
        int64_t left = cols - j < TD_LANES ? cols - j : TD_LANES, p = 0;
        for (; left == TD_LANES && p + TD_LANES <= k; p += TD_LANES) {
            for (int64_t i = 0; i < TD_LANES; i++) {
                __builtin_prefetch(b + (j + i) * ldb + p + GEMM_PACK_COLUMNS_AHEAD, 0, 3);
            }
            td_transpose16(to + p * GEMM_NR + j, GEMM_NR, b + j * ldb + p, ldb);
        }
        for (; p < k; p += TD_LANES) {
            int64_t some = k - p < TD_LANES ? k - p : TD_LANES;
            gemm_pack_corner(to + p * GEMM_NR + j, left > 0 ? b + j * ldb + p : b, ldb, some, left);
        }
    }
}

/* B's rows [k0, k0 + k) of columns [c0, c0 + cols), panel after panel. */
static inline void gemm_pack_b(float *to, const td_gemm_f32_args *args, int64_t k0, int64_t k,
                               int64_t c0, int64_t cols) {
    if (!args->b_trans) {
        for (int64_t j = 0; j < cols; j += GEMM_PACK_COLS) {
            int64_t some = cols - j < GEMM_PACK_COLS ? cols - j : GEMM_PACK_COLS;
            gemm_pack_rows(to + j * k, args->b + k0 * args->ldb + c0 + j, args->ldb, k, some);
        }
        return;
    }
    for (int64_t j = 0; j < cols; j += GEMM_NR, to += k * GEMM_NR) {
        int64_t some = cols - j < GEMM_NR ? cols - j : GEMM_NR;
        gemm_pack_panel_turned(to, args->b + (c0 + j) * args->ldb + k0, args->ldb, k, some);
    }
}

#endif
