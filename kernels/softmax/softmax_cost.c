/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of softmax.
 */
#include "kernels/kernel.h"
#include "kernels/tiles.h"

/* An element: maximum, difference, sum and scale, and an exponential of 9 FMAs and 2 products. */
#define SOFTMAX_FLOPS 24.0

int64_t td_softmax_f32_tiles(const td_softmax_f32_args *args) {
    return td_tiles_of(args->rows, TD_TILE_ROWS);
}

double td_softmax_f32_flops(const td_softmax_f32_args *args) {
    return SOFTMAX_FLOPS * (double)args->rows * (double)args->cols;
}

double td_softmax_f32_bytes(const td_softmax_f32_args *args) {
    return 8.0 * (double)args->rows * (double)args->cols;
}

int64_t td_softmax_f32_scratch(const td_softmax_f32_args *args) {
    (void)args;
    return 0;
}
