/* SPDX-License-Identifier: Apache-2.0
 * Products of small matrices inside a kernel: attention's strips and the losses' tiles.
 *
 *   C (m, n) = A (m, k) B (k, n), or C += A B where accumulate is set
 *
 * A element (i, p) is a[i * a_row + p * a_col], so A may be a transposed view; B and C are
 * row-major. Each element is one chain of FMAs in ascending p, from zero or from C: register tiles
 * differ by ISA, results do not. No byte outside the m x n, k x n and m x k elements is touched.
 */
#ifndef TD_KERNELS_PRODUCT_H
#define TD_KERNELS_PRODUCT_H

#include "kernels/simd.h"

typedef struct td_product {
    int64_t m, n, k;
    const float *a;
    int64_t a_row, a_col;
    const float *b;
    int64_t ldb;
    float *c;
    int64_t ldc;
    bool accumulate;
} td_product;

/* 6 x 4 vectors: 24 accumulators, 4 of B and a broadcast fit 32 registers. AVX2 holds a vector in
 * two registers of 16: 6 x 1 is 12 accumulators, 2 of B and a broadcast. */
#if defined(__AVX512F__)
enum { TD_PRODUCT_ROWS = 6, TD_PRODUCT_VECTORS = 4 };
#elif defined(__AVX2__)
enum { TD_PRODUCT_ROWS = 6, TD_PRODUCT_VECTORS = 1 };
#else
enum { TD_PRODUCT_ROWS = 2, TD_PRODUCT_VECTORS = 1 };
#endif

/* One register tile of `rows` x `vectors`; the last vector has `part` lanes. */
TD_SIMD void td_product_tile(const td_product *p, const int rows, const int vectors,
                             const bool whole, int64_t part, int64_t i, int64_t j) {
    td_v16 sum[TD_PRODUCT_ROWS][TD_PRODUCT_VECTORS];
    float *c = p->c + i * p->ldc + j;
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const float *at = c + r * p->ldc + v * TD_LANES;
            sum[r][v] = !p->accumulate             ? td_v16_zero()
                        : whole || v + 1 < vectors ? td_v16_load(at)
                                                   : td_v16_load_part(at, part, 0);
        }
    }
    const float *a = p->a + i * p->a_row, *b = p->b + j;
    for (int64_t q = 0; q < p->k; q++, a += p->a_col, b += p->ldb) {
        td_v16 right[TD_PRODUCT_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            right[v] = whole || v + 1 < vectors ? td_v16_load(b + v * TD_LANES)
                                                : td_v16_load_part(b + v * TD_LANES, part, 0);
        }
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            td_v16 left = td_v16_set1(a[r * p->a_row]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                sum[r][v] = td_v16_fma(left, right[v], sum[r][v]);
            }
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            float *at = c + r * p->ldc + v * TD_LANES;
            if (whole || v + 1 < vectors) {
                td_v16_store(at, sum[r][v]);
            } else {
                td_v16_store_part(at, sum[r][v], part);
            }
        }
    }
}

/* All rows of one column strip, in equal heights: 16 rows are 6, 5, 5 rather than 6, 6, 4. */
TD_SIMD void td_product_strip(const td_product *p, const int vectors, const bool whole,
                              int64_t part, int64_t j) {
    int64_t blocks = (p->m + TD_PRODUCT_ROWS - 1) / TD_PRODUCT_ROWS;
    for (int64_t block = 0; block < blocks; block++) {
        int64_t i = p->m * block / blocks, rows = p->m * (block + 1) / blocks - i;
        switch (rows) {
#if defined(__AVX2__)
        case 6:
            td_product_tile(p, 6, vectors, whole, part, i, j);
            break;
        case 5:
            td_product_tile(p, 5, vectors, whole, part, i, j);
            break;
        case 4:
            td_product_tile(p, 4, vectors, whole, part, i, j);
            break;
        case 3:
            td_product_tile(p, 3, vectors, whole, part, i, j);
            break;
#endif
        case 2:
            td_product_tile(p, 2, vectors, whole, part, i, j);
            break;
        default:
            td_product_tile(p, 1, vectors, whole, part, i, j);
        }
    }
}

/* Not inlined: its tiles are 12 to 24 unrolled loops, shared by every product of a file. */
static __attribute__((noinline)) void td_product_run(const td_product *p) {
    int64_t j = 0;
    for (; j + TD_PRODUCT_VECTORS * TD_LANES <= p->n; j += TD_PRODUCT_VECTORS * TD_LANES) {
        td_product_strip(p, TD_PRODUCT_VECTORS, true, TD_LANES, j);
    }
#if defined(__AVX512F__)
    if (j + 2 * TD_LANES <= p->n) {
        td_product_strip(p, 2, true, TD_LANES, j);
        j += 2 * TD_LANES;
    }
    if (j + TD_LANES <= p->n) {
        td_product_strip(p, 1, true, TD_LANES, j);
        j += TD_LANES;
    }
#endif
    if (j < p->n) {
        td_product_strip(p, 1, false, p->n - j, j);
    }
}

/* to (cols, ld) = the transpose of from (rows, cols), zero from row `rows` to the next multiple of
 * 16; ld is at least that multiple. */
TD_SIMD void td_product_transpose(float *to, int64_t ld, const float *from, int64_t from_ld,
                                  int64_t rows, int64_t cols) {
    int64_t i = 0;
    for (; i + TD_LANES <= rows; i += TD_LANES) {
        int64_t c = 0;
        for (; c + TD_LANES <= cols; c += TD_LANES) {
            td_transpose16(to + c * ld + i, ld, from + i * from_ld + c, from_ld);
        }
        for (; c < cols; c++) {
            for (int64_t r = 0; r < TD_LANES; r++) {
                to[c * ld + i + r] = from[(i + r) * from_ld + c];
            }
        }
    }
    if (i < rows) {
        for (int64_t c = 0; c < cols; c++) {
            for (int64_t r = 0; r < TD_LANES; r++) {
                to[c * ld + i + r] = i + r < rows ? from[(i + r) * from_ld + c] : 0.0f;
            }
        }
    }
}

static inline int64_t td_product_pad(int64_t n) {
    return (n + TD_LANES - 1) / TD_LANES * TD_LANES;
}

#endif
