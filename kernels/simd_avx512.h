/* SPDX-License-Identifier: Apache-2.0
 * Back end of simd.h on AVX-512 F, DQ, BW, VL: one register a vector.
 */
#ifndef TD_KERNELS_SIMD_AVX512_H
#define TD_KERNELS_SIMD_AVX512_H

#include <immintrin.h>

typedef __m512 td_v16;
typedef __m512i td_i16;
typedef struct td_d16 {
    __m512d low, high;
} td_d16;
typedef __mmask16 td_m16;

TD_SIMD td_m16 td_m16_first(int64_t count) {
    return (td_m16)((1u << count) - 1u);
}

TD_SIMD td_v16 td_v16_set1(float x) {
    return _mm512_set1_ps(x);
}

TD_SIMD td_v16 td_v16_load(const float *p) {
    return _mm512_loadu_ps(p);
}

TD_SIMD void td_v16_store(float *p, td_v16 v) {
    _mm512_storeu_ps(p, v);
}

TD_SIMD void td_v16_stream(float *p, td_v16 v) {
    _mm512_stream_ps(p, v);
}

TD_SIMD void td_stream_fence(void) {
    _mm_sfence();
}

/* 8 floats of each of 16 rows `ld` apart, turned: to[k] holds float k of every row. */
TD_SIMD_INLINE void td_v16_turn8(td_v16 *to, const float *const *four, int64_t ld) {
    td_v16 part[2][4];
#pragma GCC unroll 2
    for (int g = 0; g < 2; g++) { /* rows 8g + r and 8g + 4 + r, so that lanes end in order */
        td_v16 v[4];
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) {
            v[r] = _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(four[2 * g] + r * ld)),
                                      _mm256_loadu_ps(four[2 * g + 1] + r * ld), 1);
        }
        const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1])),
                      b = _mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1])),
                      c = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3])),
                      d = _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3]));
        part[g][0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        part[g][1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        part[g][2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        part[g][3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        to[k] = _mm512_shuffle_f32x4(part[0][k], part[1][k], 0x88);
        to[k + 4] = _mm512_shuffle_f32x4(part[0][k], part[1][k], 0xDD);
    }
}

TD_SIMD td_v16 td_v16_load_part(const float *p, int64_t count, float fill) {
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), td_m16_first(count), p);
}

TD_SIMD void td_v16_store_part(float *p, td_v16 v, int64_t count) {
    _mm512_mask_storeu_ps(p, td_m16_first(count), v);
}

TD_SIMD td_v16 td_v16_add(td_v16 a, td_v16 b) {
    return _mm512_add_ps(a, b);
}

TD_SIMD td_v16 td_v16_sub(td_v16 a, td_v16 b) {
    return _mm512_sub_ps(a, b);
}

TD_SIMD td_v16 td_v16_mul(td_v16 a, td_v16 b) {
    return _mm512_mul_ps(a, b);
}

TD_SIMD td_v16 td_v16_div(td_v16 a, td_v16 b) {
    return _mm512_div_ps(a, b);
}

TD_SIMD td_v16 td_v16_sqrt(td_v16 a) {
    return _mm512_sqrt_ps(a);
}

TD_SIMD td_v16 td_v16_fma(td_v16 a, td_v16 b, td_v16 c) {
    return _mm512_fmadd_ps(a, b, c);
}

TD_SIMD td_v16 td_v16_fnma(td_v16 a, td_v16 b, td_v16 c) {
    return _mm512_fnmadd_ps(a, b, c);
}

TD_SIMD td_v16 td_v16_fms(td_v16 a, td_v16 b, td_v16 c) {
    return _mm512_fmsub_ps(a, b, c);
}

TD_SIMD td_v16 td_v16_max(td_v16 a, td_v16 b) {
    return _mm512_max_ps(a, b);
}

TD_SIMD td_v16 td_v16_min(td_v16 a, td_v16 b) {
    return _mm512_min_ps(a, b);
}

