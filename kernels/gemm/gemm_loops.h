/* SPDX-License-Identifier: Apache-2.0
 * Loops around the register tiles: strip of columns, pass over k (B packed once, into L2), panel of
 * rows (A, from L1), register tile. C is written once, by the last pass; what earlier passes leave
 * waits in scratch, tile by tile, so that C's own stride and alignment do not matter.
 *
 * The source that includes this defines a step along k before (GEMM_STEP, see gemm_tile.h) and the
 * functions declared below after: f32 steps by one k, bf16 by a pair. All counts along k are steps.
 */
#ifndef TD_KERNELS_GEMM_LOOPS_H
#define TD_KERNELS_GEMM_LOOPS_H

#include "base/status.h"
#include "kernels/gemm/gemm_epilogue.h"
#include "kernels/gemm/gemm_tile.h"

/* A block of rows of one strip. */
typedef struct gemm_block {
    const td_gemm_f32_args *args;
    const td_gemm_f32_args *plan; /* args, k and its blocks counted in steps */
    float *scratch;               /* 64-byte aligned */
    td_gemm_layout layout;
    int64_t row, rows, col, cols; /* of C */
    int64_t panels_m, panels_n;
    td_gemm_cut cut;
    int64_t next_col;                /* of B, packed after the last pass; -1: nothing is */
    bool plain, in_place, half;      /* in_place: B is not packed; half: of each panel, 8 columns */
    bool turning;                    /* in place, stored (n, k) */
    const td_gemm_f32_args *turned;  /* whose C is what args compute, turned; or NULL */
    const float *b;                  /* its part of a pass */
    int64_t b_apart, b_next, b_step; /* floats between vectors of columns, tiles and steps */
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

/* Rows and columns of a spot of turned sums change place. */
static gemm_spot turned_spot(const gemm_spot *spot) {
    return (gemm_spot){spot->col, spot->cols, spot->row, spot->rows, spot->index};
}

/* A finished tile, from scratch to C. */
static void finish_spot(const gemm_block *block, const gemm_spot *spot, gemm_place edge) {
    if (block->turned == NULL) {
        gemm_finish(block->args, edge, spot->row, spot->col, spot->rows, spot->cols);
        return;
    }
    _Alignas(64) float square[GEMM_NR * TD_LANES];
    for (int64_t j = 0; j < spot->cols; j += TD_LANES) {
        td_transpose16(square + j * TD_LANES, TD_LANES, edge.p + j, edge.ld);
    }
    const gemm_spot to = turned_spot(spot);
    gemm_finish(block->turned, (gemm_place){square, TD_LANES}, to.row, to.col, to.rows, to.cols);
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
        work->b = b + (s->first - pass->first) * block->b_step;
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
        bool direct = block->plain && spot->cols == GEMM_NR && block->turned == NULL;
        work->to = s->to >= 0 ? slot_place(block, spot, s->to, s->to_local)
                   : direct   ? (gemm_place){args->c + spot->row * args->ldc + spot->col, args->ldc}
                              : edge;
        tile(work);
        if (s->to < 0 && !direct) {
            finish_spot(block, spot, edge);
        }
    }
}

static int64_t panel_start(const gemm_block *block, int64_t panel) {
    return block->rows * panel / block->panels_m;
}

/* Panels that are made ready together. */
typedef struct gemm_group {
    int64_t first, last, stride; /* panels; floats from one to the next */
    float *packed;
} gemm_group;

/* Where a tile finds A's panel: packed as the tile reads it, or in rows `ld` floats apart. */
typedef struct gemm_panel {
    const float *a;
    int64_t ld;
    bool packed;
} gemm_panel;

/* B's part of a pass into `to`: GEMM_B_STEP floats a step, panel after panel of pass->count steps.
 */
static void prepare_b(const gemm_block *block, const td_gemm_pass *pass, float *to);
/* The group's part of A, where it must be copied. */
static void prepare_a(const gemm_block *block, const td_gemm_pass *pass, gemm_group *group);
static gemm_panel find_panel(const gemm_block *block, const td_gemm_pass *pass,
                             const gemm_group *group, int64_t panel);

/* What the panel of rows after this one needs, for tiles to see to; and what they left undone. */
static void plan_ahead(const gemm_block *block, const td_gemm_pass *pass, int64_t panel,
                       gemm_ahead *ahead);
