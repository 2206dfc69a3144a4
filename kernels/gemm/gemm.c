/* SPDX-License-Identifier: Apache-2.0
 * Loops around the register tiles: strip of columns, pass over k (B packed once, into L2), panel of
 * rows (A, from L1), register tile. C is written once, by the last pass; what earlier passes leave
 * waits in scratch, tile by tile, so that C's own stride and alignment do not matter.
 */
#include "base/status.h"
#include "kernels/gemm/gemm_epilogue.h"
#include "kernels/gemm/gemm_pack.h"
#include "kernels/kernel.h"

/* A block of rows of one strip. */
typedef struct gemm_block {
    const td_gemm_f32_args *args;
    float *scratch; /* 64-byte aligned */
    td_gemm_layout layout;
    int64_t row, rows, col, cols; /* of C */
    int64_t panels_m, panels_n;
    int64_t depth; /* of a pass */
    bool plain;
} gemm_block;

/* One register tile during one pass. */
typedef struct gemm_spot {
    int64_t row, rows, col, cols; /* of C */
    int64_t index;                /* of the tile inside the block */
} gemm_spot;

enum { GEMM_TILE_FLOATS = GEMM_MR * GEMM_NR };

static gemm_place slot_place(const gemm_block *block, const gemm_spot *spot, int slot, bool local) {
    float *p = local ? block->scratch + block->layout.local + slot * GEMM_TILE_FLOATS
                     : block->scratch + block->layout.kept + slot * block->layout.kept_stride +
                           spot->index * GEMM_TILE_FLOATS;
    return (gemm_place){p, GEMM_NR};
}

/* C's old values as the start of a chain: in place, or copied where the tile is ragged. */
static gemm_place old_values(const gemm_block *block, const gemm_spot *spot, gemm_place edge) {
    const td_gemm_f32_args *args = block->args;
    float *c = args->c + spot->row * args->ldc + spot->col;
    if (spot->cols == GEMM_NR) {
        return (gemm_place){c, args->ldc};
    }
    for (int64_t i = 0; i < spot->rows; i++) {
        for (int64_t j = 0; j < GEMM_NR; j += TD_LANES) {
            int64_t left = spot->cols - j;
            left = left < 0 ? 0 : left > TD_LANES ? TD_LANES : left;
            td_v16_store(edge.p + i * edge.ld + j,
                         td_v16_load_part(c + i * args->ldc + (left > 0 ? j : 0), left, 0.0f));
        }
    }
    return edge;
}

/* All segments of a pass on one register tile. */
static void run_spot(const gemm_block *block, const td_gemm_pass *pass, const gemm_spot *spot,
                     gemm_tile_fn *tile, gemm_work *work, int64_t a_step) {
    const td_gemm_f32_args *args = block->args;
    const gemm_place edge = {block->scratch + block->layout.edge, GEMM_NR};
    const float *a = work->a, *b = work->b;
    for (int i = 0; i < pass->n_segments; i++) {
        const td_gemm_segment *s = &pass->segments[i];
        work->k = s->count;
        work->a = a + (s->first - pass->first) * a_step;
        work->b = b + (s->first - pass->first) * GEMM_NR;
        work->from = (gemm_place){NULL, 0};
        if (s->from >= 0) {
            work->from = slot_place(block, spot, s->from, false);
        } else if (args->accumulate) {
            work->from = old_values(block, spot, edge);
        }
        work->n_older = s->n_older;
        for (int t = 0; t < s->n_older; t++) {
            int slot = s->top - 1 - t;
            work->older[t] = slot_place(block, spot, slot, (s->older_local >> slot & 1) != 0);
        }
        bool direct = block->plain && spot->cols == GEMM_NR;
        work->to = s->to >= 0 ? slot_place(block, spot, s->to, s->to_local)
                   : direct   ? (gemm_place){args->c + spot->row * args->ldc + spot->col, args->ldc}
                              : edge;
        tile(work);
        if (s->to < 0 && !direct) {
            gemm_finish(args, edge, spot->row, spot->col, spot->rows, spot->cols);
        }
    }
}

static int64_t panel_start(const gemm_block *block, int64_t panel) {
    return block->rows * panel / block->panels_m;
}

/* Panels of A stored (k, m), packed as a group. A stored (m, k) is read in place: even where its
 * rows are a multiple of the page apart and evict one another from L1, copying them costs more
 * (0.83 of peak against 0.88 with rows of 3,072 floats). */
typedef struct gemm_group {
    int64_t first, last, stride; /* panels; floats from one to the next */
    float *packed;
} gemm_group;