TD_SIMD td_m16 td_v16_lt(td_v16 a, td_v16 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

TD_SIMD td_m16 td_v16_le(td_v16 a, td_v16 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
}

TD_SIMD td_m16 td_v16_eq(td_v16 a, td_v16 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

TD_SIMD td_m16 td_v16_is_nan(td_v16 a) {
    return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
}

TD_SIMD td_m16 td_m16_and(td_m16 a, td_m16 b) {
    return (td_m16)(a & b);
}

TD_SIMD td_m16 td_m16_or(td_m16 a, td_m16 b) {
    return (td_m16)(a | b);
}

TD_SIMD td_m16 td_m16_not(td_m16 a) {
    return (td_m16)~a;
}

TD_SIMD uint32_t td_m16_bits(td_m16 m) {
    return m;
}

TD_SIMD td_v16 td_v16_select(td_m16 m, td_v16 a, td_v16 b) {
    return _mm512_mask_blend_ps(m, b, a);
}

TD_SIMD float td_v16_sum(td_v16 v) {
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

TD_SIMD float td_v16_reduce_max(td_v16 v) {
    if (td_v16_is_nan(v) != 0) {
        return NAN;
    }
    __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* 16 rows to one vector in the tree of td_v16_sum: rows are paired so that what is left of row r
 * ends in lane r, 4 q + j being element q of group j. */
#define TD_REDUCE_ROWS(name, join)                                                                 \
    TD_SIMD td_v16 name(const td_v16 v[16]) {                                                      \
        __m512 four[4], two[2];                                                                    \
        for (int j = 0; j < 4; j++) {                                                              \
            __m512 a = v[j], b = v[j + 4], c = v[j + 8], d = v[j + 12];                            \
            __m512 ab = join(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));  \
            __m512 cd = join(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xEE));  \
            four[j] =                                                                              \
                join(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));      \
        }                                                                                          \
        for (int j = 0; j < 2; j++) {                                                              \
            __m512d a = _mm512_castps_pd(four[2 * j]), b = _mm512_castps_pd(four[2 * j + 1]);      \
            two[j] = join(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),                              \
                          _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));                             \
        }                                                                                          \
        return join(_mm512_shuffle_ps(two[0], two[1], 0x88),                                       \
                    _mm512_shuffle_ps(two[0], two[1], 0xDD));                                      \
    }
TD_REDUCE_ROWS(td_v16_sum_rows, _mm512_add_ps)
TD_REDUCE_ROWS(td_v16_max_rows, _mm512_max_ps)
#undef TD_REDUCE_ROWS

/* The compiler merges the subtraction with the one that the caller has made. */
TD_SIMD td_v16 td_v16_scale(td_v16 v, td_v16 shifted) {
    return _mm512_scalef_ps(v, _mm512_sub_ps(shifted, _mm512_set1_ps(0x1.8p23f)));
}

TD_SIMD td_i16 td_i16_set1(int32_t x) {
    return _mm512_set1_epi32(x);
}

TD_SIMD td_i16 td_i16_iota(void) {
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

TD_SIMD td_i16 td_i16_load(const int32_t *p) {
    return _mm512_loadu_si512(p);
}

TD_SIMD void td_i16_store(int32_t *p, td_i16 v) {
    _mm512_storeu_si512(p, v);
}

TD_SIMD td_i16 td_i16_add(td_i16 a, td_i16 b) {
    return _mm512_add_epi32(a, b);
}

TD_SIMD td_i16 td_i16_sub(td_i16 a, td_i16 b) {
    return _mm512_sub_epi32(a, b);
}

TD_SIMD td_i16 td_i16_and(td_i16 a, td_i16 b) {
    return _mm512_and_si512(a, b);
}

TD_SIMD td_i16 td_i16_or(td_i16 a, td_i16 b) {
    return _mm512_or_si512(a, b);
}

TD_SIMD td_i16 td_i16_xor(td_i16 a, td_i16 b) {
    return _mm512_xor_si512(a, b);
}

TD_SIMD td_i16 td_i16_shl(td_i16 a, int bits) {
    return _mm512_sll_epi32(a, _mm_cvtsi32_si128(bits));
}

/* Logical and arithmetic shifts to the right. */
TD_SIMD td_i16 td_i16_shr(td_i16 a, int bits) {
    return _mm512_srl_epi32(a, _mm_cvtsi32_si128(bits));
}

TD_SIMD td_i16 td_i16_sar(td_i16 a, int bits) {
    return _mm512_sra_epi32(a, _mm_cvtsi32_si128(bits));
}

TD_SIMD td_m16 td_i16_eq(td_i16 a, td_i16 b) {
    return _mm512_cmpeq_epi32_mask(a, b);
}

TD_SIMD td_m16 td_i16_lt(td_i16 a, td_i16 b) {
    return _mm512_cmplt_epi32_mask(a, b);
}

TD_SIMD td_v16 td_i16_as_v16(td_i16 a) {
    return _mm512_castsi512_ps(a);
}

TD_SIMD td_i16 td_v16_as_i16(td_v16 a) {
    return _mm512_castps_si512(a);
}

TD_SIMD td_v16 td_i16_to_v16(td_i16 a) {
    return _mm512_cvtepi32_ps(a);
}

TD_SIMD td_i16 td_v16_to_i16(td_v16 a) {
    return _mm512_cvtps_epi32(a);
}

/* 16 unsigned 16-bit values as integers, and the low halves of integers back. */
TD_SIMD td_v16 td_v16_swap_pairs(td_v16 v) {
    return _mm512_permute_ps(v, 0xB1);
}

TD_SIMD td_i16 td_i16_load_u16(const uint16_t *p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

TD_SIMD void td_i16_store_u16(uint16_t *p, td_i16 v) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(v));
}

