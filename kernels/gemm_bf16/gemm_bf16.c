/* SPDX-License-Identifier: Apache-2.0
 * GEMM on operands that are bf16, or f32 rounded to it as they are packed, in the loops and tiles
 * of gemm_f32.
 *
 * All rows run with MXCSR flushing, the epilogue too.
 */
#include <immintrin.h>

#include "kernels/gemm_bf16/pair_steps.h"

#define GEMM_STEP(a, b, acc) pair_step(a, b, acc)

#define GEMM_B_STEP GEMM_NR
#include "kernels/gemm/gemm_loops.h"
#include "kernels/gemm/gemm_short.h"
#include "kernels/gemm_bf16/pairs_join.h"
#include "kernels/gemm_bf16/pairs_pack.h"
#include "kernels/gemm_bf16/pairs_plan.h"
#include "kernels/kernel.h"

/* Where a segment of a pass lies in the operands: `count` of k from `first`, an odd last one
 * included, as steps from `at` of the pass. */
typedef struct pair_range {
    int64_t first, count, at;
} pair_range;

static pair_range range_of(const gemm_block *block, const td_gemm_pass *pass, int segment) {
    const td_gemm_segment *s = &pass->segments[segment];
    int64_t b = 0;
    while (b + 1 < block->plan->k_blocks && td_gemm_block_start(block->plan, b + 1) <= s->first) {
        b++;
    }
    int64_t first = td_gemm_block_start(block->args, b) +
                    2 * (s->first - td_gemm_block_start(block->plan, b)) / PAIR_STEPS;
    int64_t left = td_gemm_block_start(block->args, b + 1) - first;
    int64_t most = 2 * s->count / PAIR_STEPS, count = left < most ? left : most;
    return (pair_range){first, s->count > 0 ? count : 0, s->first - pass->first};
}

TD_SIMD void pack_b(const gemm_block *block, const pair_range *range, int64_t count, float *to,
                    const bool stored) {
    const td_gemm_f32_args *args = block->args;
    const bf16_source b = bf16_source_b(args);
    const int64_t stride = GEMM_NR * count;
    if (args->b_trans) {
        pairs_pack_turned(to, stride, &b, block->col * b.ld + range->first, range->count,
                          block->cols, stored);
    } else {
        pairs_pack_rows(to, stride, &b, range->first * b.ld + block->col, range->count, block->cols,
                        stored);
    }
}

static void prepare_b(const gemm_block *block, const td_gemm_pass *pass, float *to) {
    for (int i = 0; i < pass->n_segments; i++) {
        pair_range range = range_of(block, pass, i);
        if (block->args->b_bf16 != NULL) {
            pack_b(block, &range, pass->count, to + range.at * GEMM_NR, true);
        } else {
            pack_b(block, &range, pass->count, to + range.at * GEMM_NR, false);
        }
    }
}

/* Block b of k, whole. */
static pair_range range_of_block(const gemm_block *block, int64_t b) {
    const int64_t first = td_gemm_block_start(block->args, b);
    return (pair_range){first, td_gemm_block_start(block->args, b + 1) - first,
                        td_gemm_block_start(block->plan, b)};
}

static void short_pack_b(const gemm_block *block, float *to) {
    for (int64_t b = 0; b < block->plan->k_blocks; b++) {
        pair_range range = range_of_block(block, b);
        if (block->args->b_bf16 != NULL) {
            pack_b(block, &range, block->plan->k, to + range.at * GEMM_NR, true);
        } else {
            pack_b(block, &range, block->plan->k, to + range.at * GEMM_NR, false);
        }
    }
}

TD_SIMD void short_pack_columns(const bf16_source *a, const pair_range *range, int64_t row,
                                int64_t rows, float *to, const bool stored) {
    for (int64_t k = 0; k < range->count; k += 2, to += PAIR_STEPS * SHORT_LDA) {
        const int64_t lower = (range->first + k) * a->ld + row;
        const int64_t upper = k + 1 < range->count ? lower + a->ld : -1;
        for (int64_t i = 0; i < rows; i += TD_LANES) {
            steps_across(to + i, SHORT_LDA, a, lower + i, upper >= 0 ? upper + i : -1, rows - i,
                         stored);
        }
    }
}

