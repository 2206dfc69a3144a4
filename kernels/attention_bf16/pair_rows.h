/* SPDX-License-Identifier: Apache-2.0
 * Operands of bf16 attention as steps of pair_steps.h, packed from rows of Q, K, V and dO, or made
 * of strips of f32 in place.
 */
#ifndef TD_KERNELS_PAIR_ROWS_H
#define TD_KERNELS_PAIR_ROWS_H

#include "kernels/attention_bf16/attention_bf16_plan.h"
#include "kernels/product.h"

/* The rows of x from row i on. */
TD_SIMD bf16_source pair_rows_from(const bf16_source *x, int64_t i, const bool stored) {
    return (bf16_source){stored ? NULL : x->f32 + i * x->ld, stored ? x->bf16 + i * x->ld : NULL,
                         x->ld};
}

/* to (rows, head padded) = steps along the head of rows of x from element 0 on. */
TD_SIMD void pair_rows_along(float *to, const bf16_source *x, int64_t rows, int64_t head,
                             const bool stored) {
    for (int64_t r = 0; r < rows; r++) {
        steps_of_row(to + r * td_attention_pad(head), x, r * x->ld, head, stored);
    }
}

/* to (steps of rows, head padded) = steps over rows of x; an odd last row has no upper one. */
TD_SIMD void pair_rows_over(float *to, const bf16_source *x, int64_t rows, int64_t head,
                            const bool stored) {
    const int64_t ld = td_attention_pad(head);
    for (int64_t r = 0; r < rows; r += 2, to += PAIR_STEPS * ld) {
        for (int64_t c = 0; c < head; c += TD_LANES) {
            int64_t lower = r * x->ld + c, upper = r + 1 < rows ? lower + x->ld : -1;
            steps_across(to + c, ld, x, lower, upper, head - c, stored);
        }
    }
}

/* to (steps of the head, rows padded) = the transpose of rows of x along the head, zero for rows
 * that there are not. block: 16 rows of the padded head. */
TD_SIMD void pair_rows_turned(float *to, const bf16_source *x, int64_t rows, int64_t head,
                              float *block, const bool stored) {
    const int64_t ld = td_attention_pad(rows), wide = td_attention_pad(head);
    for (int64_t i = 0; i < rows; i += TD_LANES) {
        const bf16_source at = pair_rows_from(x, i, stored);
        int64_t height = rows - i < TD_LANES ? rows - i : TD_LANES;
        pair_rows_along(block, &at, height, head, stored);
        td_product_transpose(to + i, ld, block, wide, height, pair_steps(head));
    }
}

/* Rows of Q, K or V of the next head, f32 or stored. */
static inline void pair_rows_ahead(td_ahead *ahead, const float *f32, const uint16_t *bf16,
                                   int64_t ld, int64_t rows, int64_t head) {
    if (bf16 != NULL) {
        const int64_t size = (int64_t)sizeof *bf16;
        td_ahead_add_bytes(ahead, bf16, ld * size, rows, head * size);
    } else {
        td_ahead_add(ahead, f32, ld, rows, head);
    }
}

TD_SIMD td_v16 pair_round(td_v16 x) {
    return td_i16_as_v16(td_i16_shl(td_v16_to_bf16(x), 16));
}

/* In place: `count` floats of a row to their steps along it, in whole vectors: what stands behind
 * the count becomes steps as well, and is read up to 32 floats further. */
static inline void pair_row_in_place(float *row, int64_t count) {
    float *to = row;
    for (int64_t c = 0; c < count; c += PAIRS_ALONG, to += TD_LANES) {
#if defined(__AVX512BF16__)
        td_v16_store(to, pairs_along(td_v16_load(row + c), td_v16_load(row + c + TD_LANES)));
#else
        td_v16_store(to, td_v16_swap_pairs(pair_round(td_v16_load(row + c))));
#endif
    }
}

/* to (steps of rows, ld) = steps over rows of from (rows, ld), the first `cols` columns in whole
 * vectors; to may be from. */
static inline void pair_rows_join(float *to, const float *from, int64_t ld, int64_t rows,
                                  int64_t cols) {
    for (int64_t r = 0; r < rows; r += 2, from += 2 * ld, to += PAIR_STEPS * ld) {
        for (int64_t c = 0; c < cols; c += TD_LANES) {
            td_v16 lower = td_v16_load(from + c);
            td_v16 upper = r + 1 < rows ? td_v16_load(from + ld + c) : td_v16_zero();
#if defined(__AVX512BF16__)
            td_v16_store(to + c, pairs_across(lower, upper));
#else
            td_v16_store(to + c, pair_round(upper));
            td_v16_store(to + ld + c, pair_round(lower));
#endif
        }
    }
}

#endif
