/* SPDX-License-Identifier: Apache-2.0
 * Attention of one query a sequence: a MAP head's probe, or the pooled token of a pruned last
 * block. A key is used once, so it is a pass over memory: K and V are walked in blocks of 16 keys
 * over all heads of a call, which reads whole rows where one head alone would read 256 bytes of
 * each, and of K only the block at hand is transposed, in L1. Every element keeps the chain that
 * the strips of many queries give it.
 */
#ifndef TD_KERNELS_PROBE_H
#define TD_KERNELS_PROBE_H

#include "kernels/attention/attention_plan.h"
#include "kernels/product.h"

/* to (16) = products of x (head) with the keys of a block, a chain over head each; where there are
 * fewer than 16 keys the other lanes are zero. block: head * 16 floats of scratch. Lines of the
 * next block are asked for meanwhile, one for each step of the chain. */
static __attribute__((noinline)) void td_probe_products(const float *x, const float *keys,
                                                        int64_t ld, int64_t n, int64_t head,
                                                        float *block, float *to) {
    td_v16 sum = td_v16_zero();
    const float *next = keys + TD_LANES * ld;
    int64_t col = 0;
    td_product_transpose(block, TD_LANES, keys, ld, n, head);
    for (int64_t c = 0; c < head; c++) {
        sum = td_v16_fma(td_v16_set1(x[c]), td_v16_load(block + c * TD_LANES), sum);
        __builtin_prefetch(next + col, 0, 2);
        col += TD_LANES;
        if (col >= head) {
            col = 0;
            next += ld;
        }
    }
    td_v16_store(to, sum);
}

TD_SIMD int64_t td_probe_keys(const td_attention_f32_args *args, int64_t j) {
    return args->n_k - j < TD_LANES ? args->n_k - j : TD_LANES;
}

/* Tiles [tile, the result) are heads of one sequence. */
static inline int64_t td_probe_end(const td_attention_f32_args *args, int64_t tile, int64_t last) {
    int64_t end = (tile / args->heads + 1) * args->heads;
    return end < last ? end : last;
}

#endif
