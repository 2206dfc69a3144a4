/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/loops.h"

#include <immintrin.h>
#include <string.h>

#include "base/status.h"

static inline float widen_one(uint16_t value) {
    uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

static inline uint16_t narrow_one(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    /* Rounding a NaN by adding could carry into an infinity: its top bits are kept, made quiet. */
    uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16, nan = bits >> 16 | 0x40;
    return (uint16_t)((bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded);
}

static void widen(float *restrict out, const uint16_t *restrict in, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        out[i] = widen_one(in[i]);
    }
}

static void narrow(uint16_t *restrict out, const float *restrict in, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        out[i] = narrow_one(in[i]);
    }
}

/* Equal values differ at most in the sign of a zero: min takes -0, max +0, whatever the order. A
 * NaN compares as neither and is taken from either side. */
#define TD_SELECT(type, word, name, less, join)                                                    \
    static inline type name(type a, type b) {                                                      \
        word x, y, both;                                                                           \
        type same;                                                                                 \
        memcpy(&x, &a, sizeof x);                                                                  \
        memcpy(&y, &b, sizeof y);                                                                  \
        both = x join y;                                                                           \
        memcpy(&same, &both, sizeof same);                                                         \
        type chosen = a less b ? a : b;                                                            \
        chosen = a == b ? same : chosen;                                                           \
        return a != a ? a : chosen;                                                                \
    }
TD_SELECT(float, uint32_t, min_f32, <, |)
TD_SELECT(float, uint32_t, max_f32, >, &)
TD_SELECT(double, uint64_t, min_f64, <, |)
TD_SELECT(double, uint64_t, max_f64, >, &)

#define TD_BINARY(type, name, expression)                                                          \
    static inline type name(type x, type y) {                                                      \
        return (expression);                                                                       \
    }
TD_BINARY(float, add_f32, x + y)
TD_BINARY(float, multiply_f32, x *y)
TD_BINARY(double, add_f64, x + y)
TD_BINARY(double, multiply_f64, x *y)
/* Unsigned, because integers wrap around. */
TD_BINARY(int32_t, add_i32, (int32_t)((uint32_t)x + (uint32_t)y))
TD_BINARY(int32_t, multiply_i32, (int32_t)((uint32_t)x *(uint32_t)y))
TD_BINARY(int32_t, min_i32, x < y ? x : y)
TD_BINARY(int32_t, max_i32, x > y ? x : y)
TD_BINARY(int64_t, add_i64, (int64_t)((uint64_t)x + (uint64_t)y))
TD_BINARY(int64_t, multiply_i64, (int64_t)((uint64_t)x *(uint64_t)y))
TD_BINARY(int64_t, min_i64, x < y ? x : y)
TD_BINARY(int64_t, max_i64, x > y ? x : y)

/* What a register holds. Where a step was more, the compiler put it together in memory, from stores
 * narrower than the loads that followed: with AVX2 an allreduce of 64 KiB on two processes (Zen 4)
 * took 6.2 us near and 6.8 far, and 3.0 far so. */
#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64 };
#elif defined(__AVX2__)
enum { VECTOR_BYTES = 32 };
#else
enum { VECTOR_BYTES = 16 };
#endif

/* Vectors that a second-level cache holds are walked along from two places at once, half of them
 * and half a page apart: prefetchers follow each within its page, so that one goes on while the
 * other begins a new one, and lines of the two fall on different sets of a first-level cache. An
 * allreduce of 256 KiB on two processes (Zen 4, far) takes 7.9 us so in place of 8.7, apart 11.2 in
 * place of 13.1; of 1 MiB apart, near, 26 in place of 23. Elements to the second place; 0: from
 * one. */
enum { LINE_BYTES = 64, PAGE_BYTES = 4096, TWO_FROM = 64 << 10, TWO_TO = 256 << 10 };
static int64_t second_place(int64_t n, int64_t element_bytes) {
    int64_t bytes = n * element_bytes, pages = (bytes - PAGE_BYTES) / (2 * PAGE_BYTES);
    return bytes < TWO_FROM || bytes > TWO_TO
               ? 0
               : (pages * PAGE_BYTES + PAGE_BYTES / 2) / element_bytes;
}

/* A register at a time, through variables: results may lie where operands lie, and vectors are used
 * all the same. */