static void short_pack_a(const gemm_block *block, int64_t row, int64_t rows, float *to) {
    const bf16_source a = bf16_source_a(block->args);
    for (int64_t b = 0; b < block->plan->k_blocks; b++) {
        const pair_range range = range_of_block(block, b);
        float *part = to + range.at * SHORT_LDA;
        if (a.bf16 != NULL) {
            short_pack_columns(&a, &range, row, rows, part, true);
        } else {
            short_pack_columns(&a, &range, row, rows, part, false);
        }
    }
}

/* Rows of steps, as far apart in the group's scratch as a full vector behind the last step needs:
 * the next row overwrites what is too much. */
static int64_t row_stride(const td_gemm_pass *pass) {
    return pass->count + TD_GEMM_PANEL_PAD;
}

/* The group's panels; start: their first rows, and the end. */
TD_SIMD void pack_a(const gemm_block *block, const td_gemm_pass *pass, const gemm_group *group,
                    const pair_range *range, const int64_t *start, const bool stored) {
    const td_gemm_f32_args *args = block->args;
    const bf16_source a = bf16_source_a(args);
    const int64_t panels = group->last - group->first;
    for (int64_t q = 0; q < panels && !args->a_trans; q++) {
        float *panel = group->packed + q * group->stride + range->at;
        for (int64_t row = start[q]; row < start[q + 1]; row++) {
            steps_of_row(panel + (row - start[q]) * row_stride(pass), &a, row * a.ld + range->first,
                         range->count, stored);
        }
    }
    if (args->a_trans) {
        pairs_pack_panels(group->packed, group->stride, range->at, &a, range->first * a.ld,
                          range->count, start, panels, args->m, stored);
    }
}

static void prepare_a(const gemm_block *block, const td_gemm_pass *pass, gemm_group *group) {
    int64_t start[TD_GEMM_GROUP + 1];
    for (int64_t q = group->first; q <= group->last; q++) {
        start[q - group->first] = block->row + panel_start(block, q);
    }
    for (int i = 0; i < pass->n_segments; i++) {
        pair_range range = range_of(block, pass, i);
        if (block->args->a_bf16 != NULL) {
            pack_a(block, pass, group, &range, start, true);
        } else {
            pack_a(block, pass, group, &range, start, false);
        }
    }
}

/* Rounding is more than a copy: panels are made ready in groups, none by the tiles before. */
static void plan_ahead(const gemm_block *block, const td_gemm_pass *pass, int64_t panel,
                       gemm_ahead *ahead) {
    (void)block, (void)pass, (void)panel, (void)ahead;
}

static void finish_ahead(gemm_ahead *ahead) {
    (void)ahead;
}

static gemm_panel find_panel(const gemm_block *block, const td_gemm_pass *pass,
                             const gemm_group *group, int64_t panel) {
    return (gemm_panel){group->packed + (panel - group->first) * group->stride, row_stride(pass),
                        block->args->a_trans};
}

void TD_FN(gemm_bf16)(const td_gemm_bf16_args *given, int64_t first, int64_t last, void *scratch) {
    if (first >= last) {
        return;
    }
    const unsigned mxcsr = _mm_getcsr(), flush = 0x8040;
    _mm_setcsr(mxcsr | flush);
    td_gemm_bf16_args joined = *given, *const args = &joined;
    joined.k_blocks /= pairs_join(given) ? 2 : 1;
    int64_t *starts = (int64_t *)(((uintptr_t)scratch + 7) & ~(uintptr_t)7);
    td_gemm_f32_args plan = td_pairs_plan(args, PAIR_STEPS, starts);
    if (plan.k_starts != NULL) {
        starts[0] = 0;
        for (int64_t b = 0; b < args->k_blocks; b++) {
            int64_t size = td_gemm_block_start(args, b + 1) - td_gemm_block_start(args, b);
            starts[b + 1] = starts[b] + td_gemm_ceil_div(size, 2) * PAIR_STEPS;
        }
        plan.k = starts[args->k_blocks];
    }
    gemm_block block =
        block_of(args, &plan, td_gemm_cut_of(&plan, GEMM_DEPTH), starts + args->k_blocks + 1);
    const bool is_short = td_gemm_is_short(args) && td_gemm_is_short(&plan);
    run_tiles(&block, is_short ? short_strip : run_strip, first, last);
    _mm_setcsr(mxcsr);
}
