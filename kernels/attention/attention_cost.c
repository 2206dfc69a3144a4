/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of attention. Only scores that are needed count: causal is half and the
 * diagonal.
 */
#include "kernels/attention/attention_plan.h"
#include "kernels/kernel.h"

static double scores(const td_attention_f32_args *args) {
    double each = args->causal ? 0.5 * (double)args->n_q * (double)(args->n_q + 1)
                               : (double)args->n_q * (double)args->n_k;
    return each * (double)args->seqs * (double)args->heads;
}

/* Elements of q (or o), and of k (or v), over all sequences and heads. */
static double query_elements(const td_attention_f32_args *args) {
    return (double)args->seqs * (double)args->heads * (double)args->head * (double)args->n_q;
}

static double key_elements(const td_attention_f32_args *args) {
    return (double)args->seqs * (double)args->heads * (double)args->head * (double)args->n_k;
}

int64_t td_attention_f32_tiles(const td_attention_f32_args *args) {
    return args->seqs * args->heads;
}

double td_attention_f32_flops(const td_attention_f32_args *args) {
    return scores(args) * (4 * (double)args->head + 20);
}

double td_attention_f32_bytes(const td_attention_f32_args *args) {
    return 8 * (query_elements(args) + key_elements(args));
}

int64_t td_attention_f32_scratch(const td_attention_f32_args *args) {
    return td_attention_floats(args) * (int64_t)sizeof(float);
}

int64_t td_attention_grad_f32_tiles(const td_attention_grad_f32_args *args) {
    return td_attention_f32_tiles(&args->forward);
}

double td_attention_grad_f32_flops(const td_attention_grad_f32_args *args) {
    return scores(&args->forward) * (10 * (double)args->forward.head + 20);
}

double td_attention_grad_f32_bytes(const td_attention_grad_f32_args *args) {
    return 16 * (query_elements(&args->forward) + key_elements(&args->forward));
}

int64_t td_attention_grad_f32_scratch(const td_attention_grad_f32_args *args) {
    return 2 * td_attention_floats(&args->forward) * (int64_t)sizeof(float);
}
