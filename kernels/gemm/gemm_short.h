/* SPDX-License-Identifier: Apache-2.0
 * Weight gradients over a few rows, like those of pooled tokens: 32 rows in 8 blocks are chains of
 * 4. A tile is so small that the whole tree over the blocks stays in registers; with tiles of 14 x
 * 32 storing and reading the partials took longer than multiplying.
 *
 * 3 x 32: 6 sums, 3 levels of 6 older ones, 2 vectors of B and a broadcast are 27 of 32 zmm, 0.83
 * loads per FMA. Six chains do not cover 2 ports x 4 cycles, but blocks do not wait for each other.
 */
#ifndef TD_KERNELS_GEMM_SHORT_H
#define TD_KERNELS_GEMM_SHORT_H

#include <string.h>

#include "kernels/gemm/gemm_loops.h"
#include "kernels/gemm/gemm_pack.h"

/* Compilers would load a vector of B again for each row. */
#if defined(TD_TILES_OF_AVX512) && defined(__AVX512F__)
#define SHORT_KEEP(vector) __asm__("" : "+v"(vector))
#else
#define SHORT_KEEP(vector) (void)(vector)
#endif

enum { SHORT_MR = 3, SHORT_L1_FLOATS = 4096 };

/* A: (k, lda); B: panels of 16 columns, b_apart floats apart; counts: k of every block. */
typedef struct short_work {
    const float *a, *b;
    int64_t lda, b_apart;
    int64_t counts[TD_GEMM_SHORT_BLOCKS];
} short_work;

/* Where a tile has got to. */
typedef struct short_at {
    const float *a, *b, *more;
    const int64_t *count;
} short_at;

typedef struct short_sums {
    td_v16 v[SHORT_MR][GEMM_NV];
} short_sums;

#define SHORT_FMA(i)                                                                               \
    if ((i) < mr) {                                                                                \
        td_v16 x = td_v16_set1(at->a[i]);                                                          \
        sums->v[i][0] = td_v16_fma(x, b0, sums->v[i][0]);                                          \
        if (nv > 1) {                                                                              \
            sums->v[i][nv - 1] = td_v16_fma(x, b1, sums->v[i][nv - 1]);                            \
        }                                                                                          \
    }
#define SHORT_EACH(i, j)                                                                           \
    _Pragma("GCC unroll 3") for (int i = 0; i < mr; i++)                                           \
        _Pragma("GCC unroll 2") for (int j = 0; j < nv; j++)

/* The next block; mr and nv are constants at each use. */
TD_SIMD_INLINE void short_chain(short_sums *sums, short_at *at, int64_t lda, const int mr,
                                const int nv) {
    SHORT_EACH(i, j) {
        sums->v[i][j] = td_v16_zero();
    }
#pragma GCC unroll 1
    for (int64_t left = *at->count++; left > 0; left--) {
        td_v16 b0 = td_v16_load(at->b), b1 = nv > 1 ? td_v16_load(at->more) : b0;
        SHORT_KEEP(b0);
        SHORT_KEEP(b1);
        SHORT_FMA(0)
        SHORT_FMA(1)
        SHORT_FMA(2)
        at->a += lda;
        at->b += TD_LANES;
        at->more += TD_LANES;
    }
}

#define SHORT_LEVEL(level, below)                                                                  \
    TD_SIMD_INLINE void short_##level(short_sums *sums, short_at *at, int64_t lda, const int mr,   \
                                      const int nv) {                                              \
        short_sums newer;                                                                          \
        below(sums, at, lda, mr, nv);                                                              \
        below(&newer, at, lda, mr, nv);                                                            \
        SHORT_EACH(i, j) {                                                                         \
            sums->v[i][j] = td_v16_add(sums->v[i][j], newer.v[i][j]);                              \
        }                                                                                          \
    }
SHORT_LEVEL(1, short_chain)
SHORT_LEVEL(2, short_1)
SHORT_LEVEL(3, short_2)

typedef void short_tile_fn(const short_work *work, gemm_place to);

