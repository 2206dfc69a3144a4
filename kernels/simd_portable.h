/* SPDX-License-Identifier: Apache-2.0
 * Back end of simd.h in plain C: what every other back end must equal. fmaf is a call where the
 * compiler may not assume FMA, so this row is slow by design: it is the reference, and the path of
 * machines without AVX2.
 */
#ifndef TD_KERNELS_SIMD_PORTABLE_H
#define TD_KERNELS_SIMD_PORTABLE_H

typedef struct td_v16 {
    float lane[16];
} td_v16;
typedef struct td_i16 {
    int32_t lane[16];
} td_i16;
typedef struct td_d16 {
    double lane[16];
} td_d16;
typedef uint32_t td_m16; /* bit i is lane i */

#define TD_EACH(i) for (int i = 0; i < 16; i++)

TD_SIMD td_v16 td_v16_set1(float x) {
    td_v16 r;
    TD_EACH(i) {
        r.lane[i] = x;
    }
    return r;
}

TD_SIMD td_v16 td_v16_load(const float *p) {
    td_v16 r;
    memcpy(&r, p, sizeof r);
    return r;
}

TD_SIMD void td_v16_store(float *p, td_v16 v) {
    memcpy(p, &v, sizeof v);
}

TD_SIMD void td_v16_stream(float *p, td_v16 v) {
    td_v16_store(p, v);
}

TD_SIMD void td_stream_fence(void) {
}

TD_SIMD td_v16 td_v16_load_part(const float *p, int64_t count, float fill) {
    td_v16 r;
    TD_EACH(i) {
        r.lane[i] = i < count ? p[i] : fill;
    }
    return r;
}

TD_SIMD void td_v16_store_part(float *p, td_v16 v, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        p[i] = v.lane[i];
    }
}

#define TD_PORTABLE_1(type, name, expr)                                                            \
    TD_SIMD type name(type a) {                                                                    \
        type r;                                                                                    \
        TD_EACH(i) {                                                                               \
            r.lane[i] = (expr);                                                                    \
        }                                                                                          \
        return r;                                                                                  \
    }
#define TD_PORTABLE_2(type, name, expr)                                                            \
    TD_SIMD type name(type a, type b) {                                                            \
        type r;                                                                                    \
        TD_EACH(i) {                                                                               \
            r.lane[i] = (expr);                                                                    \
        }                                                                                          \
        return r;                                                                                  \
    }
#define TD_PORTABLE_3(name, expr)                                                                  \
    TD_SIMD td_v16 name(td_v16 a, td_v16 b, td_v16 c) {                                            \
        td_v16 r;                                                                                  \
        TD_EACH(i) {                                                                               \
            r.lane[i] = (expr);                                                                    \
        }                                                                                          \
        return r;                                                                                  \
    }
#define TD_PORTABLE_COMPARE(name, expr)                                                            \
    TD_SIMD td_m16 name(td_v16 a, td_v16 b) {                                                      \
        td_m16 r = 0;                                                                              \
        TD_EACH(i) {                                                                               \
            r |= (td_m16)((expr) ? 1 : 0) << i;                                                    \
        }                                                                                          \
        return r;                                                                                  \
    }

TD_PORTABLE_2(td_v16, td_v16_add, a.lane[i] + b.lane[i])
TD_PORTABLE_2(td_v16, td_v16_sub, a.lane[i] - b.lane[i])
TD_PORTABLE_2(td_v16, td_v16_mul, a.lane[i] * b.lane[i])
TD_PORTABLE_2(td_v16, td_v16_div, a.lane[i] / b.lane[i])
TD_PORTABLE_2(td_v16, td_v16_max, a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i])
TD_PORTABLE_2(td_v16, td_v16_min, a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i])
TD_PORTABLE_1(td_v16, td_v16_sqrt, sqrtf(a.lane[i]))
TD_PORTABLE_3(td_v16_fma, fmaf(a.lane[i], b.lane[i], c.lane[i]))
TD_PORTABLE_3(td_v16_fnma, fmaf(-a.lane[i], b.lane[i], c.lane[i]))
TD_PORTABLE_3(td_v16_fms, fmaf(a.lane[i], b.lane[i], -c.lane[i]))
TD_PORTABLE_COMPARE(td_v16_lt, a.lane[i] < b.lane[i])
TD_PORTABLE_COMPARE(td_v16_le, a.lane[i] <= b.lane[i])
TD_PORTABLE_COMPARE(td_v16_eq, a.lane[i] == b.lane[i])

