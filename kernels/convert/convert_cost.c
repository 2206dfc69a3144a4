/* SPDX-License-Identifier: Apache-2.0
 * Tiles and traffic of the conversions.
 */
#include "kernels/kernel.h"
#include "kernels/tiles.h"

int64_t td_f32_to_bf16_tiles(const td_f32_to_bf16_args *args) {
    return td_tiles_of(args->n, TD_TILE_CONVERT);
}

double td_f32_to_bf16_flops(const td_f32_to_bf16_args *args) {
    (void)args;
    return 0;
}

double td_f32_to_bf16_bytes(const td_f32_to_bf16_args *args) {
    return 6.0 * (double)args->n;
}

int64_t td_f32_to_bf16_scratch(const td_f32_to_bf16_args *args) {
    (void)args;
    return 0;
}

int64_t td_bf16_to_f32_tiles(const td_bf16_to_f32_args *args) {
    return td_tiles_of(args->n, TD_TILE_CONVERT);
}

double td_bf16_to_f32_flops(const td_bf16_to_f32_args *args) {
    (void)args;
    return 0;
}

double td_bf16_to_f32_bytes(const td_bf16_to_f32_args *args) {
    return 6.0 * (double)args->n;
}

int64_t td_bf16_to_f32_scratch(const td_bf16_to_f32_args *args) {
    (void)args;
    return 0;
}
