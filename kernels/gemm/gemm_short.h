/* SPDX-License-Identifier: Apache-2.0
 * Weight gradients over a few rows, like those of pooled tokens: 32 rows in 8 blocks are chains of
 * 4. A tile is so small that the whole tree over the blocks stays in registers; with tiles of 14 x
 * 32 storing and reading the partials took longer than multiplying.
 *
 * 3 x 32: 6 sums, 3 levels of 6 older ones, 2 vectors of B and a broadcast are 27 of 32 zmm, 0.83
 * loads per FMA; two blocks side by side need as many, because they have no level below them.
 */
#ifndef TD_KERNELS_GEMM_SHORT_H
#define TD_KERNELS_GEMM_SHORT_H

#include <string.h>

#include "kernels/gemm/gemm_loops.h"

/* What is loaded and what is joined stays in that order: compilers would load a vector of B again
 * for each row, and put joins off until both sums had to be spilled, 41 times a tile. */
#if defined(TD_TILES_OF_AVX512) && defined(__AVX512F__)
#define SHORT_KEEP(vector) __asm__ volatile("" : "+v"(vector))
#else
#define SHORT_KEEP(vector) (void)(vector)
#endif

enum { SHORT_MR = 3, SHORT_LDA = TD_GEMM_TILE_ROWS, SHORT_L1_FLOATS = 4096 };

/* A: (steps, SHORT_LDA); B as tiles read it, panels of 16 columns b_apart floats apart; counts:
 * steps of every block. */
typedef struct short_work {
    const float *a, *b;
    int64_t b_apart;
    int64_t counts[TD_GEMM_SHORT_BLOCKS];
    int64_t equal; /* what they all are; 0: they differ */
} short_work;

/* Where a tile has got to. */
typedef struct short_at {
    const float *a, *b, *more;
    const int64_t *count;
} short_at;

typedef struct short_sums {
    td_v16 v[SHORT_MR][GEMM_NV];
} short_sums;

#define SHORT_EACH(i, j)                                                                           \
    _Pragma("GCC unroll 3") for (int i = 0; i < mr; i++)                                           \
        _Pragma("GCC unroll 2") for (int j = 0; j < nv; j++)

/* *a in every lane. As an integer: Zen 4 loads and spreads that at once, where it takes a slot of
 * the units that add for a float. */
TD_SIMD td_v16 short_spread(const float *a) {
    int32_t bits;
    memcpy(&bits, a, sizeof bits);
    return td_i16_as_v16(td_i16_set1(bits));
}

/* Step `p` of the block at `at`; mr and nv are constants at each use, here and below. */
TD_SIMD_INLINE void short_step(short_sums *sums, const short_at *at, int p, const int mr,
                               const int nv) {
    const float *a = at->a + p * SHORT_LDA;
    td_v16 b[2] = {td_v16_load(at->b + p * GEMM_B_STEP), td_v16_zero()};
    if (nv > 1) {
        b[1] = td_v16_load(at->more + p * GEMM_B_STEP);
    }
    SHORT_KEEP(b[0]);
    SHORT_KEEP(b[1]);
    SHORT_EACH(i, j) {
        sums->v[i][j] = GEMM_STEP(short_spread(a + i), b[j], sums->v[i][j]);
    }
}

TD_SIMD_INLINE void short_zero(short_sums *sums, const int mr, const int nv) {
    SHORT_EACH(i, j) {
        sums->v[i][j] = td_v16_zero();
    }
}

TD_SIMD_INLINE void short_go(short_at *at, int64_t steps) {
    at->a += steps * SHORT_LDA;
    at->b += steps * GEMM_B_STEP;
    at->more += steps * GEMM_B_STEP;
}

/* sums + newer. */
TD_SIMD_INLINE void short_join(short_sums *sums, const short_sums *newer, const int mr,
                               const int nv) {
    SHORT_EACH(i, j) {
        sums->v[i][j] = td_v16_add(sums->v[i][j], newer->v[i][j]);
        SHORT_KEEP(sums->v[i][j]);
    }
}

