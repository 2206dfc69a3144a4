/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of the sums.
 */
#include "kernels/kernel.h"
#include "kernels/tiles.h"
#include "kernels/tree.h"

int64_t td_colsum_f32_tiles(const td_colsum_f32_args *args) {
    return td_tiles_of(args->cols, TD_TILE_COLS);
}

double td_colsum_f32_flops(const td_colsum_f32_args *args) {
    return (double)args->rows * (double)args->cols;
}

double td_colsum_f32_bytes(const td_colsum_f32_args *args) {
    const double each = args->x_bf16 != NULL ? 2.0 : 4.0;
    return (each * (double)args->rows + 4.0) * (double)args->cols;
}

int64_t td_colsum_f32_scratch(const td_colsum_f32_args *args) {
    return td_columns_scratch(args->cols, args->blocks);
}

int64_t td_sumsq_f32_tiles(const td_sumsq_f32_args *args) {
    return td_tiles_of(args->n, TD_TILE_FLAT);
}

double td_sumsq_f32_flops(const td_sumsq_f32_args *args) {
    return 2.0 * (double)args->n;
}

double td_sumsq_f32_bytes(const td_sumsq_f32_args *args) {
    return 4.0 * (double)args->n;
}

int64_t td_sumsq_f32_scratch(const td_sumsq_f32_args *args) {
    (void)args;
    return 0;
}
