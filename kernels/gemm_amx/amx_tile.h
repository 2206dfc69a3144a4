/* SPDX-License-Identifier: Apache-2.0
 * 32 x 32 of C during one segment of k. A step takes 32 k of both operands: for every element a
 * chain of FMAs over the products of even k and one over those of odd k, both from zero, their sum,
 * and its sum with C; each rounded to nearest even, denormals zero on the way in and out. That is
 * TDPBF16PS; rows without it do the same.
 *
 * Packed operands are hardware tiles one after the other: of A 16 rows of 16 pairs, of B 16 pairs
 * of 16 columns, two a step. A may also lie where it is stored, its rows and steps apart.
 */
#ifndef TD_KERNELS_GEMM_AMX_TILE_H
#define TD_KERNELS_GEMM_AMX_TILE_H

#include "kernels/ahead.h"
#include "kernels/gemm/gemm_place.h"
#include "kernels/gemm_amx/amx_plan.h"
#include "kernels/simd.h"

/* 32 rows of A: pairs, in floats from one row, and from one step, to the next. */
typedef struct amx_a {
    const float *p;
    int64_t row, step;
} amx_a;

typedef struct amx_work {
    int64_t steps;
    amx_a a;
    const float *b;
    gemm_place from; /* p NULL: from zero */
    gemm_place to;
    int n_older;
    gemm_place older[TD_GEMM_MAX_STACK]; /* added in order: older + value */
    td_ahead *ahead;                     /* what to ask for meanwhile, */
    int64_t lines;                       /* so many lines a step */
} amx_work;

enum { AMX_TILE = TD_AMX_HALF * TD_AMX_HALF };

#if defined(__AMX_BF16__)

/* Rows and bytes of each of the 8 tiles, palette 1. */
typedef struct amx_config {
    uint8_t palette, start, unused[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} amx_config;
_Static_assert(sizeof(amx_config) == 64, "the layout that LDTILECFG reads");

static void amx_begin(void) {
    amx_config config = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        config.row_bytes[tile] = 64;
        config.rows[tile] = TD_AMX_HALF;
    }
    _tile_loadconfig(&config);
}

/* Also tells the CPU that there is nothing to save at a context switch. */
static void amx_end(void) {
    _tile_release();
}

/* Four accumulators, two tiles of A, two of B: all eight. */
static void amx_product(const amx_work *w, gemm_place to) {
    const float *a = w->a.p, *b = w->b;
    const int64_t row_bytes = w->a.row * (int64_t)sizeof(float), half = TD_AMX_HALF * w->a.row;
    const int64_t step = w->a.step;
    const int64_t from_bytes = w->from.ld * (int64_t)sizeof(float);
    const int64_t to_bytes = to.ld * (int64_t)sizeof(float);
    __asm__ volatile("" ::: "memory"); /* the compiler does not see what tile loads read */
    if (w->from.p == NULL) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        const float *lower = w->from.p + TD_AMX_HALF * w->from.ld;
        _tile_loadd(0, w->from.p, from_bytes);
        _tile_loadd(1, w->from.p + TD_AMX_HALF, from_bytes);
        _tile_loadd(2, lower, from_bytes);
        _tile_loadd(3, lower + TD_AMX_HALF, from_bytes);
    }
    for (int64_t s = w->steps; s > 0; s--, a += step, b += TD_AMX_PANEL) {
        _tile_loadd(4, a, row_bytes);
        _tile_loadd(6, b, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + AMX_TILE, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + half, row_bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        for (int64_t l = 0; l < w->lines; l++) {
            td_ahead_line(w->ahead);
        }
    }
    float *lower = to.p + TD_AMX_HALF * to.ld;
    _tile_stored(0, to.p, to_bytes);
    _tile_stored(1, to.p + TD_AMX_HALF, to_bytes);
    _tile_stored(2, lower, to_bytes);
    _tile_stored(3, lower + TD_AMX_HALF, to_bytes);
}

#else

static void amx_begin(void) {}

static void amx_end(void) {}

/* Rows and vectors of columns that are summed together: 16 sums and 4 vectors of B in AVX-512. */
#if defined(TD_TILES_OF_AVX512)
enum { AMX_ROWS = 4, AMX_VECTORS = 2 };
#else
enum { AMX_ROWS = 2, AMX_VECTORS = 1 };
#endif

