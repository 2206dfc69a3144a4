/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of elementary functions. What an element costs depends on more than its
 * FMAs, so the measure of them is time: an element is one operation.
 */
#include "kernels/kernel.h"
#include "kernels/tiles.h"

int64_t td_vmath_f32_tiles(const td_vmath_f32_args *args) {
    return td_tiles_of(args->n, TD_TILE_FLAT);
}

double td_vmath_f32_flops(const td_vmath_f32_args *args) {
    return (double)args->n;
}

double td_vmath_f32_bytes(const td_vmath_f32_args *args) {
    return 8.0 * (double)args->n;
}

int64_t td_vmath_f32_scratch(const td_vmath_f32_args *args) {
    (void)args;
    return 0;
}
