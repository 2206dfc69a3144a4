/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "kernel_oracles.h"

static double bf16_value(
    uint32_t half) { /* infinity counts as 2^128, which is what rounding compares with */
    uint32_t exponent = half >> 7 & 0xFFu, mantissa = half & 0x7Fu;
    double magnitude =
        exponent == 0 ? ldexp(mantissa, -133) : ldexp(128 + mantissa, (int)exponent - 134);
    return half & 0x8000u ? -magnitude : magnitude;
}

/* The nearest of the two bf16 around a float, by distance in f64; on a tie the even one. */
static uint16_t twin_bf16(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    uint32_t down = bits >> 16, up = down + 1;
    if (isnan(x)) {
        return (uint16_t)(down | 0x40u);
    }
    if (fabsf(x) < 0x1p-126f) {
        return (uint16_t)(down & 0x8000u);
    }
    if (isinf(x)) {
        return (uint16_t)down;
    }
    double below = fabs((double)x - bf16_value(down)), above = fabs(bf16_value(up) - (double)x);
    return (uint16_t)(below < above || (below == above && down % 2 == 0) ? down : up);
}

void oracle_to_bf16(const void *before, const void *after) {
    (void)before;
    const td_f32_to_bf16_args *args = after;
    for (int64_t i = 0; i < args->n; i++) {
        uint32_t bits;
        memcpy(&bits, &args->x[i], sizeof bits);
        twin_equal("y", i, args->y[i], twin_bf16(bits));
    }
}

enum { CHUNK = 1 << 20 };

/* All of 2^32 in steps of a prime, so that every exponent and every low bit occurs. */
Test(convert, to_bf16_over_all_floats) {
    const uint32_t stride = 1009;
    uint32_t *x = td_alloc(CHUNK * sizeof *x);
    uint16_t *y = td_alloc(CHUNK * sizeof *y);
    td_f32_to_bf16_args args = {.x = (const float *)x, .y = y};
    for (uint64_t bits = 0; bits <= UINT32_MAX;) {
        for (args.n = 0; args.n < CHUNK && bits <= UINT32_MAX; bits += stride) {
            x[args.n++] = (uint32_t)bits;
        }
        twin_each_row(TD_OP_f32_to_bf16, &args, oracle_to_bf16);
    }
    td_free(x);
    td_free(y);
}

/* Around every bf16: itself, one f32 step to either side, the tie behind it and the tie's
 * neighbours. */
Test(convert, to_bf16_around_every_bf16) {
    static const uint32_t offsets[] = {0, 1, 0xFFFFFFFFu, 0x8000u, 0x7FFFu, 0x8001u};
    const int64_t n = 65536 * 6;
    uint32_t *x = td_alloc((size_t)n * sizeof *x);
    uint16_t *y = td_alloc((size_t)n * sizeof *y);
    for (int64_t i = 0; i < n; i++) {
        x[i] = ((uint32_t)(i / 6) << 16) + offsets[i % 6];
    }
    td_f32_to_bf16_args args = {.n = n, .x = (const float *)x, .y = y};
    twin_each_row(TD_OP_f32_to_bf16, &args, oracle_to_bf16);
    td_free(x);
    td_free(y);
}

void oracle_widened(const void *before, const void *after) {
    (void)before;
    const td_bf16_to_f32_args *args = after;
    for (int64_t i = 0; i < args->n; i++) {
        uint32_t bits;
        memcpy(&bits, &args->y[i], sizeof bits);
        twin_equal("bits of y", i, bits, (uint32_t)args->x[i] << 16);
    }
}

/* All 2^16, denormals and NaN included, also where denormals are flushed: widening is no
 * arithmetic. */
Test(convert, to_f32_of_every_bf16) {
    uint16_t *x = td_alloc(65536 * sizeof *x);
    float *y = td_alloc(65536 * sizeof *y);
    for (int64_t i = 0; i < 65536; i++) {
        x[i] = (uint16_t)i;
    }
    td_bf16_to_f32_args args = {.n = 65536, .x = x, .y = y};
    twin_each_row(TD_OP_bf16_to_f32, &args, oracle_widened);
    td_cpu_flush_denormals();
    twin_each_row(TD_OP_bf16_to_f32, &args, oracle_widened);
    td_free(x);
    td_free(y);
}