TD_SIMD td_m16 td_v16_is_nan(td_v16 a) {
    return td_v16_eq(a, a) ^ 0xFFFFu;
}

TD_SIMD td_m16 td_m16_first(int64_t count) {
    return (td_m16)((1u << count) - 1u);
}

TD_SIMD td_m16 td_m16_and(td_m16 a, td_m16 b) {
    return a & b;
}

TD_SIMD td_m16 td_m16_or(td_m16 a, td_m16 b) {
    return a | b;
}

TD_SIMD td_m16 td_m16_not(td_m16 a) {
    return a ^ 0xFFFFu;
}

TD_SIMD uint32_t td_m16_bits(td_m16 m) {
    return m;
}

TD_SIMD td_v16 td_v16_select(td_m16 m, td_v16 a, td_v16 b) {
    td_v16 r;
    TD_EACH(i) {
        r.lane[i] = m >> i & 1 ? a.lane[i] : b.lane[i];
    }
    return r;
}

TD_SIMD float td_v16_sum(td_v16 v) {
    for (int step = 8; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) {
            v.lane[i] = v.lane[i] + v.lane[i + step];
        }
    }
    return v.lane[0];
}

TD_SIMD float td_v16_reduce_max(td_v16 v) {
    for (int step = 8; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) {
            float a = v.lane[i], b = v.lane[i + step];
            v.lane[i] = a != a || a > b ? a : b;
        }
    }
    return v.lane[0];
}

TD_SIMD td_v16 td_v16_sum_rows(const td_v16 v[16]) {
    td_v16 r;
    TD_EACH(i) {
        r.lane[i] = td_v16_sum(v[i]);
    }
    return r;
}

TD_SIMD td_v16 td_v16_max_rows(const td_v16 v[16]) {
    td_v16 r;
    TD_EACH(i) {
        td_v16 row = v[i];
        for (int step = 8; step > 0; step /= 2) {
            for (int j = 0; j < step; j++) {
                float a = row.lane[j], b = row.lane[j + step];
                row.lane[j] = a > b ? a : b;
            }
        }
        r.lane[i] = row.lane[0];
    }
    return r;
}

TD_SIMD td_i16 td_i16_set1(int32_t x) {
    td_i16 r;
    TD_EACH(i) {
        r.lane[i] = x;
    }
    return r;
}

TD_SIMD td_i16 td_i16_iota(void) {
    td_i16 r;
    TD_EACH(i) {
        r.lane[i] = i;
    }
    return r;
}

TD_SIMD td_i16 td_i16_load(const int32_t *p) {
    td_i16 r;
    memcpy(&r, p, sizeof r);
    return r;
}

TD_SIMD void td_i16_store(int32_t *p, td_i16 v) {
    memcpy(p, &v, sizeof v);
}

/* Sums and differences wrap, as the instructions do: through unsigned, where C defines it. */
TD_PORTABLE_2(td_i16, td_i16_add, (int32_t)((uint32_t)a.lane[i] + (uint32_t)b.lane[i]))
TD_PORTABLE_2(td_i16, td_i16_sub, (int32_t)((uint32_t)a.lane[i] - (uint32_t)b.lane[i]))
TD_PORTABLE_2(td_i16, td_i16_and, a.lane[i] & b.lane[i])
TD_PORTABLE_2(td_i16, td_i16_or, a.lane[i] | b.lane[i])
TD_PORTABLE_2(td_i16, td_i16_xor, a.lane[i] ^ b.lane[i])

