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

/* Rows a power of two of pages apart fall into one set of L1: 14 rows evict one another. */
static bool strides_collide(int64_t lda) {
    return lda * (int64_t)sizeof(float) % 2048 == 0;
}

/* The part of A that one panel of rows needs in a pass, as lines that are asked for a share at a
 * time while the panel before is computed: rows lie too far apart for the hardware to look ahead.
 * Into L2, because L1 is busy with B. */
typedef struct gemm_fetch {
    const char *from;
    int64_t stride, rows, lines; /* bytes between rows; lines of each row */
    int64_t row, line;           /* where it stands */
} gemm_fetch;

static int64_t panel_start(const gemm_block *block, int64_t panel) {
    return block->rows * panel / block->panels_m;
}

static gemm_fetch fetch_of(const gemm_block *block, const td_gemm_pass *pass, int64_t panel) {
    const td_gemm_f32_args *args = block->args;
    if (panel >= block->panels_m) {
        return (gemm_fetch){.rows = 0};
    }
    int64_t row = block->row + panel_start(block, panel);
    int64_t rows = block->row + panel_start(block, panel + 1) - row;
    int64_t outer = args->a_trans ? pass->first : row, inner = args->a_trans ? row : pass->first;
    int64_t run = args->a_trans ? rows : pass->count;
    const char *from = (const char *)(args->a + outer * args->lda + inner);
    int64_t skew = (int64_t)((uintptr_t)from % 64);
    return (gemm_fetch){.from = from - skew,
                        .stride = args->lda * (int64_t)sizeof(float),
                        .rows = args->a_trans ? pass->count : rows,
                        .lines = (skew + run * (int64_t)sizeof(float) + 63) / 64};
}

static void fetch_some(gemm_fetch *fetch, int64_t lines) {
    while (lines > 0 && fetch->row < fetch->rows) {
        __builtin_prefetch(fetch->from + fetch->row * fetch->stride + fetch->line * 64, 0, 2);
        lines--;
        if (++fetch->line == fetch->lines) {
            fetch->line = 0;
            fetch->row++;
        }
    }
}

/* Asks for what the tile after `spot` will read and write outside L1 in this pass. */
static void fetch_spot(const gemm_block *block, const td_gemm_pass *pass, const gemm_spot *spot) {
    const td_gemm_f32_args *args = block->args;
    gemm_spot next = *spot;
    next.index++;
    for (int slot = 0; slot < pass->n_kept; slot++) {
        const float *p = slot_place(block, &next, slot, false).p;
        for (int64_t i = 0; i < GEMM_TILE_FLOATS; i += 16) {
            __builtin_prefetch(p + i, 1, 2);
        }
    }
    if (pass->last && spot->col + 2 * GEMM_NR <= args->n) {
        float *c = args->c + spot->row * args->ldc + spot->col + GEMM_NR;
        for (int64_t i = 0; i < spot->rows; i++, c += args->ldc) {
            __builtin_prefetch(c, 1, 2);
            __builtin_prefetch(c + GEMM_NR - 1, 1, 2);
        }
    }
}

/* One pass over one panel of rows: A made ready once, then used for every panel of B. */
static void run_panel(const gemm_block *block, const td_gemm_pass *pass, const float *packed_b,
                      int64_t panel) {
    const td_gemm_f32_args *args = block->args;
    int64_t first = panel_start(block, panel);
    int64_t rows = panel_start(block, panel + 1) - first;
    int64_t row = block->row + first;
    float *panel_a = block->scratch + block->layout.panel_a;
    gemm_work work;
    work.a = panel_a;
    work.lda = GEMM_DEPTH + TD_GEMM_PANEL_PAD;
    if (args->a_trans) {
        gemm_pack_a(panel_a, args->a + pass->first * args->lda + row, args->lda, pass->count, rows,
                    args->m - row);
    } else if (strides_collide(args->lda)) {
        gemm_copy_a(panel_a, args->a + row * args->lda + pass->first, args->lda, pass->count, rows);
    } else {
        work.a = args->a + row * args->lda + pass->first;
        work.lda = args->lda;
    }
    const float *a = work.a;
    gemm_fetch next = fetch_of(block, pass, panel + 1);
    int64_t share = td_gemm_ceil_div(next.rows * next.lines, block->panels_n);
    for (int64_t j = 0; j < block->panels_n; j++) {
        int64_t left = block->cols - j * GEMM_NR, cols = left < GEMM_NR ? left : GEMM_NR;
        gemm_spot spot = {row, rows, block->col + j * GEMM_NR, cols, panel * block->panels_n + j};
        int64_t vectors = td_gemm_ceil_div(cols, TD_LANES);
        fetch_some(&next, share);
        fetch_spot(block, pass, &spot);
        work.a = a;
        work.b = packed_b + j * GEMM_NR * pass->count;
        run_spot(block, pass, &spot, gemm_tiles[args->a_trans][vectors - 1][rows], &work,
                 args->a_trans ? rows : 1);
    }
}

static void run_block(const gemm_block *block) {
    float *packed_b = block->scratch + block->layout.packed_b;
    td_gemm_walk walk = {0};
    td_gemm_pass pass;
    while (td_gemm_next_pass(block->args, GEMM_DEPTH, &walk, &pass)) {
        gemm_pack_b(packed_b, block->args, pass.first, pass.count, block->col, block->cols);
        for (int64_t panel = 0; panel < block->panels_m; panel++) {
            run_panel(block, &pass, packed_b, panel);
        }
    }
}

/* Rows [row, row + rows) of one strip, in blocks whose partials fit in scratch. */
static void run_strip(gemm_block *block, int64_t row, int64_t rows) {
    int64_t blocks = block->layout.kept_slots > 0 ? td_gemm_ceil_div(rows, TD_GEMM_BLOCK_ROWS) : 1;
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
    gemm_block block = {.args = args,
                        .scratch = (float *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63),
                        .layout = td_gemm_layout_of(args, GEMM_DEPTH),
                        .plain = gemm_is_plain(args)};
    while (first < last) {
        int64_t strip = first / grid.rows, tile = first % grid.rows;
        int64_t end = last < (strip + 1) * grid.rows ? last - strip * grid.rows : grid.rows;
        int64_t row = tile * TD_GEMM_TILE_ROWS, stop = end * TD_GEMM_TILE_ROWS;
        stop = stop < args->m ? stop : args->m;
        block.col = strip * grid.strip_cols;
        block.cols = args->n - block.col < grid.strip_cols ? args->n - block.col : grid.strip_cols;
        block.panels_n = td_gemm_ceil_div(block.cols, GEMM_NR);
        run_strip(&block, row, stop - row);
        first = strip * grid.rows + end;
    }
}
