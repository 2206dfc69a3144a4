/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of the moving average: it is read and written, the weights are read.
 */
#include "kernels/kernel.h"
#include "kernels/tiles.h"

int64_t td_ema_f32_tiles(const td_ema_f32_args *args) {
    return td_tiles_of(args->n, TD_TILE_FLAT);
}

double td_ema_f32_flops(const td_ema_f32_args *args) {
    return 3.0 * (double)args->n;
}

double td_ema_f32_bytes(const td_ema_f32_args *args) {
    return 12.0 * (double)args->n;
}

int64_t td_ema_f32_scratch(const td_ema_f32_args *args) {
    (void)args;
    return 0;
}
