/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of softmax cross-entropy: an element costs what it does in softmax.
 */
#include "kernels/kernel.h"
#include "kernels/tiles.h"

#define CROSS_ENTROPY_FLOPS 24.0

int64_t td_cross_entropy_f32_tiles(const td_cross_entropy_f32_args *args) {
    return td_tiles_of(args->rows, TD_TILE_ROWS);
}

double td_cross_entropy_f32_flops(const td_cross_entropy_f32_args *args) {
    return CROSS_ENTROPY_FLOPS * (double)args->rows * (double)args->cols;
}

double td_cross_entropy_f32_bytes(const td_cross_entropy_f32_args *args) {
    return (double)args->rows * (8 * (double)args->cols + 12);
}

int64_t td_cross_entropy_f32_scratch(const td_cross_entropy_f32_args *args) {
    (void)args;
    return 0;
}
