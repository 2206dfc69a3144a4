/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "collectives/comm_state.h"
#include "collectives/elements.h"
#include "collectives/loops.h"

static float as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* All 65,536 bf16 values, and for each the f32 values around the middle to the next one. */
Test(elements, bf16_rounds_to_nearest_even) {
    for (uint32_t high = 0; high < 65536; high++) {
        static const uint32_t lows[] = {0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF};
        for (int i = 0; i < 6; i++) {
            float in = as_float(high << 16 | lows[i]), wide;
            uint16_t out, back = (uint16_t)high;
            td_elements()->narrow(&out, &in, 1);
            td_elements()->widen(&wide, &out, 1);
            if (isnan(in)) {
                cr_assert(isnan(wide), "NaN %x%04x became %x", high, lows[i], out);
                continue;
            }
            bool up = lows[i] > 0x8000 || (lows[i] == 0x8000 && (high & 1) != 0);
            cr_assert_eq(out, (uint16_t)(back + up), "%x%04x became %x", high, lows[i], out);
        }
    }
}

Test(elements, sums_of_any_length) {
    float a[70], b[70], sum[70];
    uint16_t c[70], d[70];
    for (int n = 0; n <= 67; n++) {
        for (int i = 0; i < 70; i++) {
            a[i] = (float)i;
            b[i] = 100 - 3 * (float)i;
            sum[i] = -1;
        }
        td_elements()->narrow(c, a, 70);
        td_elements()->narrow(d, b, 70);
        td_elements()->combine(sum, sum, a, b, n, TD_F32, TD_SUM);
        td_elements_combine(a, TD_F32, a, TD_F32, b, TD_F32, n, TD_SUM);
        td_elements_combine(c, TD_BF16, c, TD_BF16, d, TD_BF16, n, TD_SUM);
        for (int i = 0; i < 70; i++) {
            float wide;
            td_elements()->widen(&wide, &c[i], 1);
            cr_assert_eq(sum[i], i < n ? 100 - 2 * (float)i : -1);
            cr_assert_eq(a[i], i < n ? 100 - 2 * (float)i : (float)i);
            cr_assert_eq(wide, a[i]);
        }
    }
}

Test(elements, parts_are_whole_lines_and_cover_all) {
    for (int64_t size = 2; size <= 4; size += 2) {
        for (int64_t workers = 1; workers <= 7; workers++) {
            for (int64_t begin = 0; begin < 70; begin += 3) {
                for (int64_t end = begin; end < 200; end += 7) {
                    int64_t next = begin;
                    for (int64_t id = 0; id < workers; id++) {
                        int64_t first = begin, last = end;
                        td_comm_part(id, workers, size, &first, &last);
                        cr_assert(first <= last);
                        if (first == last) {
                            continue;
                        }
                        cr_assert_eq(first, next);
                        cr_assert(last == end || last * size % 64 == 0, "a line has two writers");
                        next = last;
                    }
                    cr_assert_eq(next, end);
                }
            }
        }
    }
}

/* Whatever the instruction set, the bits are those of the portable loops; and the order of the
 * operands does not show: not in the sign of a zero, not in what becomes of a NaN. */
Test(elements, every_instruction_set_has_the_same_bits) {
    static const float values[] = {0.0f,   -0.0f, 1.5f, -2.25f,   1e30f,
                                   1e-40f, 3.0f,  NAN,  INFINITY, -INFINITY};
    enum { N = 10, N_PAIRS = N * N };
    float a[N_PAIRS], b[N_PAIRS], right[N_PAIRS], other[N_PAIRS];
    for (int i = 0; i < N_PAIRS; i++) {
        a[i] = values[i / N];
        b[i] = values[i % N];
    }
    td_isa highest = td_isa_native();
    for (int reduce = 0; reduce < TD_REDUCE_COUNT; reduce++) {
        td_element_loops__portable.combine(right, right, a, b, N_PAIRS, TD_F32, (td_reduce)reduce);
        td_element_loops__portable.combine(other, other, b, a, N_PAIRS, TD_F32, (td_reduce)reduce);
        for (int i = 0; i < N_PAIRS; i++) {
            cr_assert(memcmp(&right[i], &other[i], 4) == 0 || (isnan(right[i]) && isnan(other[i])),
                      "%s of %g and %g", td_reduce_name((td_reduce)reduce), a[i], b[i]);
            if (reduce == TD_MIN || reduce == TD_MAX) {
                cr_assert_eq(isnan(right[i]) != 0, isnan(a[i]) || isnan(b[i]));
            }
        }
        const td_element_loops *others[] = {&td_element_loops__avx2, &td_element_loops__avx512};
        for (int isa = 0; isa < 2 && isa < (int)highest; isa++) {
            others[isa]->combine(other, other, a, b, N_PAIRS, TD_F32, (td_reduce)reduce);
            for (int i = 0; i < N_PAIRS; i++) {
                cr_assert(memcmp(&right[i], &other[i], 4) == 0 ||
                          (isnan(right[i]) && isnan(other[i])));
            }
        }
    }
}

