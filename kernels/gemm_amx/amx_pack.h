/* SPDX-License-Identifier: Apache-2.0
 * f32 operands rounded to bf16, as the hardware tiles of amx_tile.h. A step that has less than 32
 * k, and rows or columns that C does not have, are filled with zeros.
 */
#ifndef TD_KERNELS_GEMM_AMX_PACK_H
#define TD_KERNELS_GEMM_AMX_PACK_H

#include "kernels/gemm_amx/amx_plan.h"
#include "kernels/gemm_bf16/bf16_pairs.h"

enum { AMX_SQUARE = TD_LANES * TD_LANES };

/* Where a segment lies: `count` of k from `first`, and its steps from `at` of the pass. */
typedef struct amx_range {
    int64_t first, count, at;
} amx_range;

static inline int64_t amx_at_most(int64_t n, int64_t most) {
    return n < 0 ? 0 : n < most ? n : most;
}

static inline int64_t amx_steps(amx_range range) {
    return td_gemm_ceil_div(range.count, TD_AMX_STEP);
}

/* k of step s that the range has. */
static inline int64_t amx_count(amx_range range, int64_t s) {
    return amx_at_most(range.count - s * TD_AMX_STEP, TD_AMX_STEP);
}

/* 32 k of one row, or what is left of them. */
TD_SIMD td_v16 amx_row_along(const float *from, int64_t count) {
    if (count == TD_AMX_STEP) {
        return pairs_along(td_v16_load(from), td_v16_load(from + TD_LANES));
    }
    return pairs_along(pairs_read(from, count),
                       pairs_read(from + (count > TD_LANES ? TD_LANES : 0), count - TD_LANES));
}

/* Rows of k ahead of which are asked for: the hardware does not look ahead across rows. */
enum { AMX_AHEAD = TD_AMX_STEP };

/* 16 columns of an operand that lies (k, column), `count` of k of `left`: one tile of B. */
static inline void amx_rows_across(float *to, const float *from, int64_t ld, int64_t cols,
                                   int64_t count, int64_t left) {
    const int64_t ahead = left >= 2 * AMX_AHEAD ? AMX_AHEAD * ld : 0;
    if (cols >= TD_LANES && count == TD_AMX_STEP) {
        for (int64_t p = 0; p < TD_LANES; p++, to += TD_LANES, from += 2 * ld) {
            __builtin_prefetch(from + ahead, 0, 3);
            __builtin_prefetch(from + ahead + ld, 0, 3);
            td_v16_store(to, pairs_across(td_v16_load(from), td_v16_load(from + ld)));
        }
        return;
    }
    for (int64_t p = 0; p < TD_LANES; p++, to += TD_LANES, from += 2 * ld) {
        td_v16 low = 2 * p < count ? pairs_read(from, cols) : td_v16_zero();
        td_v16 high = 2 * p + 1 < count ? pairs_read(from + ld, cols) : td_v16_zero();
        td_v16_store(to, pairs_across(low, high));
    }
}

/* Panels of A that lies (m, k), row after row: `padded` rows from `row`, the first `rows` of which
 * there are. */
static inline void amx_pack_a_along(float *to, int64_t stride, const td_gemm_f32_args *args,
                                    int64_t row, int64_t rows, int64_t padded, amx_range range) {
    for (int64_t i = 0; i < padded; i++) {
        float *at =
            to + i / TD_AMX_SIDE * stride + range.at * TD_AMX_PANEL + i % TD_AMX_SIDE * TD_LANES;
        const float *from = args->a + (row + (i < rows ? i : 0)) * args->lda + range.first;
        for (int64_t s = 0; s < amx_steps(range); s++, at += TD_AMX_PANEL) {
            td_v16_store(at, i < rows ? amx_row_along(from + s * TD_AMX_STEP, amx_count(range, s))
                                      : td_v16_zero());
        }
    }
}

