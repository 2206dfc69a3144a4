/* SPDX-License-Identifier: Apache-2.0
 * How k is counted in pairs. A block of k is cut into consecutive pairs from its own start, the
 * last one padded with a zero where the block is odd; pairs, or the two steps of each, are then
 * what k is to gemm_plan.h.
 */
#ifndef TD_KERNELS_GEMM_BF16_PAIRS_PLAN_H
#define TD_KERNELS_GEMM_BF16_PAIRS_PLAN_H

#include "kernels/gemm/gemm_plan.h"

/* Blocks of different sizes, whose starts in steps need a place in scratch. */
static inline bool td_pairs_need_starts(const td_gemm_f32_args *args) {
    return args->k_starts != NULL || args->k % args->k_blocks != 0;
}

/* args with k and its blocks in steps, one or two a pair. starts (k_blocks + 1): its place; filled
 * by the caller, and not read for what scratch needs. */
static inline td_gemm_f32_args td_pairs_plan(const td_gemm_f32_args *args, int64_t pair_steps,
                                             const int64_t *starts) {
    td_gemm_f32_args plan = *args;
    bool uneven = td_pairs_need_starts(args);
    int64_t pairs = uneven ? (args->k + args->k_blocks) / 2
                           : args->k_blocks * td_gemm_ceil_div(args->k / args->k_blocks, 2);
    plan.k_starts = uneven ? starts : NULL;
    plan.k = pairs * pair_steps;
    return plan;
}

#endif
