/* SPDX-License-Identifier: Apache-2.0
 * Blocks of one k, two of which have the bits of one pair.
 *
 * A block of one k is half a pair: its sum is one product, which in f32 is exact as long as it
 * neither overflows nor vanishes, and the join adds it to the next one's. That is what the second
 * FMA of a pair does, which rounds once as well. So 8 rows in 8 blocks are 4 pairs, if no operand
 * is so large or so small that some product could leave the range of normal floats.
 */
#ifndef TD_KERNELS_GEMM_BF16_PAIRS_JOIN_H
#define TD_KERNELS_GEMM_BF16_PAIRS_JOIN_H

#include "kernels/gemm/gemm_plan.h"
#include "kernels/gemm_bf16/bf16_pairs.h"

/* Biased exponents of the numbers that are not zero, of which denormals count as zeros; at least
 * 255 where there is an infinity or a NaN. */
typedef struct pairs_range {
    int32_t least, most;
} pairs_range;

TD_SIMD td_i16 pairs_either(td_m16 m, td_i16 a, td_i16 b) {
    return td_v16_as_i16(td_v16_select(m, td_i16_as_v16(a), td_i16_as_v16(b)));
}

/* Of k rows of `cols` columns, rounded; stored as in bf16_read. */
TD_SIMD pairs_range pairs_range_of(const bf16_source *s, int64_t k, int64_t cols,
                                   const bool stored) {
    const td_i16 any = td_i16_set1(INT32_MAX), normal = td_i16_set1(0x00800000);
    td_i16 least = any, most = td_i16_set1(0);
    for (int64_t p = 0; p < k; p++) {
        for (int64_t j = 0; j < cols; j += TD_LANES) {
            td_i16 x = td_v16_as_i16(bf16_floats(s, p * s->ld + j, cols - j, stored));
            x = td_i16_and(x, any);
            most = pairs_either(td_i16_lt(most, x), x, most);
            x = pairs_either(td_i16_lt(x, normal), any, x);
            least = pairs_either(td_i16_lt(x, least), x, least);
        }
    }
    int32_t low[TD_LANES], high[TD_LANES];
    td_i16_store(low, least);
    td_i16_store(high, most);
    pairs_range range = {INT32_MAX >> 23, 0};
    for (int i = 0; i < TD_LANES; i++) {
        range.least = low[i] >> 23 < range.least ? low[i] >> 23 : range.least;
        range.most = high[i] >> 23 > range.most ? high[i] >> 23 : range.most;
    }
    return range;
}

/* Whether blocks 2 i and 2 i + 1 may be one. */
static inline bool pairs_join(const td_gemm_f32_args *args) {
    if (!td_gemm_is_short(args) || args->k != args->k_blocks || args->k_blocks < 4 ||
        args->k_starts != NULL) {
        return false;
    }
    const bf16_source a = bf16_source_a(args), b = bf16_source_b(args);
    const pairs_range of_a = a.bf16 != NULL ? pairs_range_of(&a, args->k, args->m, true)
                                            : pairs_range_of(&a, args->k, args->m, false);
    const pairs_range of_b = b.bf16 != NULL ? pairs_range_of(&b, args->k, args->n, true)
                                            : pairs_range_of(&b, args->k, args->n, false);
    /* Numbers of exponent e are 2^(e - 127) and more, and less than twice that: products 2^-126 and
     * more, and less than 2^128. */
    return of_a.most < 255 && of_b.most < 255 && of_a.least + of_b.least >= 128 &&
           of_a.most + of_b.most <= 380;
}

#endif
