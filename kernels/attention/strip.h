/* SPDX-License-Identifier: Apache-2.0
 * What forward and backward attention do alike: strips of query rows, their scores, and the keys
 * they see.
 */
#ifndef TD_KERNELS_STRIP_H
#define TD_KERNELS_STRIP_H

#include "kernels/attention/attention_plan.h"
#include "kernels/product.h"
#include "kernels/row.h"

/* 1 / sqrt(head): the root and the quotient round once each. */
TD_SIMD float td_attention_scale(const td_attention_f32_args *args) {
    return 1.0f / sqrtf((float)args->head);
}

/* Rows of every strip but the last: equal, even for those who take them in pairs, and whole groups
 * of 16 where causal, so that a group's diagonal lies in one vector. */
static inline int64_t td_strip_rows(const td_attention_f32_args *args) {
    int64_t most = TD_STRIP_SCORES / td_attention_pad(args->n_k > 0 ? args->n_k : 1);
    most = most < TD_STRIP_LEAST ? TD_STRIP_LEAST : most > TD_STRIP_MOST ? TD_STRIP_MOST : most;
    if (args->causal) {
        return most / TD_LANES * TD_LANES;
    }
    most = most / 2 * 2;
    int64_t strips = (args->n_q + most - 1) / most;
    return strips > 0 ? ((args->n_q + strips - 1) / strips + 1) / 2 * 2 : 2;
}

/* Keys that the rows [first, first + rows) touch: for a causal strip up to its last row's own. */
TD_SIMD int64_t td_strip_keys(const td_attention_f32_args *args, int64_t first, int64_t rows) {
    return args->causal ? first + rows : args->n_k;
}

/* Keys that row i sees. */
TD_SIMD int64_t td_row_keys(const td_attention_f32_args *args, int64_t i) {
    return args->causal ? i + 1 : args->n_k;
}

/* Steps that a product over n elements of k takes. */
TD_SIMD int64_t td_strip_steps(int64_t n) {
    return td_product_steps(n + TD_PRODUCT_SPAN - 1);
}

/* About how many steps register tiles take in so many products of attention. */
static inline int64_t td_strip_tile_steps(const td_attention_f32_args *args, int64_t products) {
    const int64_t units = products * args->n_q * args->n_k * args->head / TD_PRODUCT_SPAN;
    const int64_t steps = units * TD_PRODUCT_STEPS / (TD_PRODUCT_SUMS * TD_LANES);
    return args->causal ? steps / 2 : steps;
}

/* The products of attention, with prefetching: of all keys, of the keys that rows see, and, by
 * columns, of the queries that see a key. */
static __attribute__((noinline)) void td_strip_whole(const td_product *p) {
    td_product_all(p, TD_TRIANGLE_NONE, true);
}

static __attribute__((noinline, unused)) void td_strip_lower(const td_product *p) {
    td_product_all(p, TD_TRIANGLE_LOWER, true);
}

static __attribute__((noinline, unused)) void td_strip_upper(const td_product *p) {
    td_product_all(p, TD_TRIANGLE_UPPER, true);
}

/* Whether rows that are read more than once are copied side by side first: where strips read them
 * again and again, and where they are multiples of 4 KiB apart, as rows of qkv are at width 1,024,
 * and share so few sets of L1 and L2 that they evict each other. Otherwise the copy costs more. */
static inline bool td_strip_packs(const td_attention_f32_args *args) {
    const int64_t page = 4096 / (int64_t)sizeof(float);
    return args->n_q > td_strip_rows(args) || args->kv_row % page == 0;
}

/* to (rows, head padded to whole vectors) = rows of a wider matrix. */
static inline void td_strip_pack(float *to, const float *from, int64_t ld, int64_t rows,
                                 int64_t head) {
    int64_t to_ld = td_attention_pad(head);
    for (int64_t r = 0; r < rows; r++) {
        td_row_copy(to + r * to_ld, from + r * ld, head);
    }
}

/* to (rows, ld) = x (rows, head), which starts at row `first` of all queries, times a transposed
 * operand (head, ld), for the keys that some row of a group sees, rounded up to whole vectors. */
static inline void td_strip_scores(const td_attention_f32_args *args, const float *x, int64_t x_row,
                                   int64_t first, int64_t rows, const float *transposed, float *to,
                                   td_ahead *ahead) {
    int64_t ld = td_attention_pad(args->n_k), group = args->causal ? TD_LANES : rows;
    for (int64_t r = 0; r < rows; r += group) {
        int64_t m = rows - r < group ? rows - r : group;
        td_strip_whole(&(td_product){.m = m,
                                     .n = td_attention_pad(td_strip_keys(args, first + r, m)),
                                     .k = td_strip_steps(args->head),
                                     .a = x + r * x_row,
                                     .a_row = x_row,
                                     .a_col = 1,
                                     .b = transposed,
                                     .ldb = ld,
                                     .c = to + r * ld,
                                     .ldc = ld,
                                     .ahead = ahead});
    }
}

#endif
