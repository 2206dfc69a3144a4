/* SPDX-License-Identifier: Apache-2.0
 * Loops over elements: plain C that the compiler vectorises. Every operation is exactly rounded, so
 * the width of the vectors does not show in the result, and memory sets the pace.
 */
#ifndef TD_COLLECTIVES_ELEMENTS_H
#define TD_COLLECTIVES_ELEMENTS_H

#include <stdint.h>

#include "collectives/comm.h"

/* out = a + b; out may be a. */
void td_add_f32(float *out, const float *a, const float *b, int64_t n);

/* into += from. bf16 adds in f32 and rounds to nearest even. */
void td_accumulate(void *into, const void *from, int64_t n, td_dtype dtype);

void td_widen_bf16(float *restrict out, const uint16_t *restrict in, int64_t n);
void td_narrow_bf16(uint16_t *restrict out, const float *restrict in, int64_t n);

#endif
