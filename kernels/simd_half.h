/* SPDX-License-Identifier: Apache-2.0
 * Half a vector of simd.h, 8 lanes in one register, for sums that would leave half of td_v16 empty.
 * Where instructions of 512 and of 256 bits are as many a cycle it gains nothing but registers;
 * where a CPU's ports are 256 bits wide (Zen 4) it takes half as long. The functions are those of
 * td_v16, lane by lane, so every back end gives the same bits.
 */
#ifndef TD_KERNELS_SIMD_HALF_H
#define TD_KERNELS_SIMD_HALF_H

#include "kernels/simd.h"

enum { TD_HALF = TD_LANES / 2 };

#if defined(__AVX2__) && defined(__FMA__)
typedef __m256 td_v8;

TD_SIMD td_v8 td_v8_set1(float x) {
    return _mm256_set1_ps(x);
}

TD_SIMD td_v8 td_v8_load(const float *p) {
    return _mm256_loadu_ps(p);
}

TD_SIMD void td_v8_store(float *p, td_v8 v) {
    _mm256_storeu_ps(p, v);
}

TD_SIMD td_v8 td_v8_add(td_v8 a, td_v8 b) {
    return _mm256_add_ps(a, b);
}

TD_SIMD td_v8 td_v8_fma(td_v8 a, td_v8 b, td_v8 c) {
    return _mm256_fmadd_ps(a, b, c);
}
#else
typedef struct td_v8 {
    float lane[TD_HALF];
} td_v8;

TD_SIMD td_v8 td_v8_set1(float x) {
    td_v8 r;
    for (int i = 0; i < TD_HALF; i++) {
        r.lane[i] = x;
    }
    return r;
}

TD_SIMD td_v8 td_v8_load(const float *p) {
    td_v8 r;
    memcpy(&r, p, sizeof r);
    return r;
}

TD_SIMD void td_v8_store(float *p, td_v8 v) {
    memcpy(p, &v, sizeof v);
}

TD_SIMD td_v8 td_v8_add(td_v8 a, td_v8 b) {
    for (int i = 0; i < TD_HALF; i++) {
        a.lane[i] = a.lane[i] + b.lane[i];
    }
    return a;
}

TD_SIMD td_v8 td_v8_fma(td_v8 a, td_v8 b, td_v8 c) {
    for (int i = 0; i < TD_HALF; i++) {
        c.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]);
    }
    return c;
}
#endif

#endif