/* Vectors long enough for two places at once (loops.c), against the same in pieces that are not. */
enum { LONG_ELEMENTS = 65537, PIECE = 48 };
static union {
    unsigned char bytes[LONG_ELEMENTS * 8 + 8];
    double aligned;
} long_a, long_b, long_right, long_to, long_also;

static void fill_long(unsigned char *bytes, uint32_t seed) {
    for (int i = 0; i < LONG_ELEMENTS * 2; i++) {
        uint32_t bits = (uint32_t)i * 2654435761u + seed;
        float f32 = (float)(int32_t)bits / 1024; /* as the half of any other type, too, a number */
        memcpy(bytes + (ptrdiff_t)i * 4, &f32, 4);
    }
}

static void long_and_pieces(const td_element_loops *loops, td_dtype dtype, td_reduce reduce,
                            int64_t n) {
    int64_t element = td_dtype_bytes(dtype), bytes = n * element;
    fill_long(long_a.bytes, 1);
    fill_long(long_b.bytes, 77);
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t some = n - i < PIECE ? n - i : PIECE, at = i * element;
        td_element_loops__portable.combine(long_right.bytes + at, long_right.bytes + at,
                                           long_a.bytes + at, long_b.bytes + at, some, dtype,
                                           reduce);
    }
    memset(long_to.bytes, 0x5A, sizeof long_to.bytes);
    memset(long_also.bytes, 0x5A, sizeof long_also.bytes);
    loops->combine(long_to.bytes, long_also.bytes, long_a.bytes, long_b.bytes, n, dtype, reduce);
    const char *type = td_dtype_name(dtype), *name = td_reduce_name(reduce);
    cr_assert(memcmp(long_to.bytes, long_right.bytes, (size_t)bytes) == 0, "%lld of %s %s",
              (long long)n, type, name);
    cr_assert(memcmp(long_also.bytes, long_right.bytes, (size_t)bytes) == 0, "also, %lld of %s %s",
              (long long)n, type, name);
    cr_assert_eq(long_to.bytes[bytes], 0x5A, "beyond %lld of %s", (long long)n, type);
    cr_assert_eq(long_also.bytes[bytes], 0x5A, "beyond %lld of %s, also", (long long)n, type);
    loops->combine(long_b.bytes, long_a.bytes, long_a.bytes, long_b.bytes, n, dtype, reduce);
    cr_assert(memcmp(long_a.bytes, long_right.bytes, (size_t)bytes) == 0, "where it was");
    cr_assert(memcmp(long_b.bytes, long_right.bytes, (size_t)bytes) == 0, "where the other was");
}

Test(elements, long_vectors_have_the_bits_of_short_ones) {
    static const td_dtype types[] = {TD_F32, TD_F64, TD_I32, TD_I64};
    static const int64_t lengths[] = {8191,  8192,  8193,  10240,        16383,
                                      16384, 17777, 32768, LONG_ELEMENTS};
    const td_element_loops *loops[] = {&td_element_loops__portable, &td_element_loops__avx2,
                                       &td_element_loops__avx512};
    int sets = (int)td_isa_native() + 1;
    for (int i = 0; i < 3 && i < sets; i++) {
        for (int t = 0; t < 4; t++) {
            for (int reduce = 0; reduce < TD_REDUCE_COUNT; reduce++) {
                for (int k = 0; k < (int)(sizeof lengths / sizeof lengths[0]); k++) {
                    long_and_pieces(loops[i], types[t], (td_reduce)reduce, lengths[k]);
                }
            }
        }
    }
}

enum { FOURS = 40 }; /* elements; of 8 bytes, more than four lines */

static void fill_four(unsigned char from[4][FOURS * 8], td_dtype dtype) {
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < FOURS; i++) {
            double value = (double)((i * 37 + k * 101) % 97 - 48) / (dtype == TD_F32 ? 7 : 3);
            float f32 = (float)value;
            int32_t i32 = (int32_t)(value * 1e8);
            int64_t i64 = (int64_t)(value * 1e17);
            const void *what = dtype == TD_F32   ? (const void *)&f32
                               : dtype == TD_I32 ? (const void *)&i32
                               : dtype == TD_I64 ? (const void *)&i64
                                                 : (const void *)&value;
            int64_t bytes = td_dtype_bytes(dtype);
            memcpy(from[k] + i * bytes, what, (size_t)bytes);
        }
    }
}

static void four_and_pairs(const td_element_loops *loops, td_dtype dtype, td_reduce reduce, int n) {
    unsigned char from[4][FOURS * 8], pairs[2][FOURS * 8] = {{0}}, one[FOURS * 8] = {0},
                                                       two[FOURS * 8] = {0};
    size_t bytes = (size_t)(n * td_dtype_bytes(dtype));
    fill_four(from, dtype);
    const void *sources[] = {from[0], from[1], from[2], from[3]};
    td_element_loops__portable.combine(pairs[0], pairs[0], from[0], from[1], n, dtype, reduce);
    td_element_loops__portable.combine(pairs[1], pairs[1], from[2], from[3], n, dtype, reduce);
    td_element_loops__portable.combine(pairs[0], pairs[0], pairs[0], pairs[1], n, dtype, reduce);
    loops->combine_four(one, two, sources, n, dtype, reduce);
    cr_assert_arr_eq(one, pairs[0], sizeof one, "%d of %s %s", n, td_dtype_name(dtype),
                     td_reduce_name(reduce)); /* zeros beyond n too */
    cr_assert_arr_eq(two, pairs[0], sizeof two);
    loops->combine_four(from[2], from[2], sources, n, dtype, reduce);
    cr_assert_arr_eq(from[2], pairs[0], bytes, "where the third was");
}

