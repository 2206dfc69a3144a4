/* SPDX-License-Identifier: Apache-2.0
 * For every operation what its results must be in f64, within a bound that is a formula of the
 * shape and the inputs (gamma_k = k u / (1 - k u) times the sum of magnitudes for a sum of k
 * products), or bit for bit where the contract fixes every rounding.
 */
#ifndef TD_TESTS_KERNEL_ORACLES_H
#define TD_TESTS_KERNEL_ORACLES_H

#include "kernel_twin.h"

twin_check_fn oracle_gemm_f32, oracle_gemm_pack, oracle_gemm_bf16, oracle_gemm_amx;
twin_check_fn oracle_im2col, oracle_tokens, oracle_rows_copy;
twin_check_fn oracle_embedding, oracle_embedding_sort, oracle_embedding_grad;
twin_check_fn oracle_bag, oracle_bag_grad, oracle_cross_entropy;
twin_check_fn oracle_layernorm, oracle_layernorm_grad_x, oracle_layernorm_grad_w;
twin_check_fn oracle_colsum, oracle_softmax, oracle_gelu, oracle_vmath;
twin_check_fn oracle_attention, oracle_attention_grad;
twin_check_fn oracle_attention_bf16, oracle_attention_grad_bf16;
twin_check_fn oracle_pool, oracle_pool_grad, oracle_l2norm, oracle_l2norm_grad;
twin_check_fn oracle_contrastive_lse, oracle_contrastive_grad;
twin_check_fn oracle_pairs_lse, oracle_pairs_grad, oracle_sigmoid_loss;
twin_check_fn oracle_scores_softmax, oracle_scores_sigmoid;
twin_check_fn oracle_sumsq, oracle_adamw, oracle_lion, oracle_ema, oracle_to_bf16, oracle_widened;

/* NULL for an operation that has none. */
twin_check_fn *kernel_oracle(td_op_id op);

static inline double oracle_gamma(double k) {
    return k * TWIN_U / (1 - k * TWIN_U);
}

#endif
