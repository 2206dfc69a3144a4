/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/convert/bf16.h"
#include "kernels/kernel.h"
#include "kernels/simd.h"
#include "kernels/tiles.h"

void TD_FN(f32_to_bf16)(const td_f32_to_bf16_args *args, int64_t first, int64_t last,
                        void *scratch) {
    (void)scratch;
    int64_t i = first * TD_TILE_CONVERT, end = td_tile_end(args->n, TD_TILE_CONVERT, last);
    for (; i + TD_LANES <= end; i += TD_LANES) {
        td_v16_store_bf16(args->y + i, td_v16_load(args->x + i), TD_LANES);
    }
    if (i < end) {
        td_v16_store_bf16(args->y + i, td_v16_load_part(args->x + i, end - i, 0), end - i);
    }
}

void TD_FN(bf16_to_f32)(const td_bf16_to_f32_args *args, int64_t first, int64_t last,
                        void *scratch) {
    (void)scratch;
    int64_t i = first * TD_TILE_CONVERT, end = td_tile_end(args->n, TD_TILE_CONVERT, last);
    for (; i + TD_LANES <= end; i += TD_LANES) {
        td_i16 bits = td_i16_shl(td_i16_load_u16(args->x + i), 16);
        td_v16_store(args->y + i, td_i16_as_v16(bits));
    }
    if (i < end) {
        uint16_t part[TD_LANES] = {0};
        memcpy(part, args->x + i, (size_t)(end - i) * sizeof *part);
        td_i16 bits = td_i16_shl(td_i16_load_u16(part), 16);
        td_v16_store_part(args->y + i, td_i16_as_v16(bits), end - i);
    }
}
