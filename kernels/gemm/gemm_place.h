/* SPDX-License-Identifier: Apache-2.0
 * Where a register tile lies in memory.
 */
#ifndef TD_KERNELS_GEMM_PLACE_H
#define TD_KERNELS_GEMM_PLACE_H

#include <stdint.h>

/* Rows `ld` floats apart, as many columns as a register tile has. */
typedef struct gemm_place {
    float *p;
    int64_t ld;
} gemm_place;

#endif
