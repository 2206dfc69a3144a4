/* SPDX-License-Identifier: Apache-2.0
 * Back end of simd.h on AVX2 and FMA: two registers a vector.
 */
#ifndef TD_KERNELS_SIMD_AVX2_H
#define TD_KERNELS_SIMD_AVX2_H

#include <immintrin.h>

typedef struct td_v16 {
    __m256 low, high;
} td_v16;
typedef struct td_i16 {
    __m256i low, high;
} td_i16;
typedef struct td_d16 {
    __m256d part[4];
} td_d16;
typedef struct td_m16 {
    __m256 low, high; /* all bits of a lane set, or none */
} td_m16;

/* One intrinsic for both halves. */
#define TD_BOTH_1(type, name, expr)                                                                \
    TD_SIMD type name(type a) {                                                                    \
        return (type){expr(a.low), expr(a.high)};                                                  \
    }
#define TD_BOTH_2(type, in, name, expr)                                                            \
    TD_SIMD type name(in a, in b) {                                                                \
        return (type){expr(a.low, b.low), expr(a.high, b.high)};                                   \
    }
#define TD_BOTH_3(name, expr)                                                                      \
    TD_SIMD td_v16 name(td_v16 a, td_v16 b, td_v16 c) {                                            \
        return (td_v16){expr(a.low, b.low, c.low), expr(a.high, b.high, c.high)};                  \
    }
#define TD_LT_PS(a, b)    _mm256_cmp_ps(a, b, _CMP_LT_OQ)
#define TD_LE_PS(a, b)    _mm256_cmp_ps(a, b, _CMP_LE_OQ)
#define TD_EQ_PS(a, b)    _mm256_cmp_ps(a, b, _CMP_EQ_OQ)
#define TD_LT_EPI32(a, b) _mm256_castsi256_ps(_mm256_cmpgt_epi32(b, a))
#define TD_EQ_EPI32(a, b) _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b))

TD_SIMD td_i16 td_i16_set1(int32_t x) {
    __m256i v = _mm256_set1_epi32(x);
    return (td_i16){v, v};
}

