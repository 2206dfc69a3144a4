/* SPDX-License-Identifier: Apache-2.0
 * How gemm_amx is cut: tiles (part of the contract: from the shape alone), and passes over k, which
 * gemm_plan.h walks when k and its blocks are counted in steps of 32.
 */
#ifndef TD_KERNELS_GEMM_AMX_PLAN_H
#define TD_KERNELS_GEMM_AMX_PLAN_H

#include "kernels/gemm/gemm_plan.h"

/* k of a step; rows and columns of what is kept in registers at once, 2 x 2 hardware tiles of 16 x
 * 16; pairs of k that one of them takes. */
enum { TD_AMX_STEP = 32, TD_AMX_SIDE = 32, TD_AMX_HALF = 16 };

/* Pairs that a step of a panel holds, each in the 32 bits of a float: both of its tiles. */
enum { TD_AMX_PANEL = TD_AMX_SIDE * TD_AMX_HALF };

/* CPUs with these tiles have 2 MiB of L2. A pass of 32 steps over a strip of 512 columns is 1 MiB
 * of packed B, a group of 4 panels of A 256 KiB. */
enum { TD_AMX_DEPTH = 32, TD_AMX_STRIP = 512, TD_AMX_GROUP = 4, TD_AMX_BLOCK_ROWS = 1536 };

/* Few rows: narrow strips, so that there is work for several workers. */
enum { TD_AMX_FEW_ROWS = 256, TD_AMX_NARROW = 128 };

typedef struct td_amx_grid {
    int64_t rows, strips, strip_cols; /* tiles in a strip, strips, columns of all but the last */
} td_amx_grid;

static inline td_amx_grid td_amx_grid_of(const td_gemm_f32_args *args) {
    td_amx_grid grid;
    int64_t widest = args->m <= TD_AMX_FEW_ROWS ? TD_AMX_NARROW : TD_AMX_STRIP;
    int64_t strips = td_gemm_ceil_div(args->n, widest);
    strips += strips > 1 ? strips & 1 : 0;
    int64_t steps = td_gemm_ceil_div(args->n, TD_AMX_SIDE);
    grid.strip_cols = strips > 0 ? td_gemm_ceil_div(steps, strips) * TD_AMX_SIDE : 0;
    grid.strips = strips > 0 ? td_gemm_ceil_div(args->n, grid.strip_cols) : 0;
    grid.rows = td_gemm_ceil_div(args->m, TD_AMX_SIDE);
    return grid;
}

/* args with k and its blocks in steps, every block padded to whole ones. starts (k_blocks + 1): the
 * place of their starts where they differ in size; filled by the caller, and not read for what
 * scratch needs. */
static inline td_gemm_f32_args td_amx_plan(const td_gemm_f32_args *args, const int64_t *starts) {
    td_gemm_f32_args plan = *args;
    bool uneven = args->k_starts != NULL || args->k % args->k_blocks != 0;
    plan.k_starts = uneven ? starts : NULL;
    plan.k = uneven ? args->k / TD_AMX_STEP + args->k_blocks
                    : args->k_blocks * td_gemm_ceil_div(args->k / args->k_blocks, TD_AMX_STEP);
    return plan;
}

/* Scratch of one worker, as offsets in floats from a 64-byte boundary. */
typedef struct td_amx_layout {
    int64_t packed_b, panels_a, edge, local, kept;
    int64_t kept_slots, kept_stride; /* slots, floats from one to the next */
    int64_t bytes;                   /* all of it, alignment included */
} td_amx_layout;

static inline td_amx_layout td_amx_layout_of(const td_gemm_f32_args *plan) {
    const int64_t tile = TD_AMX_SIDE * TD_AMX_SIDE;
    int64_t cols = td_amx_grid_of(plan).strip_cols;
    int64_t rows = plan->m < TD_AMX_BLOCK_ROWS ? plan->m : TD_AMX_BLOCK_ROWS;
    td_amx_layout layout = {0};
    layout.panels_a = layout.packed_b + cols * TD_AMX_DEPTH * TD_AMX_HALF;
    layout.edge = layout.panels_a + TD_AMX_GROUP * TD_AMX_DEPTH * TD_AMX_PANEL;
    layout.local = layout.edge + tile;
    layout.kept = layout.local + td_gemm_local_slots(plan) * tile;
    layout.kept_slots = td_gemm_kept_slots(plan, TD_AMX_DEPTH);
    layout.kept_stride = (rows + TD_AMX_SIDE) * cols;
    layout.bytes =
        (layout.kept + layout.kept_slots * layout.kept_stride) * (int64_t)sizeof(float) + 64;
    return layout;
}

#endif
