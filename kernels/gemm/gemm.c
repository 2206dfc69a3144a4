/* SPDX-License-Identifier: Apache-2.0
 * GEMM in f32: a step along k is one k, and operands keep their type.
 */
#define GEMM_STEP(a, b, acc) td_v16_fma(a, b, acc)
#include "kernels/gemm/gemm_loops.h"
#include "kernels/gemm/gemm_micro.h"
#include "kernels/gemm/gemm_pack.h"
#include "kernels/kernel.h"

static void prepare_b(const gemm_block *block, const td_gemm_pass *pass, float *to) {
    gemm_pack_b(to, block->args, pass->first, pass->count, block->col, block->cols);
}

/* A stored (m, k) is read in place: even where its rows are a multiple of the page apart and evict
 * one another from L1, copying them costs more (0.83 of peak against 0.88 with rows of 3,072
 * floats). A stored (k, m) is packed panel by panel into two places in turn: the first panel here,
 * each other by the tiles of the one before. */
static gemm_ahead copy_of(const gemm_block *block, const td_gemm_pass *pass, int64_t panel) {
    const td_gemm_f32_args *args = block->args;
    const int64_t stride = GEMM_MR * (pass->count + TD_GEMM_PANEL_PAD);
    int64_t row = block->row + panel_start(block, panel);
    return (gemm_ahead){
        .from = args->a + pass->first * args->lda + row,
        .to = block->scratch + block->layout.panels_a + panel % 2 * stride,
        .from_ld = args->lda,
        .to_ld = panel_start(block, panel + 1) - panel_start(block, panel),
        .copies = pass->count,
        .lanes = args->m - row,
        .copies_a_chunk = td_gemm_ceil_div(GEMM_CHUNK, block->panels_n),
    };
}

static void finish_ahead(gemm_ahead *ahead) {
    while (ahead->copies > 0) {
        gemm_copy_row(ahead);
    }
}

static void plan_ahead(const gemm_block *block, const td_gemm_pass *pass, int64_t panel,
                       gemm_ahead *ahead) {
    const td_gemm_f32_args *args = block->args;
    if (args->a_trans) {
        *ahead = copy_of(block, pass, panel + 1);
        return;
    }
    int64_t row = panel_start(block, panel + 1);
    ahead->rows = panel_start(block, panel + 2) - row;
    ahead->row_bytes = pass->count * (int64_t)sizeof(float);
    ahead->row_stride = args->lda * (int64_t)sizeof(float);
    ahead->row = (const char *)(args->a + (block->row + row) * args->lda + pass->first);
    ahead->line = ahead->row;
    ahead->row_end = ahead->row + ahead->row_bytes;
}

static void prepare_a(const gemm_block *block, const td_gemm_pass *pass, gemm_group *group) {
    if (block->args->a_trans && group->first == 0) {
        gemm_ahead first = copy_of(block, pass, 0);
        finish_ahead(&first);
    }
}

static gemm_panel find_panel(const gemm_block *block, const td_gemm_pass *pass,
                             const gemm_group *group, int64_t panel) {
    const td_gemm_f32_args *args = block->args;
    int64_t row = block->row + panel_start(block, panel);
    if (args->a_trans) {
        return (gemm_panel){group->packed + panel % 2 * group->stride, 0, true};
    }
    return (gemm_panel){args->a + row * args->lda + pass->first, args->lda, false};
}

void TD_FN(gemm_f32)(const td_gemm_f32_args *args, int64_t first, int64_t last, void *scratch) {
    TD_ASSERT(args->a_bf16 == NULL && args->b_bf16 == NULL && args->c_bf16 == NULL);
    run_tiles(args, args, first, last, scratch);
}

td_gemm_micro_size TD_FN(gemm_micro)(const td_gemm_micro *micro) {
    if (micro != NULL) {
        gemm_ahead nothing = {0};
        gemm_work work = {.ahead = &nothing,
                          .k = micro->k,
                          .a = micro->a,
                          .lda = micro->lda,
                          .b = micro->b,
                          .to = {micro->c, micro->vectors * TD_LANES}};
        gemm_tile_fn *tile = gemm_tiles[micro->packed][micro->vectors - 1][micro->rows];
        for (int64_t i = 0; i < micro->repeat; i++) {
            tile(&work);
        }
    }
    return (td_gemm_micro_size){GEMM_MR, GEMM_NV};
}