TD_SIMD td_i16 td_i16_iota(void) {
    return (td_i16){_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                    _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}

TD_BOTH_2(td_m16, td_i16, td_i16_lt, TD_LT_EPI32)
TD_BOTH_2(td_m16, td_i16, td_i16_eq, TD_EQ_EPI32)

TD_SIMD td_m16 td_m16_first(int64_t count) {
    return td_i16_lt(td_i16_iota(), td_i16_set1((int32_t)count));
}

TD_SIMD td_v16 td_v16_set1(float x) {
    __m256 v = _mm256_set1_ps(x);
    return (td_v16){v, v};
}

TD_SIMD td_v16 td_v16_load(const float *p) {
    return (td_v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

TD_SIMD void td_v16_store(float *p, td_v16 v) {
    _mm256_storeu_ps(p, v.low);
    _mm256_storeu_ps(p + 8, v.high);
}

TD_SIMD td_v16 td_v16_select(td_m16 m, td_v16 a, td_v16 b) {
    return (td_v16){_mm256_blendv_ps(b.low, a.low, m.low),
                    _mm256_blendv_ps(b.high, a.high, m.high)};
}

TD_SIMD void td_v16_stream(float *p, td_v16 v) {
    _mm256_stream_ps(p, v.low);
    _mm256_stream_ps(p + 8, v.high);
}

TD_SIMD void td_stream_fence(void) {
    _mm_sfence();
}

TD_SIMD td_v16 td_v16_load_part(const float *p, int64_t count, float fill) {
    td_m16 m = td_m16_first(count);
    td_v16 v = {_mm256_maskload_ps(p, _mm256_castps_si256(m.low)),
                _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.high))};
    return td_v16_select(m, v, td_v16_set1(fill));
}

TD_SIMD void td_v16_store_part(float *p, td_v16 v, int64_t count) {
    td_m16 m = td_m16_first(count);
    _mm256_maskstore_ps(p, _mm256_castps_si256(m.low), v.low);
    _mm256_maskstore_ps(p + 8, _mm256_castps_si256(m.high), v.high);
}

TD_BOTH_2(td_v16, td_v16, td_v16_add, _mm256_add_ps)
TD_BOTH_2(td_v16, td_v16, td_v16_sub, _mm256_sub_ps)
TD_BOTH_2(td_v16, td_v16, td_v16_mul, _mm256_mul_ps)
TD_BOTH_2(td_v16, td_v16, td_v16_div, _mm256_div_ps)
TD_BOTH_2(td_v16, td_v16, td_v16_max, _mm256_max_ps)
TD_BOTH_2(td_v16, td_v16, td_v16_min, _mm256_min_ps)
TD_BOTH_1(td_v16, td_v16_sqrt, _mm256_sqrt_ps)
TD_BOTH_3(td_v16_fma, _mm256_fmadd_ps)
TD_BOTH_3(td_v16_fnma, _mm256_fnmadd_ps)
TD_BOTH_3(td_v16_fms, _mm256_fmsub_ps)
TD_BOTH_2(td_m16, td_v16, td_v16_lt, TD_LT_PS)
TD_BOTH_2(td_m16, td_v16, td_v16_le, TD_LE_PS)
TD_BOTH_2(td_m16, td_v16, td_v16_eq, TD_EQ_PS)
TD_BOTH_2(td_m16, td_m16, td_m16_and, _mm256_and_ps)
TD_BOTH_2(td_m16, td_m16, td_m16_or, _mm256_or_ps)

TD_SIMD td_m16 td_v16_is_nan(td_v16 a) {
    return (td_m16){_mm256_cmp_ps(a.low, a.low, _CMP_UNORD_Q),
                    _mm256_cmp_ps(a.high, a.high, _CMP_UNORD_Q)};
}

TD_SIMD td_m16 td_m16_not(td_m16 a) {
    __m256 ones = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    return (td_m16){_mm256_xor_ps(a.low, ones), _mm256_xor_ps(a.high, ones)};
}

TD_SIMD uint32_t td_m16_bits(td_m16 m) {
    return (uint32_t)_mm256_movemask_ps(m.low) | (uint32_t)_mm256_movemask_ps(m.high) << 8;
}

TD_SIMD float td_v16_sum(td_v16 v) {
    __m256 eight = _mm256_add_ps(v.low, v.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

TD_SIMD float td_v16_reduce_max(td_v16 v) {
    if (td_m16_bits(td_v16_is_nan(v)) != 0) {
        return NAN;
    }
    __m256 eight = _mm256_max_ps(v.low, v.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* 16 rows to one vector in the tree of td_v16_sum, eight at a time: rows are paired so that what is
 * left of row r ends in lane r, 4 q + j being element q of group j. */
#define TD_REDUCE_ROWS(name, join)                                                                 \
    TD_SIMD __m256 name##_8(const td_v16 *v) {                                                     \
        __m256 four[4], two[2];                                                                    \
        for (int j = 0; j < 4; j++) {                                                              \
            __m256 a = join(v[j].low, v[j].high), b = join(v[j + 4].low, v[j + 4].high);           \
            four[j] =                                                                              \
                join(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));      \
        }                                                                                          \
        for (int j = 0; j < 2; j++) {                                                              \
            __m256d a = _mm256_castps_pd(four[2 * j]), b = _mm256_castps_pd(four[2 * j + 1]);      \
            two[j] = join(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)),                              \
                          _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));                             \
        }                                                                                          \
        return join(_mm256_shuffle_ps(two[0], two[1], 0x88),                                       \
                    _mm256_shuffle_ps(two[0], two[1], 0xDD));                                      \
    }                                                                                              \
    TD_SIMD td_v16 name(const td_v16 v[16]) {                                                      \
        return (td_v16){name##_8(v), name##_8(v + 8)};                                             \
    }
TD_REDUCE_ROWS(td_v16_sum_rows, _mm256_add_ps)
TD_REDUCE_ROWS(td_v16_max_rows, _mm256_max_ps)
#undef TD_REDUCE_ROWS

TD_SIMD td_i16 td_i16_load(const int32_t *p) {
    return (td_i16){_mm256_loadu_si256((const __m256i *)(const void *)p),
                    _mm256_loadu_si256((const __m256i *)(const void *)(p + 8))};
}

TD_SIMD void td_i16_store(int32_t *p, td_i16 v) {
    _mm256_storeu_si256((__m256i *)(void *)p, v.low);
    _mm256_storeu_si256((__m256i *)(void *)(p + 8), v.high);
}

TD_BOTH_2(td_i16, td_i16, td_i16_add, _mm256_add_epi32)
TD_BOTH_2(td_i16, td_i16, td_i16_sub, _mm256_sub_epi32)
TD_BOTH_2(td_i16, td_i16, td_i16_and, _mm256_and_si256)
TD_BOTH_2(td_i16, td_i16, td_i16_or, _mm256_or_si256)
TD_BOTH_2(td_i16, td_i16, td_i16_xor, _mm256_xor_si256)

TD_SIMD td_i16 td_i16_shl(td_i16 a, int bits) {
    __m128i n = _mm_cvtsi32_si128(bits);
    return (td_i16){_mm256_sll_epi32(a.low, n), _mm256_sll_epi32(a.high, n)};
}

/* Logical and arithmetic shifts to the right. */
TD_SIMD td_i16 td_i16_shr(td_i16 a, int bits) {
    __m128i n = _mm_cvtsi32_si128(bits);
    return (td_i16){_mm256_srl_epi32(a.low, n), _mm256_srl_epi32(a.high, n)};
}

TD_SIMD td_i16 td_i16_sar(td_i16 a, int bits) {
    __m128i n = _mm_cvtsi32_si128(bits);
    return (td_i16){_mm256_sra_epi32(a.low, n), _mm256_sra_epi32(a.high, n)};
}

TD_SIMD td_v16 td_i16_as_v16(td_i16 a) {
    return (td_v16){_mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high)};
}