#define SHORT_TILE(level, mr_, nv_)                                                                \
    static void short_tile_##level##_##mr_##_##nv_(const short_work *work, gemm_place to) {        \
        const int mr = mr_, nv = nv_;                                                              \
        short_sums sums;                                                                           \
        short_at at = {work->a, work->b, work->b + work->b_apart, work->counts};                   \
        short_##level(&sums, &at, work->lda, mr, nv);                                              \
        SHORT_EACH(i, j) {                                                                         \
            td_v16_store(to.p + i * to.ld + j * TD_LANES, sums.v[i][j]);                           \
        }                                                                                          \
    }
#define SHORT_TILES(level, nv)                                                                     \
    SHORT_TILE(level, 1, nv) SHORT_TILE(level, 2, nv) SHORT_TILE(level, 3, nv)
#define SHORT_ROW(level, nv)                                                                       \
    { short_tile_##level##_1_##nv, short_tile_##level##_2_##nv, short_tile_##level##_3_##nv }
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

/* Rows [row, row + rows) of C, at most TD_GEMM_TILE_ROWS, times packed columns from `col` of the
 * block on; work->a: those rows' part of A. */
static void short_part(const gemm_block *block, const short_work *part, int64_t row, int64_t rows,
                       int64_t col, int64_t cols) {
    const td_gemm_f32_args *args = block->args;
    const gemm_place edge = {block->scratch + block->layout.edge, GEMM_NR};
    const int level = args->k_blocks == 2 ? 1 : args->k_blocks == 4 ? 2 : 3;
    const int64_t groups = td_gemm_ceil_div(rows, SHORT_MR);
    short_work work = *part;
    for (int64_t g = 0; g < groups; g++) {
        const int64_t first = rows * g / groups, count = rows * (g + 1) / groups - first;
        work.a = part->a + first;
        for (int64_t j = 0; j < cols; j += GEMM_NR) {
            const int64_t some = cols - j < GEMM_NR ? cols - j : GEMM_NR;
            const int64_t r = row + first, c = col + j;
            const gemm_place to = {args->c + r * args->ldc + c, args->ldc};
            work.b = block->b + (c - block->col) * args->k;
            short_tiles[level - 1][some / TD_LANES - 1][count - 1](&work, block->plain ? to : edge);
            if (!block->plain) {
                gemm_finish(args, edge, r, c, count, some);
            }
        }
    }
}

/* So many columns at a time that their part of B stays in L1 beside A's; both are copied, because
 * rows of a power of two would evict one another. */
static void short_strip(gemm_block *block, int64_t row, int64_t stop, int64_t strip_end,
                        bool more) {
    (void)more;
    block->cols = strip_end - block->col;
    const td_gemm_f32_args *args = block->args;
    float *b = block->scratch + block->layout.packed_b;
    float *a = block->scratch + block->layout.panels_a;
    short_work work = {.a = a, .lda = TD_GEMM_TILE_ROWS, .b_apart = TD_LANES * args->k};
    const int64_t fit = SHORT_L1_FLOATS / args->k / GEMM_NR * GEMM_NR;
    const int64_t step = fit > GEMM_NR ? fit : GEMM_NR;
    for (int64_t i = 0; i < args->k_blocks; i++) {
        work.counts[i] = td_gemm_block_start(args, i + 1) - td_gemm_block_start(args, i);
    }
    gemm_pack_b(b, args, 0, args->k, block->col, block->cols);
    block->b = b;
    for (; row < stop; row += TD_GEMM_TILE_ROWS) {
        const int64_t rows = stop - row < TD_GEMM_TILE_ROWS ? stop - row : TD_GEMM_TILE_ROWS;
        for (int64_t p = 0; p < args->k; p++) {
            memcpy(a + p * TD_GEMM_TILE_ROWS, args->a + p * args->lda + row,
                   (size_t)rows * sizeof *a);
        }
        for (int64_t j = 0; j < block->cols; j += step) {
            short_part(block, &work, row, rows, block->col + j,
                       block->cols - j < step ? block->cols - j : step);
        }
    }
}

#endif