static void pack_group(const gemm_block *block, const td_gemm_pass *pass, gemm_group *group) {
    const td_gemm_f32_args *args = block->args;
    int64_t start[TD_GEMM_GROUP + 1];
    for (int64_t q = group->first; q <= group->last; q++) {
        start[q - group->first] = block->row + panel_start(block, q);
    }
    gemm_pack_a(group->packed, group->stride, args->a + pass->first * args->lda, args->lda,
                pass->count, start, group->last - group->first, args->m);
}

/* One pass over one panel of rows. */
static void run_panel(const gemm_block *block, const td_gemm_pass *pass, const float *packed_b,
                      const gemm_group *group, int64_t panel) {
    const td_gemm_f32_args *args = block->args;
    const bool packed = args->a_trans;
    int64_t row = block->row + panel_start(block, panel);
    int64_t rows = block->row + panel_start(block, panel + 1) - row;
    const float *a = packed ? group->packed + (panel - group->first) * group->stride
                            : args->a + row * args->lda + pass->first;
    gemm_work work = {.lda = args->lda};
    for (int64_t j = 0; j < block->panels_n; j++) {
        int64_t left = block->cols - j * GEMM_NR, cols = left < GEMM_NR ? left : GEMM_NR;
        gemm_spot spot = {row, rows, block->col + j * GEMM_NR, cols, panel * block->panels_n + j};
        int64_t vectors = td_gemm_ceil_div(cols, TD_LANES);
        work.a = a;
        work.b = packed_b + j * GEMM_NR * pass->count;
        run_spot(block, pass, &spot, gemm_tiles[packed][vectors - 1][rows], &work,
                 packed ? rows : 1);
    }
}

static void run_block(const gemm_block *block) {
    float *packed_b = block->scratch + block->layout.packed_b;
    td_gemm_walk walk = {0};
    td_gemm_pass pass;
    while (td_gemm_next_pass(block->args, block->depth, &walk, &pass)) {
        gemm_pack_b(packed_b, block->args, pass.first, pass.count, block->col, block->cols);
        gemm_group group = {.stride = GEMM_MR * pass.count + TD_GEMM_PANEL_PAD,
                            .packed = block->scratch + block->layout.panels_a};
        while (group.last < block->panels_m) {
            group.first = group.last;
            group.last = group.first + TD_GEMM_GROUP;
            group.last = group.last < block->panels_m ? group.last : block->panels_m;
            if (block->args->a_trans) {
                pack_group(block, &pass, &group);
            }
            for (int64_t panel = group.first; panel < group.last; panel++) {
                run_panel(block, &pass, packed_b, &group, panel);
            }
        }
    }
}

/* Rows [row, row + rows) of one cut of a strip, in blocks whose partials fit in scratch. */
static void run_cut(gemm_block *block, int64_t row, int64_t rows) {
    int64_t blocks = block->layout.kept_slots > 0 ? td_gemm_ceil_div(rows, TD_GEMM_BLOCK_ROWS) : 1;
    block->panels_n = td_gemm_ceil_div(block->cols, GEMM_NR);
    for (int64_t i = 0; i < blocks; i++) {
        block->row = row + rows * i / blocks;
        block->rows = row + rows * (i + 1) / blocks - block->row;
        block->panels_m = td_gemm_ceil_div(block->rows, GEMM_MR);
        run_block(block);
    }
}

void TD_FN(gemm_f32)(const td_gemm_f32_args *args, int64_t first, int64_t last, void *scratch) {
    TD_ASSERT(args->k_blocks >= 1 && (!args->accumulate || args->k_blocks == 1));
    td_gemm_grid grid = td_gemm_grid_of(args);
    td_gemm_cut cut = td_gemm_cut_of(args, GEMM_DEPTH);
    gemm_block block = {.args = args,
                        .scratch = (float *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63),
                        .layout = td_gemm_layout_of(args, GEMM_DEPTH),
                        .depth = cut.depth,
                        .plain = gemm_is_plain(args)};
    while (first < last) {
        int64_t strip = first / grid.rows, tile = first % grid.rows;
        int64_t end = last < (strip + 1) * grid.rows ? last - strip * grid.rows : grid.rows;
        int64_t row = tile * TD_GEMM_TILE_ROWS, stop = end * TD_GEMM_TILE_ROWS;
        stop = stop < args->m ? stop : args->m;
        int64_t strip_end = (strip + 1) * grid.strip_cols;
        strip_end = strip_end < args->n ? strip_end : args->n;
        for (block.col = strip * grid.strip_cols; block.col < strip_end; block.col += cut.cols) {
            block.cols = strip_end - block.col < cut.cols ? strip_end - block.col : cut.cols;
            run_cut(&block, row, stop - row);
        }
        first = strip * grid.rows + end;
    }
}
