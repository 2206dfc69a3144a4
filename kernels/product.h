/* SPDX-License-Identifier: Apache-2.0
 * Products of small matrices inside a kernel: attention's strips and the losses' tiles.
 *
 *   C (m, n) = A (m, k) B (k, n), or C += A B where accumulate or add is set
 *
 * A element (i, p) is a[i * a_row + p * a_col], so A may be a transposed view; B and C are
 * row-major. Each element is one chain of FMAs in ascending p, from zero, from C (accumulate), or
 * from zero and then added to C (add, which keeps long sums by parts from losing digits to one long
 * chain); a row_factor (m) multiplies the rows of the result. Register tiles differ by ISA, results
 * do not. No byte outside the m x n, k x n and m x k elements is touched.
 *
 * Triangles are exact: what lies outside of one is neither read nor multiplied by zero, so a NaN,
 * an infinity or a -0 there changes nothing. LOWER uses p <= i + diagonal, UPPER p >= i - diagonal.
 *
 * A file that defines TD_PRODUCT_PAIRS before it includes this one has products of bf16: A and B
 * are packed as the steps of pair_steps.h, k counts those, and the diagonal still counts elements.
 * Of a pair that a triangle cuts, the outer element of B is taken as zero, and A's must be zero.
 */
#ifndef TD_KERNELS_PRODUCT_H
#define TD_KERNELS_PRODUCT_H

#include "kernels/ahead.h"
#include "kernels/simd.h"
#ifdef TD_PRODUCT_PAIRS
#include "kernels/gemm_bf16/pair_steps.h"
/* Elements of a unit of k, and its steps. */
enum { TD_PRODUCT_SPAN = 2, TD_PRODUCT_STEPS = PAIR_STEPS };
#else
enum { TD_PRODUCT_SPAN = 1, TD_PRODUCT_STEPS = 1 };
#endif

typedef enum td_triangle { TD_TRIANGLE_NONE, TD_TRIANGLE_LOWER, TD_TRIANGLE_UPPER } td_triangle;

typedef struct td_product {
    int64_t m, n, k;
    const float *a;
    int64_t a_row, a_col;
    const float *b;
    int64_t ldb;
    float *c;
    int64_t ldc;
    bool accumulate, add;
    int64_t diagonal;
    const float *row_factor;
    td_ahead *ahead; /* of td_product_all with `fetch`: what to prefetch between steps */
} td_product;

/* Register tiles are up to TD_PRODUCT_VECTORS wide, and as high as gives some TD_PRODUCT_SUMS
 * accumulators: 6 x 4, 8 x 3, 8 x 2, 8 x 1. 24 accumulators, 4 vectors of B and a broadcast fit 32
 * registers, and 8 are what two pipes of 4 cycles need. AVX2 holds a vector in two registers of 16:
 * 6 x 1 is 12 accumulators, 2 of B and a broadcast. */
#if defined(TD_TILES_OF_AVX512)
enum { TD_PRODUCT_ROWS = 8, TD_PRODUCT_VECTORS = 4, TD_PRODUCT_SUMS = 24 };
#elif defined(TD_TILES_OF_AVX2)
enum { TD_PRODUCT_ROWS = 6, TD_PRODUCT_VECTORS = 1, TD_PRODUCT_SUMS = 6 };
#else
enum { TD_PRODUCT_ROWS = 2, TD_PRODUCT_VECTORS = 1, TD_PRODUCT_SUMS = 2 };
#endif

typedef struct td_product_sums {
    td_v16 at[TD_PRODUCT_ROWS][TD_PRODUCT_VECTORS];
} td_product_sums;

TD_SIMD td_v16 td_product_fma(td_v16 a, td_v16 b, td_v16 c) {
#ifdef TD_PRODUCT_PAIRS
    return pair_step(a, b, c);
#else
    return td_v16_fma(a, b, c);
#endif
}

/* What is left of step q of B for a row whose triangle takes one element of its pair: the lower one
 * of a LOWER triangle, the upper one of an UPPER. */
TD_SIMD td_v16 td_product_cut(const td_triangle triangle, int64_t q, td_v16 right) {
    const bool lower = triangle == TD_TRIANGLE_LOWER;
    if (TD_PRODUCT_SPAN > TD_PRODUCT_STEPS) {
        td_i16 mask = td_i16_set1(lower ? 0xFFFF : (int32_t)0xFFFF0000);
        return td_i16_as_v16(td_i16_and(td_v16_as_i16(right), mask));
    }
    return (q % 2 != 0) == lower ? right : td_v16_zero();
}

/* Step q of rows [low, high) of a tile at row i, column j. Whole: the last vector has 16 lanes, not
 * `part`. cut: the row that takes one element of the step's pair, if any; a constant -1 inside. */