#define TD_STEP_TWO(type, op, at)                                                                  \
    do {                                                                                           \
        type from_a[STEP], from_b[STEP], result[STEP];                                             \
        memcpy(from_a, a + (at), sizeof from_a);                                                   \
        memcpy(from_b, b + (at), sizeof from_b);                                                   \
        for (int j = 0; j < STEP; j++) {                                                           \
            result[j] = op(from_a[j], from_b[j]);                                                  \
        }                                                                                          \
        memcpy(out + (at), result, sizeof result);                                                 \
        memcpy(second + (at), result, sizeof result);                                              \
    } while (0)

#define TD_LOOP_TWO(type, op)                                                                      \
    do {                                                                                           \
        enum { STEP = VECTOR_BYTES / sizeof(type), LINE = LINE_BYTES / sizeof(type) };             \
        type *out = to, *second = also;                                                            \
        const type *a = from[0], *b = from[1];                                                     \
        int64_t i = 0, half = second_place(n, sizeof(type));                                       \
        for (; i < half; i += LINE) {                                                              \
            for (int k = 0; k < LINE; k += STEP) {                                                 \
                TD_STEP_TWO(type, op, i + k);                                                      \
            }                                                                                      \
            for (int k = 0; k < LINE; k += STEP) {                                                 \
                TD_STEP_TWO(type, op, half + i + k);                                               \
            }                                                                                      \
        }                                                                                          \
        for (i += half; i + STEP <= n; i += STEP) {                                                \
            TD_STEP_TWO(type, op, i);                                                              \
        }                                                                                          \
        for (; i < n; i++) {                                                                       \
            out[i] = second[i] = op(a[i], b[i]);                                                   \
        }                                                                                          \
    } while (0)

#define TD_LOOP_FOUR(type, op)                                                                     \
    do {                                                                                           \
        enum { STEP = VECTOR_BYTES / sizeof(type) };                                               \
        type *out = to, *second = also;                                                            \
        const type *a = from[0], *b = from[1], *c = from[2], *d = from[3];                         \
        int64_t i = 0;                                                                             \
        for (; i + STEP <= n; i += STEP) {                                                         \
            type from_a[STEP], from_b[STEP], from_c[STEP], from_d[STEP], result[STEP];             \
            memcpy(from_a, a + i, sizeof from_a);                                                  \
            memcpy(from_b, b + i, sizeof from_b);                                                  \
            memcpy(from_c, c + i, sizeof from_c);                                                  \
            memcpy(from_d, d + i, sizeof from_d);                                                  \
            for (int j = 0; j < STEP; j++) {                                                       \
                result[j] = op(op(from_a[j], from_b[j]), op(from_c[j], from_d[j]));                \
            }                                                                                      \
            memcpy(out + i, result, sizeof result);                                                \
            memcpy(second + i, result, sizeof result);                                             \
        }                                                                                          \
        for (; i < n; i++) {                                                                       \
            out[i] = second[i] = op(op(a[i], b[i]), op(c[i], d[i]));                               \
        }                                                                                          \
    } while (0)

