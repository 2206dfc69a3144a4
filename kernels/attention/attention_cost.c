/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of attention. Only scores that are needed count: causal is half and the
 * diagonal. A score costs the FMAs of its products, and an FMA, a maximum, an exponential and a sum
 * or, backward, an FMA, an exponential, a difference and two products, however long their code is.
 */
#include "kernels/attention/attention_plan.h"
#include "kernels/kernel.h"

/* Sums over all sequences of one head: scores, rows of q (or o), rows of k (or v). */
typedef struct sums {
    double scores, queries, keys;
} sums;

static sums count(const td_attention_f32_args *args) {
    sums all = {0};
    for (int64_t s = 0; s < args->seqs; s++) {
        td_attention_place at = td_attention_place_of(args, s);
        double n_q = (double)at.n_q, n_k = (double)at.seen;
        all.scores += args->causal ? 0.5 * n_q * (n_q + 1) : n_q * n_k;
        all.queries += n_q;
        all.keys += n_k;
    }
    return all;
}

static double scores(const td_attention_f32_args *args) {
    return count(args).scores * (double)args->heads;
}

/* Elements of q and k, over all sequences and heads. */
static double elements(const td_attention_f32_args *args) {
    sums all = count(args);
    return (all.queries + all.keys) * (double)(args->heads * args->head);
}

int64_t td_attention_f32_tiles(const td_attention_f32_args *args) {
    return args->seqs * args->heads;
}

double td_attention_f32_flops(const td_attention_f32_args *args) {
    return scores(args) * (4 * (double)args->head + 5);
}

double td_attention_f32_bytes(const td_attention_f32_args *args) {
    return 8 * elements(args);
}

int64_t td_attention_f32_scratch(const td_attention_f32_args *args) {
    return td_attention_floats(args) * (int64_t)sizeof(float);
}

int64_t td_attention_grad_f32_tiles(const td_attention_grad_f32_args *args) {
    return td_attention_f32_tiles(&args->forward);
}

double td_attention_grad_f32_flops(const td_attention_grad_f32_args *args) {
    return scores(&args->forward) * (10 * (double)args->forward.head + 6);
}

double td_attention_grad_f32_bytes(const td_attention_grad_f32_args *args) {
    return 16 * elements(&args->forward);
}

int64_t td_attention_grad_f32_scratch(const td_attention_grad_f32_args *args) {
    return td_attention_grad_floats(&args->forward) * (int64_t)sizeof(float);
}
