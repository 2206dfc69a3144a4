/* SPDX-License-Identifier: Apache-2.0
 * f32 rounded to bf16, 16 lanes at a time.
 */
#ifndef TD_KERNELS_CONVERT_BF16_H
#define TD_KERNELS_CONVERT_BF16_H

#include "kernels/simd.h"

/* In the low half of each lane: the upper half of the bits, rounded to nearest even, as the AVX-512
 * BF16 instruction does it: a denormal becomes a zero of its sign, a NaN keeps its upper payload
 * bits and becomes quiet, the largest floats round to infinity. */
TD_SIMD td_i16 td_v16_to_bf16(td_v16 x) {
    td_i16 bits = td_v16_as_i16(x), high = td_i16_shr(bits, 16);
    td_i16 odd = td_i16_and(high, td_i16_set1(1));
    td_i16 rounded = td_i16_shr(td_i16_add(td_i16_add(bits, td_i16_set1(0x7FFF)), odd), 16);
    td_i16 quiet = td_i16_or(high, td_i16_set1(0x40));
    td_i16 sign = td_i16_and(high, td_i16_set1(0x8000));
    td_m16 tiny = td_i16_lt(td_i16_and(bits, td_i16_set1(INT32_MAX)), td_i16_set1(0x00800000));
    td_v16 number = td_v16_select(tiny, td_i16_as_v16(sign), td_i16_as_v16(rounded));
    return td_v16_as_i16(td_v16_select(td_v16_is_nan(x), td_i16_as_v16(quiet), number));
}

/* The first `count` lanes from bf16, the others zero. */
TD_SIMD td_v16 td_v16_load_bf16(const uint16_t *from, int64_t count) {
    if (count >= TD_LANES) {
        return td_i16_as_v16(td_i16_shl(td_i16_load_u16(from), 16));
    }
    uint16_t part[TD_LANES] = {0};
    if (count > 0) {
        memcpy(part, from, (size_t)count * sizeof *part);
    }
    return td_i16_as_v16(td_i16_shl(td_i16_load_u16(part), 16));
}

/* A matrix that is read. `stored`, a constant where speed matters, tells which pointer is set;
 * elements are counted from it. */
typedef struct bf16_source {
    const float *f32;
    const uint16_t *bf16;
    int64_t ld;
} bf16_source;

TD_SIMD void bf16_ask_for(const bf16_source *s, int64_t at, const bool stored) {
    if (stored) {
        __builtin_prefetch(s->bf16 + at, 0, 3);
    } else {
        __builtin_prefetch(s->f32 + at, 0, 3);
    }
}

/* At most 16 elements, zero behind them, as floats that need rounding unless stored. */
TD_SIMD td_v16 bf16_read(const bf16_source *s, int64_t at, int64_t count, const bool stored) {
    if (stored) {
        return td_v16_load_bf16(s->bf16 + at, count);
    }
    return count >= TD_LANES ? td_v16_load(s->f32 + at)
           : count > 0       ? td_v16_load_part(s->f32 + at, count, 0.0f)
                             : td_v16_zero();
}

TD_SIMD td_v16 td_v16_round_bf16(td_v16 x) {
    return td_i16_as_v16(td_i16_shl(td_v16_to_bf16(x), 16));
}

/* The first `count` lanes, rounded. */
TD_SIMD void td_v16_store_bf16(uint16_t *to, td_v16 x, int64_t count) {
    if (count >= TD_LANES) {
        td_i16_store_u16(to, td_v16_to_bf16(x));
        return;
    }
    uint16_t part[TD_LANES];
    td_i16_store_u16(part, td_v16_to_bf16(x));
    memcpy(to, part, (size_t)count * sizeof *part);
}

#endif