Test(elements, four_at_once_have_the_bits_of_pairs) {
    static const td_dtype dtypes[] = {TD_F32, TD_F64, TD_I32, TD_I64};
    const td_element_loops *loops[] = {&td_element_loops__portable, &td_element_loops__avx2,
                                       &td_element_loops__avx512};
    for (int isa = 0; isa < 3 && isa <= (int)td_isa_native(); isa++) {
        for (int dtype = 0; dtype < 4; dtype++) {
            for (int reduce = 0; reduce < TD_REDUCE_COUNT; reduce++) {
                for (int n = 0; n <= FOURS; n++) {
                    four_and_pairs(loops[isa], dtypes[dtype], (td_reduce)reduce, n);
                }
            }
        }
    }
}

Test(elements, integers_wrap_and_divide_towards_zero) {
    int32_t a[3] = {INT32_MAX, -7, 7}, b[3] = {1, 0, 0}, sum[3];
    td_elements()->combine(sum, sum, a, b, 3, TD_I32, TD_SUM);
    cr_assert_eq(sum[0], INT32_MIN);
    td_elements()->divide(sum, 3, TD_I32, 2);
    cr_assert_eq(sum[1], -3);
    cr_assert_eq(sum[2], 3);
    int64_t c[1] = {INT64_MAX}, d[1] = {2}, product[1];
    td_elements()->combine(product, product, c, d, 1, TD_I64, TD_PROD);
    cr_assert_eq(product[0], -2);
}

/* At every place of a line, of every length, to one place or two, and to nothing beside them. */
Test(elements, what_goes_past_the_caches_arrives) {
    const td_element_loops *loops[] = {&td_element_loops__portable, &td_element_loops__avx2,
                                       &td_element_loops__avx512};
    enum { ROOM = 512, MOST = 260 };
    _Alignas(64) unsigned char from[ROOM], one[ROOM], two[ROOM], none[ROOM];
    memset(none, 0xEE, sizeof none);
    for (int i = 0; i < ROOM; i++) {
        from[i] = (unsigned char)(i * 7 + 1);
    }
    for (int isa = 0; isa < 3 && isa <= (int)td_isa_native(); isa++) {
        for (int at = 64; at < 128; at += 2) {
            for (int bytes = 0; bytes <= MOST; bytes += 2) {
                int beside = bytes % 3 == 0 ? at : at + bytes % 3 * 32; /* as one, or half a line */
                memcpy(one, none, ROOM);
                memcpy(two, none, ROOM);
                loops[isa]->stream(one + at, two + beside, from + at % 5, bytes);
                loops[isa]->stream(one + at, one + at, from + at % 5, bytes);
                cr_assert_arr_eq(one + at, from + at % 5, (size_t)bytes);
                cr_assert_arr_eq(two + beside, from + at % 5, (size_t)bytes);
                cr_assert_arr_eq(one, none, (size_t)at);
                cr_assert_arr_eq(one + at + bytes, none, (size_t)(ROOM - at - bytes));
                cr_assert_arr_eq(two, none, (size_t)beside);
                cr_assert_arr_eq(two + beside + bytes, none, (size_t)(ROOM - beside - bytes));
            }
        }
    }
}

Test(elements, two_places_change_what_they_hold) {
    const td_element_loops *loops[] = {&td_element_loops__portable, &td_element_loops__avx2,
                                       &td_element_loops__avx512};
    enum { ROOM = 512, MOST = 260 };
    unsigned char first[ROOM], second[ROOM], one[ROOM], other[ROOM];
    for (int i = 0; i < ROOM; i++) {
        first[i] = (unsigned char)(i * 7 + 1);
        second[i] = (unsigned char)(i * 5 + 2);
    }
    for (int isa = 0; isa < 3 && isa <= (int)td_isa_native(); isa++) {
        for (int bytes = 0; bytes <= MOST; bytes++) {
            int at = 64 + bytes % 7, beside = 64 + bytes % 5;
            memcpy(one, first, ROOM);
            memcpy(other, second, ROOM);
            loops[isa]->swap(one + at, other + beside, bytes);
            cr_assert_arr_eq(one + at, second + beside, (size_t)bytes);
            cr_assert_arr_eq(other + beside, first + at, (size_t)bytes);
            cr_assert_arr_eq(one, first, (size_t)at);
            cr_assert_arr_eq(one + at + bytes, first + at + bytes, (size_t)(ROOM - at - bytes));
            cr_assert_arr_eq(other, second, (size_t)beside);
            cr_assert_arr_eq(other + beside + bytes, second + beside + bytes,
                             (size_t)(ROOM - beside - bytes));
        }
    }
}