/* The same of A that lies (k, m). */
static inline void amx_pack_a_across(float *to, int64_t stride, const td_gemm_f32_args *args,
                                     int64_t row, int64_t rows, int64_t padded, amx_range range) {
    float square[AMX_SQUARE];
    for (int64_t s = 0; s < amx_steps(range); s++) {
        int64_t k = range.first + s * TD_AMX_STEP;
        for (int64_t i = 0; i < padded; i += TD_LANES) {
            float *tile = to + i / TD_AMX_SIDE * stride + (range.at + s) * TD_AMX_PANEL +
                          i % TD_AMX_SIDE * TD_LANES;
            const float *from = args->a + k * args->lda + row + (i < rows ? i : 0);
            amx_rows_across(square, from, args->lda, rows - i, amx_count(range, s),
                            range.count - s * TD_AMX_STEP);
            td_transpose16(tile, TD_LANES, square, TD_LANES);
        }
    }
}

/* `panels` panels of A, `stride` floats apart, of rows [row, row + rows). */
static inline void amx_pack_a(float *to, int64_t stride, const td_gemm_f32_args *args, int64_t row,
                              int64_t rows, int64_t panels, amx_range range) {
    if (args->a_trans) {
        amx_pack_a_across(to, stride, args, row, rows, panels * TD_AMX_SIDE, range);
    } else {
        amx_pack_a_along(to, stride, args, row, rows, panels * TD_AMX_SIDE, range);
    }
}

/* 16 columns of B that lies (n, k), all steps. */
static inline void amx_pack_b_along(float *to, const td_gemm_f32_args *args, int64_t col,
                                    int64_t cols, amx_range range) {
    float square[AMX_SQUARE];
    const float *from = args->b + col * args->ldb + range.first;
    for (int64_t s = 0; s < amx_steps(range); s++, from += TD_AMX_STEP, to += TD_AMX_PANEL) {
        int64_t count = amx_count(range, s);
        for (int64_t j = 0; j < TD_LANES; j++) {
            td_v16_store(square + j * TD_LANES,
                         j < cols ? amx_row_along(from + j * args->ldb, count) : td_v16_zero());
        }
        td_transpose16(to, TD_LANES, square, TD_LANES);
    }
}

/* Columns packed together of B that lies (k, n): more would write to so many places, a multiple of
 * the page apart, that they evict one another. */
enum { AMX_COLS = 128 };

/* All panels of a strip's columns [col, col + cols), `stride` floats apart. */
static inline void amx_pack_b(float *to, int64_t stride, const td_gemm_f32_args *args, int64_t col,
                              int64_t cols, amx_range range) {
    int64_t padded = td_gemm_ceil_div(cols, TD_AMX_SIDE) * TD_AMX_SIDE;
    for (int64_t c = 0; c < padded; c += AMX_COLS) {
        int64_t end = padded < c + AMX_COLS ? padded : c + AMX_COLS;
        for (int64_t j = c; j < end && args->b_trans; j += TD_LANES) {
            amx_pack_b_along(to + j / TD_AMX_SIDE * stride + range.at * TD_AMX_PANEL +
                                 j % TD_AMX_SIDE / TD_LANES * AMX_SQUARE,
                             args, col + (j < cols ? j : 0), cols - j, range);
        }
        for (int64_t s = 0; s < amx_steps(range) && !args->b_trans; s++) {
            const float *from = args->b + (range.first + s * TD_AMX_STEP) * args->ldb + col;
            for (int64_t j = c; j < end; j += TD_LANES) {
                amx_rows_across(to + j / TD_AMX_SIDE * stride + (range.at + s) * TD_AMX_PANEL +
                                    j % TD_AMX_SIDE / TD_LANES * AMX_SQUARE,
                                from + (j < cols ? j : 0), args->ldb, cols - j, amx_count(range, s),
                                range.count - s * TD_AMX_STEP);
            }
        }
    }
}

#endif
