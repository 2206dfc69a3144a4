/* SPDX-License-Identifier: Apache-2.0
 * Scratch of bf16 attention. n elements are at most td_attention_pad(n) steps, one or two a pair.
 */
#ifndef TD_KERNELS_ATTENTION_BF16_PLAN_H
#define TD_KERNELS_ATTENTION_BF16_PLAN_H

#include "kernels/attention/attention_plan.h"

/* A strip of scores; conversions may take one vector, or one row, more. */
static inline int64_t td_pair_strip_floats(int64_t keys) {
    return td_strip_floats(keys) + td_attention_pad(keys) + 16;
}

/* Rows of a strip whose steps run over them: an odd last one is half of a pair. */
enum { TD_PAIR_STRIP_MOST = TD_STRIP_MOST + 2 };

/* Forward: K transposed, V in pairs of keys, a block of keys, a strip of Q, a strip of scores. */
static inline int64_t td_attention_bf16_floats(const td_attention_f32_args *args) {
    int64_t ld = td_attention_pad(args->n_k), head = td_attention_pad(args->head);
    return (2 * ld + 16 + TD_STRIP_MOST) * head + td_pair_strip_floats(args->n_k);
}

/* Backward: K and V transposed, K in pairs of keys, dK and dV as they grow, a block of keys, strips
 * of Q and dO along the head and in pairs of queries, and of P, dS, and dS over queries. */
static inline int64_t td_attention_grad_bf16_floats(const td_attention_f32_args *args) {
    int64_t ld = td_attention_pad(args->n_k), head = td_attention_pad(args->head);
    return (5 * ld + 16 + 2 * TD_STRIP_MOST + 2 * TD_PAIR_STRIP_MOST) * head +
           3 * td_pair_strip_floats(args->n_k);
}

#endif