TD_SIMD void td_product_step(const td_product *p, const td_triangle triangle, const int rows,
                             const int vectors, const bool whole, int64_t part, int64_t i,
                             int64_t j, int64_t q, int64_t low, int64_t high, int64_t cut,
                             td_product_sums *sum) {
    const float *a = p->a + i * p->a_row + q * p->a_col, *b = p->b + q * p->ldb + j;
    td_v16 right[TD_PRODUCT_VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        right[v] = whole || v + 1 < vectors ? td_v16_load(b + v * TD_LANES)
                                            : td_v16_load_part(b + v * TD_LANES, part, 0);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        if (r >= low && r < high) {
            td_v16 left = td_v16_set1(a[r * p->a_row]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                td_v16 b_v = r == cut ? td_product_cut(triangle, q, right[v]) : right[v];
                sum->at[r][v] = td_product_fma(left, b_v, sum->at[r][v]);
            }
        }
    }
}

#define TD_PRODUCT_EACH(r, v)                                                                      \
    _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++)                                         \
        _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++)

TD_SIMD td_v16 td_product_old(const float *c, int64_t ldc, const int vectors, const bool whole,
                              int64_t part, const int r, const int v) {
    const float *at = c + r * ldc + v * TD_LANES;
    return whole || v + 1 < vectors ? td_v16_load(at) : td_v16_load_part(at, part, 0);
}

TD_SIMD void td_product_load(const td_product *p, const int rows, const int vectors,
                             const bool whole, int64_t part, const float *c, td_product_sums *sum) {
    const int64_t ldc = p->ldc;
    TD_PRODUCT_EACH(r, v) {
        sum->at[r][v] = td_v16_zero();
    }
    if (p->accumulate) {
        TD_PRODUCT_EACH(r, v) {
            sum->at[r][v] = td_product_old(c, ldc, vectors, whole, part, r, v);
        }
    }
}

/* What is asked of p is asked once, before the first store: compilers must take a store of floats
 * for a store into p, and 24 vectors that each asked again took 80 cycles of a tile's 850. */
TD_SIMD void td_product_store(const td_product *p, const int rows, const int vectors,
                              const bool whole, int64_t part, int64_t i, float *c,
                              td_product_sums *sum) {
    const int64_t ldc = p->ldc;
    if (p->row_factor != NULL) {
        const float *factor = p->row_factor + i;
        TD_PRODUCT_EACH(r, v) {
            sum->at[r][v] = td_v16_mul(sum->at[r][v], td_v16_set1(factor[r]));
        }
    }
    if (p->add) {
        TD_PRODUCT_EACH(r, v) {
            td_v16 old = td_product_old(c, ldc, vectors, whole, part, r, v);
            sum->at[r][v] = td_v16_add(old, sum->at[r][v]);
        }
    }
    TD_PRODUCT_EACH(r, v) {
        float *at = c + r * ldc + v * TD_LANES;
        if (whole || v + 1 < vectors) {
            td_v16_store(at, sum->at[r][v]);
        } else {
            td_v16_store_part(at, sum->at[r][v], part);
        }
    }
}

TD_SIMD int64_t td_product_clamp(int64_t q, int64_t k) {
    return q < 0 ? 0 : q < k ? q : k;
}

/* Steps of the whole units among n elements, and the first element of a step's unit. */
TD_SIMD int64_t td_product_steps(int64_t n) {
    return n / TD_PRODUCT_SPAN * TD_PRODUCT_STEPS;
}

TD_SIMD int64_t td_product_unit(int64_t q) {
    return q / TD_PRODUCT_STEPS * TD_PRODUCT_SPAN;
}

/* One register tile: the steps in which all its rows take part, and before or after those the few
 * at a triangle's edge. */
TD_SIMD void td_product_tile(const td_product *p, const td_triangle triangle, const bool fetch,
                             const int rows, const int vectors, const bool whole, int64_t part,
                             int64_t i, int64_t j) {
    const int64_t more = TD_PRODUCT_SPAN - 1; /* elements of a unit behind its first */
    td_product_sums sum;
    float *c = p->c + i * p->ldc + j;
    int64_t first = 0, last = p->k;
    td_product_load(p, rows, vectors, whole, part, c, &sum);
    if (triangle == TD_TRIANGLE_UPPER) {
        int64_t corner = i - p->diagonal;
        first = td_product_clamp(td_product_steps(corner + rows - 1 + more), last);
        for (int64_t q = td_product_clamp(td_product_steps(corner), last); q < first; q++) {
            int64_t high = td_product_unit(q) + more - corner + 1;
            td_product_step(p, triangle, rows, vectors, whole, part, i, j, q, 0, high,
                            more > 0 ? high - 1 : -1, &sum);
        }
    }
    if (triangle == TD_TRIANGLE_LOWER) {
        last = td_product_clamp(td_product_steps(i + p->diagonal + 1), last);
    }
    td_ahead *ahead = p->ahead;
    const int64_t skips = fetch ? ahead->skips : 0;
    for (int64_t q = first; q < last; q++) {
        td_product_step(p, triangle, rows, vectors, whole, part, i, j, q, 0, rows, -1, &sum);
        if (fetch && (q & skips) == 0) {
            td_ahead_line(ahead);
        }
    }
    if (triangle == TD_TRIANGLE_LOWER) {
        int64_t corner = i + p->diagonal;
        int64_t end = td_product_clamp(td_product_steps(corner + rows + more), p->k);
        for (int64_t q = last; q < end; q++) {
            int64_t low = td_product_unit(q) - corner;
            td_product_step(p, triangle, rows, vectors, whole, part, i, j, q, low, rows,
                            more > 0 ? low : -1, &sum);
        }
    }
    td_product_store(p, rows, vectors, whole, part, i, c, &sum);
}

