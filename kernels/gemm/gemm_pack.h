/* SPDX-License-Identifier: Apache-2.0
 * Operands brought into the order in which the register tiles read them.
 */
#ifndef TD_KERNELS_GEMM_PACK_H
#define TD_KERNELS_GEMM_PACK_H

#include "kernels/gemm/gemm_tile.h"

/* B stored (k, n) is copied 128 columns at a time: fewer would use a fetched row badly, more would
 * write to so many places, a multiple of the page apart, that they evict one another. Rows ahead
 * are asked for, because the hardware does not look ahead across rows. */
enum { GEMM_PACK_COLS = TD_GEMM_PACK_COLS, GEMM_PACK_AHEAD = 8, GEMM_PACK_COLUMNS_AHEAD = 64 };

/* B stored (k, n), at most GEMM_PACK_COLS columns. */
static inline void gemm_pack_rows(float *to, const float *b, int64_t ldb, int64_t k, int64_t cols) {
    for (int64_t p = 0; p < k; p++, b += ldb, to += TD_LANES) {
        const float *ahead = p + GEMM_PACK_AHEAD < k ? b + GEMM_PACK_AHEAD * ldb : b;
        for (int64_t j = 0; j < cols; j += TD_LANES) {
            __builtin_prefetch(ahead + j, 0, 3);
            td_v16_store(to + j * k, cols - j >= TD_LANES
                                         ? td_v16_load(b + j)
                                         : td_v16_load_part(b + j, cols - j, 0.0f));
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
        td_v16_store(to + p * TD_LANES, td_v16_load(turned + p * TD_LANES));
    }
}

/* B stored (n, k), one panel. */
static inline void gemm_pack_panel_turned(float *to, const float *b, int64_t ldb, int64_t k,
                                          int64_t cols) {
    int64_t p = 0;
    for (; cols == TD_LANES && p + TD_LANES <= k; p += TD_LANES) {
        for (int64_t i = 0; i < TD_LANES; i++) {
            __builtin_prefetch(b + i * ldb + p + GEMM_PACK_COLUMNS_AHEAD, 0, 3);
        }
        td_transpose16(to + p * TD_LANES, TD_LANES, b + p, ldb);
    }
    for (; p < k; p += TD_LANES) {
        int64_t some = k - p < TD_LANES ? k - p : TD_LANES;
        gemm_pack_corner(to + p * TD_LANES, b + p, ldb, some, cols);
    }
}

/* B stored (n, k), rows [k0, k0 + k) of at most 8 columns, each (k, 8), zero beyond the last one: a
 * panel of 16 would take twice the room in L1. */
static inline void gemm_pack_half(float *to, const td_gemm_f32_args *args, int64_t k0, int64_t k,
                                  int64_t cols) {
    float square[TD_LANES * TD_LANES];
    for (int64_t p = 0; p < k; p += TD_LANES) {
        const int64_t some = k - p < TD_LANES ? k - p : TD_LANES;
        gemm_pack_corner(square, args->b + k0 + p, args->ldb, some, cols);
        for (int64_t i = 0; i < some; i++) {
            td_v8_store(to + (p + i) * TD_HALF, td_v8_load(square + i * TD_LANES));
        }
    }
}

/* B's rows [k0, k0 + k) of columns [c0, c0 + cols), panel after panel of 16 columns, each (k, 16),
 * zero beyond the last column. */
static inline void gemm_pack_b(float *to, const td_gemm_f32_args *args, int64_t k0, int64_t k,
                               int64_t c0, int64_t cols) {
    if (!args->b_trans) {
        for (int64_t j = 0; j < cols; j += GEMM_PACK_COLS) {
            int64_t some = cols - j < GEMM_PACK_COLS ? cols - j : GEMM_PACK_COLS;
            gemm_pack_rows(to + j * k, args->b + k0 * args->ldb + c0 + j, args->ldb, k, some);
        }
        return;
    }
    for (int64_t j = 0; j < cols; j += TD_LANES) {
        int64_t some = cols - j < TD_LANES ? cols - j : TD_LANES;
        gemm_pack_panel_turned(to + j * k, args->b + (c0 + j) * args->ldb + k0, args->ldb, k, some);
    }
}

#endif
