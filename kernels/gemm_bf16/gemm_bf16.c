/* SPDX-License-Identifier: Apache-2.0
 * GEMM on operands rounded to bf16 while they are packed: a step along k is a pair, two bf16 in 32
 * bits, so the loops and tiles of gemm_f32 serve, with a dot product of pairs for the FMA.
 *
 * The pair (lower k in the low half) is what VDPBF16PS does: two FMAs, upper product first, each
 * rounded to nearest even, denormals zero on the way in and out whatever MXCSR says. Rows without
 * the instruction do the same FMAs; all of them run with MXCSR flushing, the epilogue too.
 */
#include <immintrin.h>

#include "kernels/convert/bf16.h"

#if defined(__AVX512BF16__)
TD_SIMD td_v16 pair_dot(td_v16 a, td_v16 b, td_v16 acc) {
    return _mm512_dpbf16_ps(acc, (__m512bh)_mm512_castps_si512(a),
                            (__m512bh)_mm512_castps_si512(b));
}
#else
TD_SIMD td_v16 pair_upper(td_v16 pairs) {
    return td_i16_as_v16(td_i16_and(td_v16_as_i16(pairs), td_i16_set1((int32_t)0xFFFF0000)));
}

TD_SIMD td_v16 pair_lower(td_v16 pairs) {
    return td_i16_as_v16(td_i16_shl(td_v16_as_i16(pairs), 16));
}

TD_SIMD td_v16 pair_dot(td_v16 a, td_v16 b, td_v16 acc) {
    acc = td_v16_fma(pair_upper(a), pair_upper(b), acc);
    return td_v16_fma(pair_lower(a), pair_lower(b), acc);
}
#endif

#define GEMM_STEP(a, b, acc) pair_dot(a, b, acc)
#include "kernels/gemm/gemm_loops.h"
#include "kernels/gemm_bf16/pairs_pack.h"
#include "kernels/gemm_bf16/pairs_plan.h"
#include "kernels/kernel.h"

/* Where a segment of a pass lies in the operands: `count` of k from `first`, an odd last one
 * included, as pairs from `at` of the pass. */
typedef struct pair_range {
    int64_t first, count, at;
} pair_range;

static pair_range range_of(const gemm_block *block, const td_gemm_pass *pass, int segment) {
    const td_gemm_segment *s = &pass->segments[segment];
    int64_t b = 0;
    while (b + 1 < block->plan->k_blocks && td_gemm_block_start(block->plan, b + 1) <= s->first) {
        b++;
    }
    int64_t first =
        td_gemm_block_start(block->args, b) + 2 * (s->first - td_gemm_block_start(block->plan, b));
    int64_t left = td_gemm_block_start(block->args, b + 1) - first;
    int64_t count = left < 2 * s->count ? left : 2 * s->count;
    return (pair_range){first, s->count > 0 ? count : 0, s->first - pass->first};
}

static void prepare_b(const gemm_block *block, const td_gemm_pass *pass, float *to) {
    const td_gemm_f32_args *args = block->args;
    for (int i = 0; i < pass->n_segments; i++) {
        pair_range range = range_of(block, pass, i);
        float *at = to + range.at * GEMM_NR;
        const int64_t stride = GEMM_NR * pass->count;
        if (args->b_trans) {
            pairs_pack_turned(at, stride, args->b + block->col * args->ldb + range.first, args->ldb,
                              range.count, block->cols);
        } else {
            pairs_pack_rows(at, stride, args->b + range.first * args->ldb + block->col, args->ldb,
                            range.count, block->cols);
        }
    }
}

/* Rows of pairs, as far apart in the group's scratch as a full vector behind the last pair needs:
 * the next row overwrites what is too much. */
static int64_t row_stride(const td_gemm_pass *pass) {
    return pass->count + TD_GEMM_PANEL_PAD;
}

static void prepare_a(const gemm_block *block, const td_gemm_pass *pass, gemm_group *group) {
    const td_gemm_f32_args *args = block->args;
    int64_t start[TD_GEMM_GROUP + 1];
    for (int64_t q = group->first; q <= group->last; q++) {
        start[q - group->first] = block->row + panel_start(block, q);
    }
    for (int i = 0; i < pass->n_segments; i++) {
        pair_range range = range_of(block, pass, i);
        const int64_t panels = group->last - group->first;
        if (args->a_trans) {
            pairs_pack_panels(group->packed, group->stride, range.at,
                              args->a + range.first * args->lda, args->lda, range.count, start,
                              panels, args->m);
            continue;
        }
        for (int64_t q = 0; q < panels; q++) {
            for (int64_t row = start[q]; row < start[q + 1]; row++) {
                float *to = group->packed + q * group->stride + (row - start[q]) * row_stride(pass);
                pairs_of_row(to + range.at, args->a + row * args->lda + range.first, range.count);
            }
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

void TD_FN(gemm_bf16)(const td_gemm_bf16_args *args, int64_t first, int64_t last, void *scratch) {
    const unsigned mxcsr = _mm_getcsr(), flush = 0x8040;
    _mm_setcsr(mxcsr | flush);
    int64_t *starts = (int64_t *)(((uintptr_t)scratch + 7) & ~(uintptr_t)7);
    td_gemm_f32_args plan = td_pairs_plan(args, starts);
    if (plan.k_starts != NULL) {
        starts[0] = 0;
        for (int64_t b = 0; b < args->k_blocks; b++) {
            int64_t size = td_gemm_block_start(args, b + 1) - td_gemm_block_start(args, b);
            starts[b + 1] = starts[b] + td_gemm_ceil_div(size, 2);
        }
        plan.k = starts[args->k_blocks];
    }
    run_tiles(args, &plan, first, last, starts + args->k_blocks + 1);
    _mm_setcsr(mxcsr);
}