TD_SIMD td_i16 td_i16_shl(td_i16 a, int bits) {
    TD_EACH(i) {
        a.lane[i] = (int32_t)((uint32_t)a.lane[i] << bits);
    }
    return a;
}

/* Logical and arithmetic shifts to the right. */
TD_SIMD td_i16 td_i16_shr(td_i16 a, int bits) {
    TD_EACH(i) {
        a.lane[i] = (int32_t)((uint32_t)a.lane[i] >> bits);
    }
    return a;
}

TD_SIMD td_i16 td_i16_sar(td_i16 a, int bits) {
    TD_EACH(i) {
        a.lane[i] = a.lane[i] >> bits;
    }
    return a;
}

TD_SIMD td_m16 td_i16_eq(td_i16 a, td_i16 b) {
    td_m16 r = 0;
    TD_EACH(i) {
        r |= (td_m16)(a.lane[i] == b.lane[i]) << i;
    }
    return r;
}

TD_SIMD td_m16 td_i16_lt(td_i16 a, td_i16 b) {
    td_m16 r = 0;
    TD_EACH(i) {
        r |= (td_m16)(a.lane[i] < b.lane[i]) << i;
    }
    return r;
}

TD_SIMD td_v16 td_i16_as_v16(td_i16 a) {
    td_v16 r;
    memcpy(&r, &a, sizeof r);
    return r;
}

TD_SIMD td_i16 td_v16_as_i16(td_v16 a) {
    td_i16 r;
    memcpy(&r, &a, sizeof r);
    return r;
}

TD_SIMD td_v16 td_i16_to_v16(td_i16 a) {
    td_v16 r;
    TD_EACH(i) {
        r.lane[i] = (float)a.lane[i];
    }
    return r;
}

TD_SIMD td_i16 td_v16_to_i16(td_v16 a) {
    td_i16 r;
    TD_EACH(i) {
        bool fits = a.lane[i] >= -2147483648.0f && a.lane[i] < 2147483648.0f;
        r.lane[i] = fits ? (int32_t)lrintf(a.lane[i]) : INT32_MIN;
    }
    return r;
}

/* Neighbours change places: lane i gets lane i ^ 1. */
TD_SIMD td_v16 td_v16_swap_pairs(td_v16 v) {
    td_v16 r;
    TD_EACH(i) {
        r.lane[i] = v.lane[i ^ 1];
    }
    return r;
}

/* 16 unsigned 16-bit values as integers, and the low halves of integers back. */
TD_SIMD td_i16 td_i16_load_u16(const uint16_t *p) {
    td_i16 r;
    TD_EACH(i) {
        r.lane[i] = p[i];
    }
    return r;
}

TD_SIMD void td_i16_store_u16(uint16_t *p, td_i16 v) {
    TD_EACH(i) {
        p[i] = (uint16_t)(uint32_t)v.lane[i];
    }
}

TD_SIMD void td_i16_stream_u16(uint16_t *p, td_i16 v) {
    td_i16_store_u16(p, v);
}

TD_SIMD td_d16 td_d16_zero(void) {
    td_d16 r;
    TD_EACH(i) {
        r.lane[i] = 0.0;
    }
    return r;
}

TD_SIMD td_d16 td_v16_to_d16(td_v16 v) {
    td_d16 r;
    TD_EACH(i) {
        r.lane[i] = (double)v.lane[i];
    }
    return r;
}

TD_PORTABLE_2(td_d16, td_d16_add, a.lane[i] + b.lane[i])

TD_SIMD double td_d16_sum(td_d16 v) {
    for (int step = 8; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) {
            v.lane[i] = v.lane[i] + v.lane[i + step];
        }
    }
    return v.lane[0];
}

TD_SIMD void td_transpose16(float *to, int64_t to_ld, const float *from, int64_t from_ld) {
    TD_EACH(i) {
        TD_EACH(j) {
            to[j * to_ld + i] = from[i * from_ld + j];
        }
    }
}

#undef TD_PORTABLE_1
#undef TD_PORTABLE_2
#undef TD_PORTABLE_3
#undef TD_PORTABLE_COMPARE
#undef TD_EACH

#endif
