/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/convert/bf16.h"
#include "kernels/kernel.h"
#include "kernels/simd.h"
#include "kernels/stream.h"
#include "kernels/tiles.h"

void TD_FN(f32_to_bf16)(const td_f32_to_bf16_args *args, int64_t first, int64_t last,
                        void *scratch) {
    (void)scratch;
    int64_t i = first * TD_TILE_CONVERT, end = td_tile_end(args->n, TD_TILE_CONVERT, last);
    const bool streaming = td_streams(args->y, 1, args->n, sizeof *args->y);
    for (; i + TD_LANES <= end; i += TD_LANES) {
        td_ask_ahead(args->x + i, 1);
        td_v16 x = td_v16_load(args->x + i);
        if (streaming) {
            td_i16_stream_u16(args->y + i, td_v16_to_bf16(x));
        } else {
            td_v16_store_bf16(args->y + i, x, TD_LANES);
        }
    }
    td_stream_fence();
    if (i < end) {
        td_v16_store_bf16(args->y + i, td_v16_load_part(args->x + i, end - i, 0), end - i);
    }
}

void TD_FN(bf16_to_f32)(const td_bf16_to_f32_args *args, int64_t first, int64_t last,
                        void *scratch) {
    (void)scratch;
    int64_t i = first * TD_TILE_CONVERT, end = td_tile_end(args->n, TD_TILE_CONVERT, last);
    const bool streaming = td_streams(args->y, 1, args->n, sizeof *args->y);
    for (; i + TD_LANES <= end; i += TD_LANES) {
        td_ask_ahead(args->x + i, 1);
        td_v16_put(args->y + i, td_v16_load_bf16(args->x + i, TD_LANES), streaming);
    }
    td_stream_fence();
    if (i < end) {
        td_v16_store_part(args->y + i, td_v16_load_bf16(args->x + i, end - i), end - i);
    }
}