/* The next block, of at->count steps. */
TD_SIMD_INLINE void short_chain(short_sums *sums, short_at *at, const int mr, const int nv) {
    short_zero(sums, mr, nv);
#pragma GCC unroll 1
    for (int64_t left = *at->count++; left > 0; left--) {
        short_step(sums, at, 0, mr, nv);
        short_go(at, 1);
    }
}

/* The next two blocks; steps: k of each, a constant, or 0 where at->count says it. Side by side
 * they are 12 chains where one alone is 6, which do not cover the latency of FMAs, and without a
 * loop they take 11 instructions for 6 FMAs where it takes 16. */
TD_SIMD_INLINE void short_1(short_sums *sums, short_at *at, const int mr, const int nv,
                            const int steps) {
    short_sums newer;
    if (steps > 0) {
        short_zero(sums, mr, nv);
        short_zero(&newer, mr, nv);
#pragma GCC unroll 8
        for (int p = 0; p < steps; p++) {
            short_step(sums, at, p, mr, nv);
            short_step(&newer, at, steps + p, mr, nv);
        }
        short_go(at, 2 * steps);
    } else {
        short_chain(sums, at, mr, nv);
        short_chain(&newer, at, mr, nv);
    }
    short_join(sums, &newer, mr, nv);
}

#define SHORT_LEVEL(level, below)                                                                  \
    TD_SIMD_INLINE void short_##level(short_sums *sums, short_at *at, const int mr, const int nv,  \
                                      const int steps) {                                           \
        short_sums newer;                                                                          \
        below(sums, at, mr, nv, steps);                                                            \
        below(&newer, at, mr, nv, steps);                                                          \
        short_join(sums, &newer, mr, nv);                                                          \
    }
SHORT_LEVEL(2, short_1)
SHORT_LEVEL(3, short_2)

typedef void short_tile_fn(const short_work *work, gemm_place to);

#define SHORT_TILE(level, mr_, nv_, steps)                                                         \
    static void short_tile_##level##_##mr_##_##nv_##_##steps(const short_work *work,               \
                                                             gemm_place to) {                      \
        const int mr = mr_, nv = nv_;                                                              \
        short_sums sums;                                                                           \
        short_at at = {work->a, work->b, work->b + work->b_apart, work->counts};                   \
        short_##level(&sums, &at, mr, nv, steps);                                                  \
        SHORT_EACH(i, j) {                                                                         \
            td_v16_store(to.p + i * to.ld + j * TD_LANES, sums.v[i][j]);                           \
        }                                                                                          \
    }
#define SHORT_TILES(level, nv)                                                                     \
    SHORT_TILE(level, 1, nv, 0) SHORT_TILE(level, 2, nv, 0) SHORT_TILE(level, 3, nv, 0)
#define SHORT_ROW(level, nv)                                                                       \
    {                                                                                              \
        short_tile_##level##_1_##nv##_0, short_tile_##level##_2_##nv##_0,                          \
            short_tile_##level##_3_##nv##_0                                                        \
    }
SHORT_TILES(1, 1)
SHORT_TILES(2, 1)
SHORT_TILES(3, 1)
#if defined(TD_TILES_OF_AVX512)
SHORT_TILES(1, 2)
SHORT_TILES(2, 2)
SHORT_TILES(3, 2)
#define SHORT_LEVEL_ROW(level)                                                                     \
    { SHORT_ROW(level, 1), SHORT_ROW(level, 2) }
#else
#define SHORT_LEVEL_ROW(level)                                                                     \
    { SHORT_ROW(level, 1) }
#endif

/* [level - 1][vectors - 1][rows - 1] */
static short_tile_fn *const short_tiles[3][GEMM_NV][SHORT_MR] = {
    SHORT_LEVEL_ROW(1), SHORT_LEVEL_ROW(2), SHORT_LEVEL_ROW(3)};

/* Whole tiles of 8 equal blocks; and of 4 blocks of a pair in two steps, which 8 blocks of one bf16
 * each are (pairs_join.h). */
