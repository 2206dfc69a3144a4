/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel.h"
#include "kernels/simd.h"
#include "kernels/tiles.h"

/* The upper half of the bits, rounded to nearest even, as the AVX-512 BF16 instruction does it: a
 * denormal becomes a zero of its sign, a NaN keeps its upper payload bits and becomes quiet, the
 * largest floats round to infinity. */
TD_SIMD td_i16 to_bf16(td_v16 x) {
    td_i16 bits = td_v16_as_i16(x), high = td_i16_shr(bits, 16);
    td_i16 odd = td_i16_and(high, td_i16_set1(1));
    td_i16 rounded = td_i16_shr(td_i16_add(td_i16_add(bits, td_i16_set1(0x7FFF)), odd), 16);
    td_i16 quiet = td_i16_or(high, td_i16_set1(0x40));
    td_i16 sign = td_i16_and(high, td_i16_set1(0x8000));
    td_m16 tiny = td_i16_lt(td_i16_and(bits, td_i16_set1(INT32_MAX)), td_i16_set1(0x00800000));
    td_v16 number = td_v16_select(tiny, td_i16_as_v16(sign), td_i16_as_v16(rounded));
    return td_v16_as_i16(td_v16_select(td_v16_is_nan(x), td_i16_as_v16(quiet), number));
}

void TD_FN(f32_to_bf16)(const td_f32_to_bf16_args *args, int64_t first, int64_t last,
                        void *scratch) {
    (void)scratch;
    int64_t i = first * TD_TILE_CONVERT, end = td_tile_end(args->n, TD_TILE_CONVERT, last);
    for (; i + TD_LANES <= end; i += TD_LANES) {
        td_i16_store_u16(args->y + i, to_bf16(td_v16_load(args->x + i)));
    }
    if (i < end) {
        uint16_t part[TD_LANES];
        td_i16_store_u16(part, to_bf16(td_v16_load_part(args->x + i, end - i, 0)));
        memcpy(args->y + i, part, (size_t)(end - i) * sizeof *part);
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