#define TD_COMBINE(name, loop, type, suffix)                                                       \
    static void name##_##suffix(void *to, void *also, const void *const *from, int64_t n,          \
                                td_reduce reduce) {                                                \
        switch (reduce) {                                                                          \
        case TD_PROD:                                                                              \
            loop(type, multiply_##suffix);                                                         \
            break;                                                                                 \
        case TD_MIN:                                                                               \
            loop(type, min_##suffix);                                                              \
            break;                                                                                 \
        case TD_MAX:                                                                               \
            loop(type, max_##suffix);                                                              \
            break;                                                                                 \
        default:                                                                                   \
            loop(type, add_##suffix);                                                              \
            break;                                                                                 \
        }                                                                                          \
    }

#define TD_COMBINE_TYPES(name, loop)                                                               \
    TD_COMBINE(name, loop, float, f32)                                                             \
    TD_COMBINE(name, loop, double, f64)                                                            \
    TD_COMBINE(name, loop, int32_t, i32)                                                           \
    TD_COMBINE(name, loop, int64_t, i64)                                                           \
    static void name(void *to, void *also, const void *const *from, int64_t n, td_dtype dtype,     \
                     td_reduce reduce) {                                                           \
        switch (dtype) {                                                                           \
        case TD_F32:                                                                               \
            name##_f32(to, also, from, n, reduce);                                                 \
            break;                                                                                 \
        case TD_F64:                                                                               \
            name##_f64(to, also, from, n, reduce);                                                 \
            break;                                                                                 \
        case TD_I32:                                                                               \
            name##_i32(to, also, from, n, reduce);                                                 \
            break;                                                                                 \
        case TD_I64:                                                                               \
            name##_i64(to, also, from, n, reduce);                                                 \
            break;                                                                                 \
        default:                                                                                   \
            TD_ASSERT(dtype != TD_BF16);                                                           \
        }                                                                                          \
    }
TD_COMBINE_TYPES(of_two, TD_LOOP_TWO)
TD_COMBINE_TYPES(of_four, TD_LOOP_FOUR)

static void combine(void *to, void *also, const void *a, const void *b, int64_t n, td_dtype dtype,
                    td_reduce reduce) {
    of_two(to, also, (const void *const[]){a, b}, n, dtype, reduce);
}

#define TD_DIVIDE(type)                                                                            \
    do {                                                                                           \
        type *out = buffer;                                                                        \
        const type by = (type)ranks;                                                               \
        for (int64_t i = 0; i < n; i++) {                                                          \
            out[i] /= by;                                                                          \
        }                                                                                          \
    } while (0)

static void divide(void *buffer, int64_t n, td_dtype dtype, int ranks) {
    switch (dtype) {
    case TD_F32:
        TD_DIVIDE(float);
        break;
    case TD_F64:
        TD_DIVIDE(double);
        break;
    case TD_I32:
        TD_DIVIDE(int32_t);
        break;
    case TD_I64:
        TD_DIVIDE(int64_t);
        break;
    default:
        TD_ASSERT(dtype != TD_BF16);
    }
}

#if defined(__AVX512F__)
#define TD_STREAM(to, from) _mm512_stream_si512((void *)(to), _mm512_loadu_si512(from))
#elif defined(__AVX2__)
#define TD_STREAM(to, from)                                                                        \
    for (int at = 0; at < 64; at += 32) {                                                          \
        _mm256_stream_si256((void *)((to) + at), _mm256_loadu_si256((const void *)((from) + at))); \
    }
#else
#define TD_STREAM(to, from)                                                                        \
    for (int at = 0; at < 64; at += 16) {                                                          \
        _mm_stream_si128((void *)((to) + at), _mm_loadu_si128((const void *)((from) + at)));       \
    }
#endif

/* Whole lines past the caches; what is left before and after them as usual. */
static void stream(void *to, void *also, const void *from, int64_t bytes) {
    unsigned char *out = to, *second = also;
    const unsigned char *source = from;
    int64_t i = (int64_t)(-(uintptr_t)out % 64);
    if (i > bytes || ((uintptr_t)out - (uintptr_t)second) % 64 != 0) {
        i = bytes;
    }
    if (i > 0) {
        memcpy(out, source, (size_t)i);
        memcpy(second, source, (size_t)i);
    }
    for (; i + 64 <= bytes; i += 64) {
        TD_STREAM(out + i, source + i);
        if (second != out) {
            TD_STREAM(second + i, source + i);
        }
    }
    if (i < bytes) {
        memcpy(out + i, source + i, (size_t)(bytes - i));
        memcpy(second + i, source + i, (size_t)(bytes - i));
    }
}

static void swap(void *a, void *b, int64_t bytes) {
    unsigned char *one = a, *other = b, kept[64], moved[64];
    int64_t i = 0;
    for (; i + 64 <= bytes; i += 64) {
        memcpy(kept, one + i, 64);
        memcpy(moved, other + i, 64);
        memcpy(one + i, moved, 64);
        memcpy(other + i, kept, 64);
    }
    memcpy(kept, one + i, (size_t)(bytes - i));
    memcpy(one + i, other + i, (size_t)(bytes - i));
    memcpy(other + i, kept, (size_t)(bytes - i));
}

#define TD_PASTE(a, b)   a##b
#define TD_LOOPS_OF(isa) TD_PASTE(td_element_loops__, isa)
const td_element_loops TD_LOOPS_OF(TD_ISA_SUFFIX) = {combine, of_four, widen, narrow,
                                                     divide,  stream,  swap};