TD_SIMD td_i16 td_v16_as_i16(td_v16 a) {
    return (td_i16){_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)};
}

TD_SIMD td_v16 td_i16_to_v16(td_i16 a) {
    return (td_v16){_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
}

TD_SIMD td_i16 td_v16_to_i16(td_v16 a) {
    return (td_i16){_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high)};
}

/* 16 unsigned 16-bit values as integers, and the low halves of integers back. */
TD_SIMD td_v16 td_v16_swap_pairs(td_v16 v) {
    return (td_v16){_mm256_permute_ps(v.low, 0xB1), _mm256_permute_ps(v.high, 0xB1)};
}

TD_SIMD td_i16 td_i16_load_u16(const uint16_t *p) {
    const __m128i *q = (const __m128i *)(const void *)p;
    return (td_i16){_mm256_cvtepu16_epi32(_mm_loadu_si128(q)),
                    _mm256_cvtepu16_epi32(_mm_loadu_si128(q + 1))};
}

TD_SIMD __m256i td_i16_low_halves(td_i16 v) {
    __m256i keep = _mm256_set1_epi32(0xFFFF);
    __m256i packed = _mm256_packus_epi32(_mm256_and_si256(v.low, keep), /* per 128-bit half */
                                         _mm256_and_si256(v.high, keep));
    return _mm256_permute4x64_epi64(packed, 0xD8);
}

TD_SIMD void td_i16_store_u16(uint16_t *p, td_i16 v) {
    _mm256_storeu_si256((__m256i *)(void *)p, td_i16_low_halves(v));
}

TD_SIMD void td_i16_stream_u16(uint16_t *p, td_i16 v) {
    _mm256_stream_si256((__m256i *)(void *)p, td_i16_low_halves(v));
}

TD_SIMD td_d16 td_d16_zero(void) {
    __m256d z = _mm256_setzero_pd();
    return (td_d16){{z, z, z, z}};
}

