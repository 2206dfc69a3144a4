/* SPDX-License-Identifier: Apache-2.0
 * One register tile of gemm_f32 alone, as its loops call it: what the loops around it can reach at
 * most.
 */
#ifndef TD_KERNELS_GEMM_MICRO_H
#define TD_KERNELS_GEMM_MICRO_H

#include <stdbool.h>
#include <stdint.h>

/* c = a b, `repeat` times. a: packed (k, rows), or rows of k floats lda apart; b: panels of
 * 16 columns, (k, 16) each; c: (rows, vectors * 16). */
typedef struct td_gemm_micro {
    int rows, vectors;
    bool packed;
    int64_t k, lda, repeat;
    const float *a, *b;
    float *c;
} td_gemm_micro;

/* The largest tile of an ISA. */
typedef struct td_gemm_micro_size {
    int rows, vectors;
} td_gemm_micro_size;

typedef td_gemm_micro_size td_gemm_micro_fn(const td_gemm_micro *micro); /* NULL: only the size */
td_gemm_micro_fn td_gemm_micro__portable, td_gemm_micro__avx2, td_gemm_micro__avx512;

#endif
