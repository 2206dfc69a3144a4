/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of LayerNorm and its gradients.
 */
#include "kernels/kernel.h"
#include "kernels/tiles.h"
#include "kernels/tree.h"

int64_t td_layernorm_f32_tiles(const td_layernorm_f32_args *args) {
    return td_tiles_of(args->rows, TD_TILE_ROWS);
}

double td_layernorm_f32_flops(const td_layernorm_f32_args *args) {
    return 9.0 * (double)args->rows * (double)args->cols;
}

double td_layernorm_f32_bytes(const td_layernorm_f32_args *args) {
    const double row = args->y_bf16 != NULL ? 6.0 : 8.0;
    return (row * (double)args->rows + 8.0) * (double)args->cols;
}

int64_t td_layernorm_f32_scratch(const td_layernorm_f32_args *args) {
    (void)args;
    return 0;
}

int64_t td_layernorm_grad_x_f32_tiles(const td_layernorm_grad_x_f32_args *args) {
    return td_tiles_of(args->rows, TD_TILE_ROWS);
}

double td_layernorm_grad_x_f32_flops(const td_layernorm_grad_x_f32_args *args) {
    return (args->residual != NULL ? 14.0 : 13.0) * (double)args->rows * (double)args->cols;
}

double td_layernorm_grad_x_f32_bytes(const td_layernorm_grad_x_f32_args *args) {
    return (args->residual != NULL ? 16.0 : 12.0) * (double)args->rows * (double)args->cols;
}

int64_t td_layernorm_grad_x_f32_scratch(const td_layernorm_grad_x_f32_args *args) {
    (void)args;
    return 0;
}

int64_t td_layernorm_grad_w_f32_tiles(const td_layernorm_grad_w_f32_args *args) {
    return td_tiles_of(args->cols, TD_TILE_COLS);
}

double td_layernorm_grad_w_f32_flops(const td_layernorm_grad_w_f32_args *args) {
    return 5.0 * (double)args->rows * (double)args->cols;
}

double td_layernorm_grad_w_f32_bytes(const td_layernorm_grad_w_f32_args *args) {
    return 8.0 * (double)(args->rows + 1) * (double)args->cols;
}

int64_t td_layernorm_grad_w_f32_scratch(const td_layernorm_grad_w_f32_args *args) {
    return 2 * td_columns_scratch(args->cols, args->blocks);
}