TD_SIMD void td_i16_stream_u16(uint16_t *p, td_i16 v) {
    _mm256_stream_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(v));
}

TD_SIMD td_d16 td_d16_zero(void) {
    return (td_d16){_mm512_setzero_pd(), _mm512_setzero_pd()};
}

TD_SIMD td_d16 td_v16_to_d16(td_v16 v) {
    return (td_d16){_mm512_cvtps_pd(_mm512_castps512_ps256(v)),
                    _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1))};
}

TD_SIMD td_d16 td_d16_add(td_d16 a, td_d16 b) {
    return (td_d16){_mm512_add_pd(a.low, b.low), _mm512_add_pd(a.high, b.high)};
}

TD_SIMD double td_d16_sum(td_d16 v) {
    __m512d eight = _mm512_add_pd(v.low, v.high);
    __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

TD_SIMD void td_transpose16(float *to, int64_t to_ld, const float *from, int64_t from_ld) {
    __m512 four[4][4]; /* four[g][c]: columns c, c + 4, c + 8, c + 12 of rows 4g..4g + 3, a column
                          per 128 bits */
#define TD_TRANSPOSE_ROWS(g)                                                                       \
    {                                                                                              \
        __m512 r0 = _mm512_loadu_ps(from + (4 * g) * from_ld);                                     \
        __m512 r1 = _mm512_loadu_ps(from + (4 * g + 1) * from_ld);                                 \
        __m512 r2 = _mm512_loadu_ps(from + (4 * g + 2) * from_ld);                                 \
        __m512 r3 = _mm512_loadu_ps(from + (4 * g + 3) * from_ld);                                 \
        __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(r0, r1));                              \
        __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(r0, r1));                             \
        __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(r2, r3));                              \
        __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(r2, r3));                             \
        four[g][0] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));                           \
        four[g][1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));                           \
        four[g][2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23));                         \
        four[g][3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23));                         \
    }
#define TD_TRANSPOSE_COLUMNS(c)                                                                    \
    {                                                                                              \
        __m512 even01 = _mm512_shuffle_f32x4(four[0][c], four[1][c], 0x88);                        \
        __m512 odd01 = _mm512_shuffle_f32x4(four[0][c], four[1][c], 0xDD);                         \
        __m512 even23 = _mm512_shuffle_f32x4(four[2][c], four[3][c], 0x88);                        \
        __m512 odd23 = _mm512_shuffle_f32x4(four[2][c], four[3][c], 0xDD);                         \
        _mm512_storeu_ps(to + (c)*to_ld, _mm512_shuffle_f32x4(even01, even23, 0x88));              \
        _mm512_storeu_ps(to + (c + 4) * to_ld, _mm512_shuffle_f32x4(odd01, odd23, 0x88));          \
        _mm512_storeu_ps(to + (c + 8) * to_ld, _mm512_shuffle_f32x4(even01, even23, 0xDD));        \
        _mm512_storeu_ps(to + (c + 12) * to_ld, _mm512_shuffle_f32x4(odd01, odd23, 0xDD));         \
    }
    TD_TRANSPOSE_ROWS(0)
    TD_TRANSPOSE_ROWS(1)
    TD_TRANSPOSE_ROWS(2)
    TD_TRANSPOSE_ROWS(3)
    TD_TRANSPOSE_COLUMNS(0)
    TD_TRANSPOSE_COLUMNS(1)
    TD_TRANSPOSE_COLUMNS(2)
    TD_TRANSPOSE_COLUMNS(3)
#undef TD_TRANSPOSE_ROWS
#undef TD_TRANSPOSE_COLUMNS
}

#endif
