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

/* Rows of k ahead of which are asked for: the hardware does not look ahead across rows. */
enum { AMX_AHEAD = TD_AMX_STEP };

/* 16 columns, from element `at` on, of an operand that lies (k, column), `count` of k of `left`:
 * one tile of B. */
TD_SIMD void amx_rows_across(float *to, const bf16_source *s, int64_t at, int64_t cols,
                             int64_t count, int64_t left, const bool stored) {
    const int64_t ld = s->ld, ahead = left >= 2 * AMX_AHEAD ? AMX_AHEAD * ld : 0;
    if (cols >= TD_LANES && count == TD_AMX_STEP) {
        for (int64_t p = 0; p < TD_LANES; p++, to += TD_LANES, at += 2 * ld) {
            bf16_ask_for(s, at + ahead, stored);
            bf16_ask_for(s, at + ahead + ld, stored);
            td_v16_store(to, pairs_across_at(s, at, at + ld, TD_LANES, stored));
        }
        return;
    }
    for (int64_t p = 0; p < TD_LANES; p++, to += TD_LANES, at += 2 * ld) {
        td_v16_store(to, 2 * p < count ? pairs_across_at(s, at, 2 * p + 1 < count ? at + ld : -1,
                                                         cols, stored)
                                       : td_v16_zero());
    }
}

/* Panels of A that lies (m, k), tile after tile: `padded` rows from `row`, the first `rows` of
 * which there are. Row after row they would be written 2 KiB apart, to two sets of L1. */
TD_SIMD void amx_pack_a_along(float *to, int64_t stride, const bf16_source *a, int64_t row,
                              int64_t rows, int64_t padded, amx_range range, const bool stored) {
    for (int64_t i = 0; i < padded; i += TD_AMX_HALF) {
        float *tile =
            to + i / TD_AMX_SIDE * stride + range.at * TD_AMX_PANEL + i % TD_AMX_SIDE * TD_LANES;
        const int64_t there = amx_at_most(rows - i, TD_AMX_HALF);
        for (int64_t s = 0; s < amx_steps(range); s++, tile += TD_AMX_PANEL) {
            const int64_t from = (row + i) * a->ld + range.first + s * TD_AMX_STEP;
            const int64_t count = amx_count(range, s);
            for (int64_t r = 0; r < TD_AMX_HALF; r++) {
                td_v16_store(tile + r * TD_LANES,
                             r < there ? pairs_along_at(a, from + r * a->ld, count, stored)
                                       : td_v16_zero());
            }
        }
    }
}

/* The same of A that lies (k, m). */
TD_SIMD void amx_pack_a_across(float *to, int64_t stride, const bf16_source *a, int64_t row,
                               int64_t rows, int64_t padded, amx_range range, const bool stored) {
    float square[AMX_SQUARE];
    for (int64_t s = 0; s < amx_steps(range); s++) {
        int64_t k = range.first + s * TD_AMX_STEP;
        for (int64_t i = 0; i < padded; i += TD_LANES) {
            float *tile = to + i / TD_AMX_SIDE * stride + (range.at + s) * TD_AMX_PANEL +
                          i % TD_AMX_SIDE * TD_LANES;
            amx_rows_across(square, a, k * a->ld + row + (i < rows ? i : 0), rows - i,
                            amx_count(range, s), range.count - s * TD_AMX_STEP, stored);
            td_transpose16(tile, TD_LANES, square, TD_LANES);
        }
    }
}

/* `panels` panels of A, `stride` floats apart, of rows [row, row + rows). */
TD_SIMD void amx_pack_a_from(float *to, int64_t stride, const td_gemm_f32_args *args, int64_t row,
                             int64_t rows, int64_t panels, amx_range range, const bool stored) {
    const bf16_source a = bf16_source_a(args);
    if (args->a_trans) {
        amx_pack_a_across(to, stride, &a, row, rows, panels * TD_AMX_SIDE, range, stored);
    } else {
        amx_pack_a_along(to, stride, &a, row, rows, panels * TD_AMX_SIDE, range, stored);
    }
}

static inline void amx_pack_a(float *to, int64_t stride, const td_gemm_f32_args *args, int64_t row,
                              int64_t rows, int64_t panels, amx_range range) {
    if (args->a_bf16 != NULL) {
        amx_pack_a_from(to, stride, args, row, rows, panels, range, true);
    } else {
        amx_pack_a_from(to, stride, args, row, rows, panels, range, false);
    }
}

/* 16 columns of B that lies (n, k), all steps. */
TD_SIMD void amx_pack_b_along(float *to, const bf16_source *b, int64_t col, int64_t cols,
                              amx_range range, const bool stored) {
    float square[AMX_SQUARE];
    int64_t from = col * b->ld + range.first;
    for (int64_t s = 0; s < amx_steps(range); s++, from += TD_AMX_STEP, to += TD_AMX_PANEL) {
        int64_t count = amx_count(range, s);
        for (int64_t j = 0; j < TD_LANES; j++) {
            td_v16_store(square + j * TD_LANES,
                         j < cols ? pairs_along_at(b, from + j * b->ld, count, stored)
                                  : td_v16_zero());
        }
        td_transpose16(to, TD_LANES, square, TD_LANES);
    }
}

/* Columns packed together of B that lies (k, n): more would write to so many places, a multiple of
 * the page apart, that they evict one another. */
enum { AMX_COLS = 128 };

/* All panels of a strip's columns [col, col + cols), `stride` floats apart. */
TD_SIMD void amx_pack_b_from(float *to, int64_t stride, const td_gemm_f32_args *args, int64_t col,
                             int64_t cols, amx_range range, const bool stored) {
    const bf16_source b = bf16_source_b(args);
    int64_t padded = td_gemm_ceil_div(cols, TD_AMX_SIDE) * TD_AMX_SIDE;
    for (int64_t c = 0; c < padded; c += AMX_COLS) {
        int64_t end = padded < c + AMX_COLS ? padded : c + AMX_COLS;
        for (int64_t j = c; j < end && args->b_trans; j += TD_LANES) {
            amx_pack_b_along(to + j / TD_AMX_SIDE * stride + range.at * TD_AMX_PANEL +
                                 j % TD_AMX_SIDE / TD_LANES * AMX_SQUARE,
                             &b, col + (j < cols ? j : 0), cols - j, range, stored);
        }
        for (int64_t s = 0; s < amx_steps(range) && !args->b_trans; s++) {
            const int64_t from = (range.first + s * TD_AMX_STEP) * b.ld + col;
            for (int64_t j = c; j < end; j += TD_LANES) {
                amx_rows_across(to + j / TD_AMX_SIDE * stride + (range.at + s) * TD_AMX_PANEL +
                                    j % TD_AMX_SIDE / TD_LANES * AMX_SQUARE,
                                &b, from + (j < cols ? j : 0), cols - j, amx_count(range, s),
                                range.count - s * TD_AMX_STEP, stored);
            }
        }
    }
}

static inline void amx_pack_b(float *to, int64_t stride, const td_gemm_f32_args *args, int64_t col,
                              int64_t cols, amx_range range) {
    if (args->b_bf16 != NULL) {
        amx_pack_b_from(to, stride, args, col, cols, range, true);
    } else {
        amx_pack_b_from(to, stride, args, col, cols, range, false);
    }
}

#endif
