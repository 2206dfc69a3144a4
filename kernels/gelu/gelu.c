/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/convert/bf16.h"
#include "kernels/kernel.h"
#include "kernels/simd.h"
#include "kernels/stream.h"
#include "kernels/tiles.h"
#include "kernels/vmath.h"

TD_SIMD td_v16 gelu_lanes(const td_gelu_f32_args *args, td_v16 x, td_v16 dy) {
    return args->dy == NULL ? td_v16_act(args->act, x)
                            : td_v16_mul(dy, td_v16_act_grad(args->act, x));
}

TD_SIMD td_v16 gelu_x(const td_gelu_f32_args *args, int64_t i, int64_t count) {
    const bf16_source x = {args->x, args->x_bf16, 0};
    return bf16_read(&x, i, count, x.bf16 != NULL);
}

/* y from element i on: `count` of them, all 16 where it is a constant. */
TD_SIMD void gelu_put(const td_gelu_f32_args *args, int64_t i, td_v16 y, int64_t count,
                      const bool streaming) {
    if (args->y_bf16 != NULL) {
        td_v16_store_bf16(args->y_bf16 + i, y, count);
    } else if (count == TD_LANES) {
        td_v16_put(args->y + i, y, streaming);
    } else {
        td_v16_store_part(args->y + i, y, count);
    }
}

void TD_FN(gelu_f32)(const td_gelu_f32_args *args, int64_t first, int64_t last, void *scratch) {
    (void)scratch;
    int64_t i = first * TD_TILE_FLAT, end = td_tile_end(args->n, TD_TILE_FLAT, last);
    const bool streaming = args->y != args->x && args->y != args->dy &&
                           td_streams(args->y, 1, args->n, sizeof *args->y);
    for (; i + TD_LANES <= end; i += TD_LANES) {
        td_v16 dy = args->dy == NULL ? td_v16_zero() : td_v16_load(args->dy + i);
        gelu_put(args, i, gelu_lanes(args, gelu_x(args, i, TD_LANES), dy), TD_LANES, streaming);
    }
    td_stream_fence();
    if (i < end) {
        int64_t part = end - i;
        td_v16 dy = args->dy == NULL ? td_v16_zero() : td_v16_load_part(args->dy + i, part, 0);
        gelu_put(args, i, gelu_lanes(args, gelu_x(args, i, part), dy), part, false);
    }
}