TD_SIMD td_d16 td_v16_to_d16(td_v16 v) {
    return (td_d16){{_mm256_cvtps_pd(_mm256_castps256_ps128(v.low)),
                     _mm256_cvtps_pd(_mm256_extractf128_ps(v.low, 1)),
                     _mm256_cvtps_pd(_mm256_castps256_ps128(v.high)),
                     _mm256_cvtps_pd(_mm256_extractf128_ps(v.high, 1))}};
}

TD_SIMD td_d16 td_d16_add(td_d16 a, td_d16 b) {
    return (td_d16){{_mm256_add_pd(a.part[0], b.part[0]), _mm256_add_pd(a.part[1], b.part[1]),
                     _mm256_add_pd(a.part[2], b.part[2]), _mm256_add_pd(a.part[3], b.part[3])}};
}

TD_SIMD double td_d16_sum(td_d16 v) {
    __m256d four =
        _mm256_add_pd(_mm256_add_pd(v.part[0], v.part[2]), _mm256_add_pd(v.part[1], v.part[3]));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

TD_SIMD void td_transpose8(float *to, int64_t to_ld, const float *from, int64_t from_ld) {
    __m256 four[2][4]; /* four[g][c]: columns c and c + 4 of rows 4g..4g + 3 */
#define TD_TRANSPOSE_ROWS(g)                                                                       \
    {                                                                                              \
        __m256 r0 = _mm256_loadu_ps(from + (4 * g) * from_ld);                                     \
        __m256 r1 = _mm256_loadu_ps(from + (4 * g + 1) * from_ld);                                 \
        __m256 r2 = _mm256_loadu_ps(from + (4 * g + 2) * from_ld);                                 \
        __m256 r3 = _mm256_loadu_ps(from + (4 * g + 3) * from_ld);                                 \
        __m256d low01 = _mm256_castps_pd(_mm256_unpacklo_ps(r0, r1));                              \
        __m256d high01 = _mm256_castps_pd(_mm256_unpackhi_ps(r0, r1));                             \
        __m256d low23 = _mm256_castps_pd(_mm256_unpacklo_ps(r2, r3));                              \
        __m256d high23 = _mm256_castps_pd(_mm256_unpackhi_ps(r2, r3));                             \
        four[g][0] = _mm256_castpd_ps(_mm256_unpacklo_pd(low01, low23));                           \
        four[g][1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low01, low23));                           \
        four[g][2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high01, high23));                         \
        four[g][3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high01, high23));                         \
    }
#define TD_TRANSPOSE_COLUMNS(c)                                                                    \
    _mm256_storeu_ps(to + (c)*to_ld, _mm256_permute2f128_ps(four[0][c], four[1][c], 0x20));        \
    _mm256_storeu_ps(to + (c + 4) * to_ld, _mm256_permute2f128_ps(four[0][c], four[1][c], 0x31));
    TD_TRANSPOSE_ROWS(0)
    TD_TRANSPOSE_ROWS(1)
    TD_TRANSPOSE_COLUMNS(0)
    TD_TRANSPOSE_COLUMNS(1)
    TD_TRANSPOSE_COLUMNS(2)
    TD_TRANSPOSE_COLUMNS(3)
#undef TD_TRANSPOSE_ROWS
#undef TD_TRANSPOSE_COLUMNS
}

TD_SIMD void td_transpose16(float *to, int64_t to_ld, const float *from, int64_t from_ld) {
    td_transpose8(to, to_ld, from, from_ld);
    td_transpose8(to + 8, to_ld, from + 8 * from_ld, from_ld);
    td_transpose8(to + 8 * to_ld, to_ld, from + 8, from_ld);
    td_transpose8(to + 8 * to_ld + 8, to_ld, from + 8 * from_ld + 8, from_ld);
}

#undef TD_BOTH_1
#undef TD_BOTH_2
#undef TD_BOTH_3
#undef TD_LT_PS
#undef TD_LE_PS
#undef TD_EQ_PS
#undef TD_LT_EPI32
#undef TD_EQ_EPI32

#endif