#if defined(TD_TILES_OF_AVX512)
#define SHORT_PAIRS short_tile_2_3_2_2
SHORT_TILE(2, 3, 2, 2)
#define SHORT_WHOLE(steps) short_tile_3_3_2_##steps
SHORT_TILE(3, 3, 2, 1)
SHORT_TILE(3, 3, 2, 2)
SHORT_TILE(3, 3, 2, 4)
SHORT_TILE(3, 3, 2, 8)
#else
#define SHORT_PAIRS        short_tile_2_3_1_2
SHORT_TILE(2, 3, 1, 2)
#define SHORT_WHOLE(steps) short_tile_3_3_1_##steps
SHORT_TILE(3, 3, 1, 1)
SHORT_TILE(3, 3, 1, 2)
SHORT_TILE(3, 3, 1, 4)
SHORT_TILE(3, 3, 1, 8)
#endif

static short_tile_fn *short_tile_of(const short_work *work, int level, int64_t vectors,
                                    int64_t rows) {
    if (level == 3 && vectors == GEMM_NV && rows == SHORT_MR) {
        switch (work->equal) {
        case 1:
            return SHORT_WHOLE(1);
        case 2:
            return SHORT_WHOLE(2);
        case 4:
            return SHORT_WHOLE(4);
        case 8:
            return SHORT_WHOLE(8);
        }
    }
    if (level == 2 && vectors == GEMM_NV && rows == SHORT_MR && work->equal == 2) {
        return SHORT_PAIRS;
    }
    return short_tiles[level - 1][vectors - 1][rows - 1];
}

/* 4 blocks of one step, as joined pairs of bf16 are (pairs_join.h): a tile of 3 x 32 has 24
 * products in 101 instructions, which take as long as they do. Here A's part of so many rows stays
 * in registers for all columns: 16 vectors of it, 4 of B, and a row's tree. */
#if defined(TD_TILES_OF_AVX512) && defined(__AVX512F__)
enum { LINE_MR = 4, LINE_STEPS = 4, SHORT_HAS_LINES = (int)GEMM_B_STEP == (int)GEMM_NR };
#else
enum { LINE_MR = 1, LINE_STEPS = 4, SHORT_HAS_LINES = 0 };
#endif

