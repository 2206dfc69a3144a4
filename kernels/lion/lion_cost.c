/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of Lion: p and m are read and written, g is read.
 */
#include "kernels/kernel.h"
#include "kernels/tiles.h"

int64_t td_lion_f32_tiles(const td_lion_f32_args *args) {
    return td_tiles_of(args->n, TD_TILE_FLAT);
}

double td_lion_f32_flops(const td_lion_f32_args *args) {
    return 10.0 * (double)args->n;
}

double td_lion_f32_bytes(const td_lion_f32_args *args) {
    return 20.0 * (double)args->n;
}

int64_t td_lion_f32_scratch(const td_lion_f32_args *args) {
    (void)args;
    return 0;
}