static void finish_ahead(gemm_ahead *ahead);

static void add_place(gemm_ahead *ahead, int *n, const float *at, int64_t ld,
                      const gemm_spot *spot) {
    if (at != NULL) {
        ahead->soon[(*n)++] = (gemm_lines){(const char *)(at + spot->row * ld + spot->col),
                                           ld * (int64_t)sizeof(float), spot->rows};
    }
}

/* Where the tile at `spot` will write, and read besides A and B. */
static void expect_tile(const gemm_block *block, const td_gemm_pass *pass, const gemm_spot *spot,
                        gemm_ahead *ahead) {
    const td_gemm_f32_args *args = block->turned != NULL ? block->turned : block->args;
    const gemm_spot of_c = block->turned != NULL ? turned_spot(spot) : *spot;
    const int64_t row_bytes = GEMM_NR * (int64_t)sizeof(float);
    int n = 0;
    for (int slot = 0; slot < pass->n_kept && slot < 2; slot++) {
        gemm_place kept = slot_place(block, spot, slot, false);
        ahead->soon[n++] = (gemm_lines){(const char *)kept.p, row_bytes, spot->rows};
    }
    if (pass->last) {
        add_place(ahead, &n, args->c, args->ldc, &of_c);
        add_place(ahead, &n, args->preact, args->ldpreact, &of_c);
        add_place(ahead, &n, args->act_grad_of, args->ldact_grad_of, &of_c);
        add_place(ahead, &n, args->residual != args->c ? args->residual : NULL, args->ldresidual,
                  &of_c);
    }
    ahead->soon[n].rows = 0;
    ahead->next = 0;
}

static gemm_spot spot_at(const gemm_block *block, int64_t panel, int64_t j) {
    int64_t row = panel_start(block, panel), left = block->cols - j * GEMM_NR;
    return (gemm_spot){.row = block->row + row,
                       .rows = panel_start(block, panel + 1) - row,
                       .col = block->col + j * GEMM_NR,
                       .cols = left < GEMM_NR ? left : GEMM_NR,
                       .index = panel * block->panels_n + j};
}

/* One pass over one panel of rows. */
static void run_panel(const gemm_block *block, const td_gemm_pass *pass, const gemm_group *group,
                      int64_t panel) {
    const gemm_panel at = find_panel(block, pass, group, panel);
    const int reads = block->turning    ? GEMM_TURNING
                      : block->half     ? GEMM_HALF
                      : block->in_place ? GEMM_B_IN_PLACE
                      : at.packed       ? GEMM_A_PACKED
                                        : GEMM_A_ROWS;
    gemm_ahead ahead = {.next = 0};
    gemm_work work = {
        .lda = at.ld, .ahead = &ahead, .b_apart = block->b_apart, .b_step = block->b_step};
    gemm_spot spot = spot_at(block, panel, 0);
    plan_ahead(block, pass, panel, &ahead);
    for (int64_t j = 0; j < block->panels_n; j++) {
        gemm_spot next = spot;
        bool wraps = j + 1 == block->panels_n;
        if (!wraps || panel + 1 < block->panels_m) {
            next = spot_at(block, panel + wraps, wraps ? 0 : j + 1);
            expect_tile(block, pass, &next, &ahead);
        }
        int64_t vectors = td_gemm_ceil_div(spot.cols, TD_LANES);
        work.a = at.a;
        work.b = block->b + j * block->b_next;
        run_spot(block, pass, &spot, gemm_tiles[reads][vectors - 1][spot.rows], &work,
                 at.packed ? spot.rows : 1);
        spot = next;
    }
    finish_ahead(&ahead);
}

/* Where B's part of a pass lies for the tiles. */
static void place_b(gemm_block *block, const td_gemm_pass *pass) {
    const td_gemm_f32_args *args = block->args;
    float *packed_b = block->scratch + block->layout.packed_b;
    if (block->turning) {
        block->b = args->b + block->col * args->ldb + pass->first;
        block->b_apart = TD_LANES * args->ldb;
        block->b_next = GEMM_NR * args->ldb;
        block->b_step = 1;
        return;
    }
    if (block->in_place) {
        block->b = args->b + pass->first * args->ldb + block->col;
        block->b_apart = TD_LANES;
        block->b_next = GEMM_NR;
        block->b_step = args->ldb;
        return;
    }
    const bool whole = (int64_t)GEMM_B_STEP == GEMM_NR; /* panels of B are as wide as tiles */
    const int64_t depth = args->packed != NULL ? args->k : pass->count;
    block->b_apart = whole ? TD_LANES : TD_LANES * depth;
    block->b_next = GEMM_NR * depth;
    block->b_step = block->half ? TD_HALF : GEMM_B_STEP;
    block->b = packed_b;
    if (args->packed != NULL) {
        block->b = args->packed + block->col * args->k + pass->first * GEMM_B_STEP;
    } else {
        prepare_b(block, pass, packed_b);
    }
}

