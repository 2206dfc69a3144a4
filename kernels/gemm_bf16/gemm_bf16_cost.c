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

/* Of products whose k is counted in steps of so many a pair, on any ISA: all pack both operands. */
static int64_t steps_scratch(const td_gemm_bf16_args *args, int64_t pair_steps) {
    const int64_t unread = 0, depths[] = {TD_GEMM_DEPTH_AVX512, TD_GEMM_DEPTH_AVX2};
    const td_gemm_f32_args plan = td_pairs_plan(args, pair_steps, &unread);
    int64_t most = 0;
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        int64_t bytes = td_gemm_layout_of(&plan, td_gemm_cut_of(&plan, depths[i])).bytes;
        most = bytes > most ? bytes : most;
    }
    return most;
}

int64_t td_gemm_bf16_scratch(const td_gemm_bf16_args *args) {
    int64_t joined = steps_scratch(args, 1), two = steps_scratch(args, 2);
    return (joined > two ? joined : two) + (args->k_blocks + 1) * (int64_t)sizeof(int64_t);
}
