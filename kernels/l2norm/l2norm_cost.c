/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of L2 normalisation and its gradient.
 */
#include "kernels/kernel.h"
#include "kernels/tiles.h"

int64_t td_l2norm_f32_tiles(const td_l2norm_f32_args *args) {
    return td_tiles_of(args->rows, TD_TILE_ROWS);
}

double td_l2norm_f32_flops(const td_l2norm_f32_args *args) {
    return 3.0 * (double)args->rows * (double)args->cols;
}

double td_l2norm_f32_bytes(const td_l2norm_f32_args *args) {
    return 8.0 * (double)args->rows * (double)args->cols;
}

int64_t td_l2norm_f32_scratch(const td_l2norm_f32_args *args) {
    (void)args;
    return 0;
}

int64_t td_l2norm_grad_f32_tiles(const td_l2norm_grad_f32_args *args) {
    return td_tiles_of(args->rows, TD_TILE_ROWS);
}

double td_l2norm_grad_f32_flops(const td_l2norm_grad_f32_args *args) {
    return 5.0 * (double)args->rows * (double)args->cols;
}

double td_l2norm_grad_f32_bytes(const td_l2norm_grad_f32_args *args) {
    return 12.0 * (double)args->rows * (double)args->cols;
}

int64_t td_l2norm_grad_f32_scratch(const td_l2norm_grad_f32_args *args) {
    (void)args;
    return 0;
}
