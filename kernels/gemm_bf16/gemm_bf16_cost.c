/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/gemm_bf16/pairs_plan.h"
#include "kernels/kernel.h"

int64_t td_gemm_bf16_tiles(const td_gemm_bf16_args *args) {
    return td_gemm_f32_tiles(args);
}

double td_gemm_bf16_flops(const td_gemm_bf16_args *args) {
    return td_gemm_f32_flops(args);
}

double td_gemm_bf16_bytes(const td_gemm_bf16_args *args) {
    return td_gemm_f32_bytes(args);
}

/* What rows of one and of two steps a pair need at most. */
int64_t td_gemm_bf16_scratch(const td_gemm_bf16_args *args) {
    const int64_t unread = 0;
    td_gemm_f32_args pairs = td_pairs_plan(args, 1, &unread),
                     apart = td_pairs_plan(args, 2, &unread);
    int64_t joined = td_gemm_f32_scratch(&pairs), two = td_gemm_f32_scratch(&apart);
    return (joined > two ? joined : two) + (args->k_blocks + 1) * (int64_t)sizeof(int64_t);
}