TD_SIMD td_v16 amx_even(td_v16 pairs) {
    return td_i16_as_v16(td_i16_shl(td_v16_as_i16(pairs), 16));
}

TD_SIMD td_v16 amx_odd(td_v16 pairs) {
    return td_i16_as_v16(td_i16_and(td_v16_as_i16(pairs), td_i16_set1((int32_t)0xFFFF0000)));
}

/* A pair of A for all columns; it may lie among the bf16 of a matrix. */
TD_SIMD td_v16 amx_pair(const float *a) {
    float pair;
    memcpy(&pair, a, sizeof pair);
    return td_v16_set1(pair);
}

/* One step of AMX_ROWS rows, AMX_VECTORS vectors of columns: a and b at their first pair. */
TD_SIMD void amx_step(const float *a, int64_t a_row, const float *b, float *c, int64_t ldc) {
    td_v16 even[AMX_ROWS][AMX_VECTORS], odd[AMX_ROWS][AMX_VECTORS];
#pragma GCC unroll 4
    for (int r = 0; r < AMX_ROWS; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < AMX_VECTORS; v++) {
            even[r][v] = odd[r][v] = td_v16_zero();
        }
    }
    for (int64_t p = 0; p < TD_AMX_HALF; p++) {
        td_v16 b_even[AMX_VECTORS], b_odd[AMX_VECTORS];
#pragma GCC unroll 2
        for (int v = 0; v < AMX_VECTORS; v++) {
            td_v16 pairs = td_v16_load(b + p * TD_LANES + v * AMX_TILE);
            b_even[v] = amx_even(pairs);
            b_odd[v] = amx_odd(pairs);
        }
#pragma GCC unroll 4
        for (int r = 0; r < AMX_ROWS; r++) {
            td_v16 pair = amx_pair(a + r * a_row + p);
            td_v16 a_even = amx_even(pair), a_odd = amx_odd(pair);
#pragma GCC unroll 2
            for (int v = 0; v < AMX_VECTORS; v++) {
                even[r][v] = td_v16_fma(a_even, b_even[v], even[r][v]);
                odd[r][v] = td_v16_fma(a_odd, b_odd[v], odd[r][v]);
            }
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < AMX_ROWS; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < AMX_VECTORS; v++) {
            float *at = c + r * ldc + v * TD_LANES;
            td_v16 sum = td_v16_add(even[r][v], odd[r][v]);
            td_v16_store(at, td_v16_add(td_v16_load(at), sum));
        }
    }
}

static void amx_product(const amx_work *w, gemm_place to) {
    for (int64_t i = 0; i < TD_AMX_SIDE; i++) {
        for (int64_t j = 0; j < TD_AMX_SIDE; j += TD_LANES) {
            td_v16 start =
                w->from.p == NULL ? td_v16_zero() : td_v16_load(w->from.p + i * w->from.ld + j);
            td_v16_store(to.p + i * to.ld + j, start);
        }
    }
    const float *a = w->a.p, *b = w->b;
    for (int64_t s = w->steps; s > 0; s--, a += w->a.step, b += TD_AMX_PANEL) {
        for (int64_t i = 0; i < TD_AMX_SIDE; i += AMX_ROWS) {
            for (int64_t j = 0; j < TD_AMX_SIDE; j += AMX_VECTORS * TD_LANES) {
                amx_step(a + i * w->a.row, w->a.row, b + j / TD_LANES * AMX_TILE,
                         to.p + i * to.ld + j, to.ld);
            }
        }
    }
}

#endif

/* The segment, then what older blocks left; the oldest lies where the result goes. */
static void amx_segment(const amx_work *w) {
    if (w->n_older == 0) {
        amx_product(w, w->to);
        return;
    }
    _Alignas(64) float value[TD_AMX_SIDE * TD_AMX_SIDE];
    amx_product(w, (gemm_place){value, TD_AMX_SIDE});
    for (int64_t i = 0; i < TD_AMX_SIDE; i++) {
        for (int64_t j = 0; j < TD_AMX_SIDE; j += TD_LANES) {
            td_v16 sum = td_v16_load(value + i * TD_AMX_SIDE + j);
            for (int t = 0; t < w->n_older; t++) {
                sum = td_v16_add(td_v16_load(w->older[t].p + i * w->older[t].ld + j), sum);
            }
            td_v16_store(w->to.p + i * w->to.ld + j, sum);
        }
    }
}

#endif
