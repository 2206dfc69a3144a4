/* SPDX-License-Identifier: Apache-2.0
 * Loops over elements: plain C that the compiler vectorises, compiled once per instruction set.
 * Every operation is exactly rounded, so the width of the vectors does not show in the result, and
 * memory sets the pace. NaN and signed zeros do not depend on the order of operands, except for the
 * payload of a NaN.
 */
#ifndef TD_COLLECTIVES_ELEMENTS_H
#define TD_COLLECTIVES_ELEMENTS_H

#include <stdint.h>

#include "collectives/types.h"

/* to = also = a + b, or what else `reduce` says (avg adds); to and also may be each other, a or b.
 * Not for bf16. */
typedef void td_combine_fn(void *to, void *also, const void *a, const void *b, int64_t n,
                           td_dtype dtype, td_reduce reduce);
/* to = also = (from[0] + from[1]) + (from[2] + from[3]), to the bits of three calls of combine; to
 * and also may be each other or any of from. Not for bf16. */
typedef void td_combine_four_fn(void *to, void *also, const void *const *from, int64_t n,
                                td_dtype dtype, td_reduce reduce);
typedef void td_widen_fn(float *restrict out, const uint16_t *restrict in, int64_t n);
/* Rounds to nearest even; a NaN stays one. */
typedef void td_narrow_fn(uint16_t *restrict out, const float *restrict in, int64_t n);
/* buffer = buffer / ranks. Not for bf16. */
typedef void td_divide_fn(void *buffer, int64_t n, td_dtype dtype, int ranks);
/* to = also = from, by stores that fetch no line and leave none in the caches, where to and also
 * are at the same place of a line. No order to other stores before _mm_sfence. from is neither; to
 * and also may be each other. */
typedef void td_stream_fn(void *to, void *also, const void *from, int64_t bytes);

/* The two change places; apart. */
typedef void td_swap_fn(void *a, void *b, int64_t bytes);

/* The loops for the instruction set in use. */
typedef struct td_element_loops {
    td_combine_fn *combine;
    td_combine_four_fn *combine_four;
    td_widen_fn *widen;
    td_narrow_fn *narrow;
    td_divide_fn *divide;
    td_stream_fn *stream;
    td_swap_fn *swap;
} td_element_loops;
const td_element_loops *td_elements(void);

/* The same with bf16 besides: operands of either type, partial results in the type that dtype has
 * for them. Elements stored as bf16 are marked by TD_BF16, partial results by their own type. */
void td_elements_copy(void *to, td_dtype to_type, const void *from, td_dtype from_type, int64_t n);
void td_elements_combine(void *to, td_dtype to_type, const void *a, td_dtype a_type, const void *b,
                         td_dtype b_type, int64_t n, td_reduce reduce);
/* As copy, and divides by ranks when that is not 0; to may be from. */
void td_elements_finish(void *to, td_dtype to_type, const void *from, td_dtype from_type, int64_t n,
                        int ranks);

static inline td_dtype td_partial_type(td_dtype dtype) {
    return dtype == TD_BF16 ? TD_F32 : dtype;
}

#endif
