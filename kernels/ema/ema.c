/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel.h"
#include "kernels/simd.h"
#include "kernels/stream.h"
#include "kernels/tiles.h"

void TD_FN(ema_f32)(const td_ema_f32_args *args, int64_t first, int64_t last, void *scratch) {
    (void)scratch;
    int64_t i = first * TD_TILE_FLAT, end = td_tile_end(args->n, TD_TILE_FLAT, last);
    td_v16 weight = td_v16_set1(*args->weight);
    for (; i + TD_LANES <= end; i += TD_LANES) {
        td_ask_ahead(args->ema + i, 2);
        td_ask_ahead(args->p + i, 2);
        td_v16 ema = td_v16_load(args->ema + i);
        td_v16 step = td_v16_sub(td_v16_load(args->p + i), ema);
        td_v16_store(args->ema + i, td_v16_fma(weight, step, ema));
    }
    if (i < end) {
        td_v16 ema = td_v16_load_part(args->ema + i, end - i, 0);
        td_v16 step = td_v16_sub(td_v16_load_part(args->p + i, end - i, 0), ema);
        td_v16_store_part(args->ema + i, td_v16_fma(weight, step, ema), end - i);
    }
}
