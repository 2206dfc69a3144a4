/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of the activation alone. exp, division and each FMA of the polynomials
 * count once per element: the erf form has 30, the sigmoid forms 22.
 */
#include "kernels/kernel.h"
#include "kernels/tiles.h"

int64_t td_gelu_f32_tiles(const td_gelu_f32_args *args) {
    return td_tiles_of(args->n, TD_TILE_FLAT);
}

double td_gelu_f32_flops(const td_gelu_f32_args *args) {
    double each = args->act == TD_ACT_GELU_ERF ? 30 : args->act == TD_ACT_NONE ? 0 : 22;
    return (each + (args->dy == NULL ? 1 : 4)) * (double)args->n;
}

double td_gelu_f32_bytes(const td_gelu_f32_args *args) {
    const double x = args->x_bf16 != NULL ? 2.0 : 4.0, y = args->y_bf16 != NULL ? 2.0 : 4.0;
    return (x + y + (args->dy == NULL ? 0.0 : 4.0)) * (double)args->n;
}

int64_t td_gelu_f32_scratch(const td_gelu_f32_args *args) {
    (void)args;
    return 0;
}
