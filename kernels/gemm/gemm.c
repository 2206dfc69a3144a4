/* SPDX-License-Identifier: Apache-2.0
 * GEMM in f32: a step along k is one k, and operands keep their type.
 */
#define GEMM_STEP(a, b, acc) td_v16_fma(a, b, acc)
#include "kernels/gemm/gemm_loops.h"
#include "kernels/gemm/gemm_pack.h"
#include "kernels/kernel.h"

static void prepare_b(const gemm_block *block, const td_gemm_pass *pass, float *to) {
    gemm_pack_b(to, block->args, pass->first, pass->count, block->col, block->cols);
}

/* A stored (m, k) is read in place: even where its rows are a multiple of the page apart and evict
 * one another from L1, copying them costs more (0.83 of peak against 0.88 with rows of 3,072
 * floats). */
static void prepare_a(const gemm_block *block, const td_gemm_pass *pass, gemm_group *group) {
    const td_gemm_f32_args *args = block->args;
    int64_t start[TD_GEMM_GROUP + 1];
    for (int64_t q = group->first; q <= group->last && args->a_trans; q++) {
        start[q - group->first] = block->row + panel_start(block, q);
    }
    if (args->a_trans) {
        gemm_pack_a(group->packed, group->stride, args->a + pass->first * args->lda, args->lda,
                    pass->count, start, group->last - group->first, args->m);
    }
}

static gemm_panel find_panel(const gemm_block *block, const td_gemm_pass *pass,
                             const gemm_group *group, int64_t panel) {
    const td_gemm_f32_args *args = block->args;
    int64_t row = block->row + panel_start(block, panel);
    if (args->a_trans) {
        return (gemm_panel){group->packed + (panel - group->first) * group->stride, 0, true};
    }
    return (gemm_panel){args->a + row * args->lda + pass->first, args->lda, false};
}

void TD_FN(gemm_f32)(const td_gemm_f32_args *args, int64_t first, int64_t last, void *scratch) {
    run_tiles(args, args, first, last, scratch);
}
