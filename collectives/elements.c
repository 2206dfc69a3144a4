/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/elements.h"

#include <string.h>

static inline float widen(uint16_t value) {
    uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

static inline uint16_t narrow(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    /* Rounding a NaN by adding could carry into an infinity: its top bits are kept, made quiet. */
    uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16, nan = bits >> 16 | 0x40;
    return (uint16_t)((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded);
}

void td_add_f32(float *out, const float *a, const float *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        out[i] = a[i] + b[i];
    }
}

static void accumulate_f32(float *restrict into, const float *restrict from, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        into[i] += from[i];
    }
}

static void accumulate_bf16(uint16_t *restrict into, const uint16_t *restrict from, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        into[i] = narrow(widen(into[i]) + widen(from[i]));
    }
}

void td_accumulate(void *into, const void *from, int64_t n, td_dtype dtype) {
    if (dtype == TD_BF16) {
        accumulate_bf16(into, from, n);
    } else {
        accumulate_f32(into, from, n);
    }
}

void td_widen_bf16(float *restrict out, const uint16_t *restrict in, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        out[i] = widen(in[i]);
    }
}

void td_narrow_bf16(uint16_t *restrict out, const float *restrict in, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        out[i] = narrow(in[i]);
    }
}