/* mr is a constant at each use. */
TD_SIMD_INLINE void short_line(const short_work *work, gemm_place to, int64_t cols, const int mr) {
    td_v16 a[LINE_MR][LINE_STEPS];
#pragma GCC unroll 4
    for (int i = 0; i < mr; i++) {
#pragma GCC unroll 4
        for (int p = 0; p < LINE_STEPS; p++) {
            a[i][p] = short_spread(work->a + p * SHORT_LDA + i);
            SHORT_KEEP(a[i][p]);
        }
    }
    const td_v16 zero = td_v16_zero();
#pragma GCC unroll 1
    for (int64_t j = 0; j < cols; j += TD_LANES) {
        const float *at = work->b + j / GEMM_NR * (GEMM_NR * LINE_STEPS) + j % GEMM_NR;
        td_v16 b[LINE_STEPS];
#pragma GCC unroll 4
        for (int p = 0; p < LINE_STEPS; p++) {
            b[p] = td_v16_load(at + p * GEMM_B_STEP);
            SHORT_KEEP(b[p]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < mr; i++) {
            td_v16 older =
                td_v16_add(GEMM_STEP(a[i][0], b[0], zero), GEMM_STEP(a[i][1], b[1], zero));
            td_v16 newer =
                td_v16_add(GEMM_STEP(a[i][2], b[2], zero), GEMM_STEP(a[i][3], b[3], zero));
            td_v16_store(to.p + i * to.ld + j, td_v16_add(older, newer));
        }
    }
}

/* As short_part, of whole vectors. */
static void short_lines(const gemm_block *block, const short_work *part, int64_t row, int64_t rows,
                        int64_t col, int64_t cols) {
    const td_gemm_f32_args *args = block->args;
    short_work work = *part;
    work.b = block->b + (col - block->col) * LINE_STEPS;
    for (int64_t i = 0; i < rows;) {
        const gemm_place to = {args->c + (row + i) * args->ldc + col, args->ldc};
        work.a = part->a + i;
        if (rows - i >= LINE_MR) {
            short_line(&work, to, cols, LINE_MR);
            i += LINE_MR;
        } else {
            short_line(&work, to, cols, 1);
            i++;
        }
    }
}

/* Rows [row, row + rows) of C, at most TD_GEMM_TILE_ROWS, times packed columns from `col` of the
 * block on; work->a: those rows' part of A. */
static void short_part(const gemm_block *block, const short_work *part, int64_t row, int64_t rows,
                       int64_t col, int64_t cols) {
    const td_gemm_f32_args *args = block->args;
    const gemm_place edge = {block->scratch + block->layout.edge, GEMM_NR};
    const int level = args->k_blocks == 2 ? 1 : args->k_blocks == 4 ? 2 : 3;
    if (SHORT_HAS_LINES && level == 2 && part->equal == 1 && block->plain) {
        short_lines(block, part, row, rows, col, cols);
        return;
    }
    const int64_t groups = td_gemm_ceil_div(rows, SHORT_MR);
    short_work work = *part;
    for (int64_t g = 0; g < groups; g++) {
        const int64_t first = rows * g / groups, count = rows * (g + 1) / groups - first;
        work.a = part->a + first;
        for (int64_t j = 0; j < cols; j += GEMM_NR) {
            const int64_t some = cols - j < GEMM_NR ? cols - j : GEMM_NR;
            const int64_t r = row + first, c = col + j;
            const gemm_place to = {args->c + r * args->ldc + c, args->ldc};
            work.b = block->b + (c - block->col) * block->plan->k;
            short_tile_of(&work, level, some / TD_LANES, count)(&work, block->plain ? to : edge);
            if (!block->plain) {
                gemm_finish(args, edge, r, c, count, some);
            }
        }
    }
}

/* All steps of B's columns of the block, as tiles read them; rows [row, row + rows) of A's part,
 * (steps, SHORT_LDA). */
static void short_pack_b(const gemm_block *block, float *to);
static void short_pack_a(const gemm_block *block, int64_t row, int64_t rows, float *to);

/* So many columns at a time that their part of B stays in L1 beside A's; both are copied, because
 * rows of a power of two would evict one another. */
static void short_strip(gemm_block *block, int64_t row, int64_t stop, int64_t strip_end,
                        bool more) {
    (void)more;
    block->cols = strip_end - block->col;
    const td_gemm_f32_args *plan = block->plan;
    float *b = block->scratch + block->layout.packed_b;
    float *a = block->scratch + block->layout.panels_a;
    const bool whole = (int64_t)GEMM_B_STEP == GEMM_NR;
    short_work work = {.a = a, .b_apart = whole ? TD_LANES : TD_LANES * plan->k};
    const int64_t fit = SHORT_L1_FLOATS / plan->k / GEMM_NR * GEMM_NR;
    const int64_t step = fit > GEMM_NR ? fit : GEMM_NR;
    for (int64_t i = 0; i < plan->k_blocks; i++) {
        work.counts[i] = td_gemm_block_start(plan, i + 1) - td_gemm_block_start(plan, i);
        work.equal = i == 0 || work.equal == work.counts[i] ? work.counts[i] : 0;
    }
    short_pack_b(block, b);
    block->b = b;
    for (; row < stop; row += TD_GEMM_TILE_ROWS) {
        const int64_t rows = stop - row < TD_GEMM_TILE_ROWS ? stop - row : TD_GEMM_TILE_ROWS;
        short_pack_a(block, row, rows, a);
        for (int64_t j = 0; j < block->cols; j += step) {
            short_part(block, &work, row, rows, block->col + j,
                       block->cols - j < step ? block->cols - j : step);
        }
    }
}

#endif
