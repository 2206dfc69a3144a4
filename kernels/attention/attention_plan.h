/* SPDX-License-Identifier: Apache-2.0
 * What forward and backward attention share: the strip of query rows that is worked on at once, and
 * the scratch they lay out.
 */
#ifndef TD_KERNELS_ATTENTION_PLAN_H
#define TD_KERNELS_ATTENTION_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/args.h"

/* A strip's scores stay in L1: 5,120 of them are 20 KiB, 24 rows of 197 keys, or all rows where the
 * keys are 50. At least the 16 rows whose softmax is done together. Any height gives the same bits.
 */
enum { TD_STRIP_SCORES = 5120, TD_STRIP_LEAST = 16, TD_STRIP_MOST = 96 };

static inline int64_t td_attention_pad(int64_t keys) {
    return (keys + 15) / 16 * 16;
}

/* Where one sequence lies: rows of q and o, rows of k and v, and the keys its queries see. */
typedef struct td_attention_place {
    int64_t q, kv; /* elements before the first row */
    int64_t o;
    int64_t n_q, n_k, seen;
} td_attention_place;

static inline td_attention_place td_attention_place_of(const td_attention_f32_args *args,
                                                       int64_t s) {
    td_attention_place at = {s * args->q_seq, s * args->kv_seq, s * args->o_seq,
                             args->n_q,       args->n_k,        args->n_k};
    if (args->q_starts != NULL) {
        at.q = args->q_starts[s] * args->q_row;
        at.o = args->q_starts[s] * args->o_row;
        at.n_q = args->q_starts[s + 1] - args->q_starts[s];
    }
    if (args->kv_starts != NULL) {
        at.kv = args->kv_starts[s] * args->kv_row;
        at.n_k = args->kv_starts[s + 1] - args->kv_starts[s];
    }
    at.seen = args->kv_seen != NULL ? args->kv_seen[s] : at.n_k;
    return at;
}

/* The same head of one sequence as if it were the whole batch. */
static inline td_attention_f32_args td_attention_one(const td_attention_f32_args *args, int64_t s,
                                                     int64_t h) {
    td_attention_place at = td_attention_place_of(args, s);
    td_attention_f32_args one = *args;
    one.n_q = at.n_q;
    one.n_k = at.seen;
    if (args->q_bf16 != NULL) {
        one.q_bf16 += at.q + h * args->head;
        one.k_bf16 += at.kv + h * args->head;
        one.v_bf16 += at.kv + h * args->head;
    } else {
        one.q += at.q + h * args->head;
        one.k += at.kv + h * args->head;
        one.v += at.kv + h * args->head;
    }
    one.o += at.o + h * args->head;
    one.lse += (s * args->heads + h) * args->n_q;
    return one;
}

/* Whether all queries are single ones, for probe.h. */
static inline bool td_attention_probes(const td_attention_f32_args *args) {
    return args->n_q == 1 && !args->causal;
}

static inline int64_t td_strip_floats(int64_t keys) {
    int64_t least = TD_STRIP_LEAST * td_attention_pad(keys);
    return least > TD_STRIP_SCORES ? least : TD_STRIP_SCORES;
}

/* Floats of scratch, forward: K transposed, V packed, a strip of scores; or a row of scores and 1 /
 * sum for each head, and a transposed block. */
static inline int64_t td_attention_floats(const td_attention_f32_args *args) {
    int64_t ld = td_attention_pad(args->n_k), head = td_attention_pad(args->head);
    if (td_attention_probes(args)) {
        return args->heads * ld + td_attention_pad(args->heads) + 16 * head;
    }
    return 2 * head * ld + td_strip_floats(args->n_k);
}

/* Backward: K and V transposed, K packed, dK and dV as they grow, strips of Q, dO, P and dS. */
static inline int64_t td_attention_grad_floats(const td_attention_f32_args *args) {
    int64_t ld = td_attention_pad(args->n_k), head = td_attention_pad(args->head);
    if (td_attention_probes(args)) {
        return args->heads + 32 + 16 * head;
    }
    return 5 * head * ld + 2 * TD_STRIP_MOST * head + 2 * td_strip_floats(args->n_k);
}

#endif