/* All rows of one column strip, in equal heights: 16 rows are 6, 5, 5 rather than 6, 6, 4. */
TD_SIMD void td_product_strip(const td_product *p, const td_triangle triangle, const bool fetch,
                              const int vectors, const bool whole, int64_t part, int64_t j) {
    const int fitting = TD_PRODUCT_SUMS / vectors;
    const int height = fitting < TD_PRODUCT_ROWS ? fitting : TD_PRODUCT_ROWS;
    int64_t blocks = (p->m + height - 1) / height;
    for (int64_t block = 0; block < blocks; block++) {
        int64_t i = p->m * block / blocks, rows = p->m * (block + 1) / blocks - i;
        switch (rows) {
#define TD_PRODUCT_CASE(n)                                                                         \
    case n:                                                                                        \
        td_product_tile(p, triangle, fetch, n <= height ? n : 1, vectors, whole, part, i, j);      \
        break;
#if defined(TD_TILES_OF_AVX512)
            TD_PRODUCT_CASE(8)
            TD_PRODUCT_CASE(7)
#endif
#if defined(TD_TILES_OF_AVX2)
            TD_PRODUCT_CASE(6)
            TD_PRODUCT_CASE(5)
            TD_PRODUCT_CASE(4)
            TD_PRODUCT_CASE(3)
#endif
            TD_PRODUCT_CASE(2)
#undef TD_PRODUCT_CASE
        default:
            td_product_tile(p, triangle, fetch, 1, vectors, whole, part, i, j);
        }
    }
}

/* Whole vectors in strips of equal width, 13 of them as 4, 3, 3, 3, then what is left of one. */
TD_SIMD void td_product_all(const td_product *p, const td_triangle triangle, const bool fetch) {
    int64_t whole = p->n / TD_LANES, part = p->n % TD_LANES;
    int64_t strips = (whole + TD_PRODUCT_VECTORS - 1) / TD_PRODUCT_VECTORS;
    for (int64_t strip = 0; strip < strips; strip++) {
        int64_t v = whole * strip / strips;
        switch (whole * (strip + 1) / strips - v) {
#if defined(TD_TILES_OF_AVX512)
        case 4:
            td_product_strip(p, triangle, fetch, 4, true, TD_LANES, v * TD_LANES);
            break;
        case 3:
            td_product_strip(p, triangle, fetch, 3, true, TD_LANES, v * TD_LANES);
            break;
        case 2:
            td_product_strip(p, triangle, fetch, 2, true, TD_LANES, v * TD_LANES);
            break;
#endif
        default:
            td_product_strip(p, triangle, fetch, 1, true, TD_LANES, v * TD_LANES);
        }
    }
    if (part > 0) {
        td_product_strip(p, triangle, fetch, 1, false, part, whole * TD_LANES);
    }
}

/* Not inlined: its tiles are some 30 loops, shared by every product of a file. */
static __attribute__((noinline, unused)) void td_product_run(const td_product *p) {
    td_product_all(p, TD_TRIANGLE_NONE, false);
}

/* to (cols, ld) = the transpose of from (rows, cols), zero from row `rows` to the next multiple of
 * 16; ld is at least that multiple. Edges pass through a block of their own, so that they cost what
 * whole blocks do. */
TD_SIMD void td_product_transpose(float *to, int64_t ld, const float *from, int64_t from_ld,
                                  int64_t rows, int64_t cols) {
    float edge[2][TD_LANES * TD_LANES];
    for (int64_t i = 0; i < rows; i += TD_LANES) {
        int64_t height = rows - i < TD_LANES ? rows - i : TD_LANES;
        for (int64_t c = 0; c < cols; c += TD_LANES) {
            int64_t width = cols - c < TD_LANES ? cols - c : TD_LANES;
            const float *at = from + i * from_ld + c;
            if (height == TD_LANES && width == TD_LANES) {
                td_transpose16(to + c * ld + i, ld, at, from_ld);
                continue;
            }
            for (int64_t r = 0; r < TD_LANES; r++) {
                td_v16 row =
                    r < height ? td_v16_load_part(at + r * from_ld, width, 0) : td_v16_zero();
                td_v16_store(edge[0] + r * TD_LANES, row);
            }
            td_transpose16(edge[1], TD_LANES, edge[0], TD_LANES);
            for (int64_t r = 0; r < width; r++) {
                td_v16_store(to + (c + r) * ld + i, td_v16_load(edge[1] + r * TD_LANES));
            }
        }
    }
}

static inline int64_t td_product_pad(int64_t n) {
    return (n + TD_LANES - 1) / TD_LANES * TD_LANES;
}

#endif