static void run_block(gemm_block *block) {
    td_gemm_walk walk = {0};
    td_gemm_pass pass;
    while (td_gemm_next_pass(block->plan, block->cut.depth, &walk, &pass)) {
        place_b(block, &pass);
        gemm_group group = {.stride = GEMM_MR * (pass.count + TD_GEMM_PANEL_PAD),
                            .packed = block->scratch + block->layout.panels_a};
        while (group.last < block->panels_m) {
            group.first = group.last;
            group.last = group.first + TD_GEMM_GROUP;
            group.last = group.last < block->panels_m ? group.last : block->panels_m;
            prepare_a(block, &pass, &group);
            for (int64_t panel = group.first; panel < group.last; panel++) {
                run_panel(block, &pass, &group, panel);
            }
        }
    }
}

/* Rows [row, row + rows) of one cut of a strip, in blocks whose partials fit in scratch; next_col:
 * where the cut after it begins. */
static void run_cut(gemm_block *block, int64_t row, int64_t rows, int64_t next_col) {
    int64_t blocks = block->layout.kept_slots > 0 ? td_gemm_ceil_div(rows, TD_GEMM_BLOCK_ROWS) : 1;
    block->panels_n = td_gemm_ceil_div(block->cols, GEMM_NR);
    for (int64_t i = 0; i < blocks; i++) {
        block->row = row + rows * i / blocks;
        block->rows = row + rows * (i + 1) / blocks - block->row;
        block->panels_m = td_gemm_ceil_div(block->rows, GEMM_MR);
        block->next_col = i + 1 < blocks ? block->col : next_col;
        run_block(block);
    }
}

/* plan: args with k and its blocks in steps. */
static gemm_block block_of(const td_gemm_f32_args *args, const td_gemm_f32_args *plan,
                           td_gemm_cut cut, void *scratch) {
    TD_ASSERT(args->k_blocks >= 1 && (!args->accumulate || args->k_blocks == 1));
    return (gemm_block){.args = args,
                        .plan = plan,
                        .scratch = (float *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63),
                        .layout = td_gemm_layout_of(plan, cut),
                        .cut = cut,
                        .plain = td_gemm_is_plain(args)};
}

/* Rows [row, stop) of the strip from block->col to strip_end; more: another strip follows. */
typedef void gemm_strip_fn(gemm_block *block, int64_t row, int64_t stop, int64_t strip_end,
                           bool more);

static void run_strip(gemm_block *block, int64_t row, int64_t stop, int64_t strip_end, bool more) {
    const int64_t step = block->cut.cols;
    for (; block->col < strip_end; block->col += step) {
        const int64_t left = strip_end - block->col;
        block->cols = left < step ? left : step;
        run_cut(block, row, stop - row, left > step || more ? block->col + block->cols : -1);
    }
}

/* Tiles [first, last). */
static void run_tiles(gemm_block *block, gemm_strip_fn *strip_fn, int64_t first, int64_t last) {
    const td_gemm_f32_args *args = block->args;
    const td_gemm_grid grid = td_gemm_grid_of(args);
    while (first < last) {
        int64_t strip = first / grid.rows, tile = first % grid.rows;
        int64_t end = last < (strip + 1) * grid.rows ? last - strip * grid.rows : grid.rows;
        int64_t row = tile * TD_GEMM_TILE_ROWS, stop = end * TD_GEMM_TILE_ROWS;
        stop = stop < args->m ? stop : args->m;
        int64_t strip_end = (strip + 1) * grid.strip_cols;
        strip_end = strip_end < args->n ? strip_end : args->n;
        first = strip * grid.rows + end;
        block->col = strip * grid.strip_cols;
        strip_fn(block, row, stop, strip_end, first < last);
    }
}

#endif
