/* SPDX-License-Identifier: Apache-2.0
 * Scores of one strip of query rows, and the number of keys it sees.
 */
#ifndef TD_KERNELS_STRIP_H
#define TD_KERNELS_STRIP_H

#include "kernels/attention/attention_plan.h"
#include "kernels/product.h"

/* 1 / sqrt(head): the root and the quotient round once each. */
TD_SIMD float td_attention_scale(const td_attention_f32_args *args) {
    return 1.0f / sqrtf((float)args->head);
}

/* Rows of the strip that starts at row `first`. */
TD_SIMD int64_t td_strip_rows(const td_attention_f32_args *args, int64_t first) {
    int64_t rows = args->causal ? TD_STRIP_ROWS_CAUSAL : TD_STRIP_ROWS;
    return args->n_q - first < rows ? args->n_q - first : rows;
}

/* Keys that the rows [first, first + rows) touch: for a causal strip up to its last row's own. */
TD_SIMD int64_t td_strip_keys(const td_attention_f32_args *args, int64_t first, int64_t rows) {
    return args->causal ? first + rows : args->n_k;
}

/* Keys that row i sees. */
TD_SIMD int64_t td_row_keys(const td_attention_f32_args *args, int64_t i) {
    return args->causal ? i + 1 : args->n_k;
}

/* The causal products: of rows of keys seen, and, by columns, of queries that see. */
static __attribute__((noinline, unused)) void td_strip_lower(const td_product *p) {
    td_product_all(p, TD_TRIANGLE_LOWER);
}

static __attribute__((noinline, unused)) void td_strip_upper(const td_product *p) {
    td_product_all(p, TD_TRIANGLE_UPPER);
}

/* to (rows, ld) = x (rows, head) times a transposed operand (head, ld), for the first `keys` keys
 * rounded up to whole vectors. */
TD_SIMD void td_strip_scores(const td_attention_f32_args *args, const float *x, int64_t x_row,
                             int64_t rows, int64_t keys, const float *transposed, float *to) {
    int64_t ld = td_attention_pad(args->n_k);
    td_product_run(&(td_product){.m = rows,
                                 .n = td_attention_pad(keys),
                                 .k = args->head,
                                 .a = x,
                                 .a_row = x_row,
                                 .a_col = 1,
                                 .b = transposed,
                                 .ldb = ld,
                                 .c = to,
                                 .ldc = ld});
}

#endif
