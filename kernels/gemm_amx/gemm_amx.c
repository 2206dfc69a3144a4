/* SPDX-License-Identifier: Apache-2.0
 * GEMM on bf16 tiles: strip of columns, pass over k (B packed once, into L2), group of panels of
 * rows (A), 32 x 32 of C. What earlier passes leave waits in scratch. All counts along k are steps
 * of 32, but for those of amx_range.
 */
#include <immintrin.h>

#include "base/status.h"
#include "kernels/gemm/gemm_epilogue.h"
#include "kernels/gemm_amx/amx_pack.h"
#include "kernels/gemm_amx/amx_tile.h"
#include "kernels/kernel.h"

enum { AMX_SPOT = TD_AMX_SIDE * TD_AMX_SIDE };

/* A block of rows of one strip. */
typedef struct amx_block {
    const td_gemm_f32_args *args, *plan; /* plan: k and its blocks in steps */
    float *scratch;                      /* 64-byte aligned */
    td_amx_layout layout;
    int64_t row, rows, col, cols; /* of C */
    int64_t panels_m, panels_n;
    bool plain;
} amx_block;

/* 32 x 32 of C, or what is left of it. */
typedef struct amx_spot {
    int64_t row, rows, col, cols, index;
} amx_spot;

static gemm_place slot_place(const amx_block *block, const amx_spot *spot, int slot, bool local) {
    float *p = local ? block->scratch + block->layout.local + slot * AMX_SPOT
                     : block->scratch + block->layout.kept + slot * block->layout.kept_stride +
                           spot->index * AMX_SPOT;
    return (gemm_place){p, TD_AMX_SIDE};
}

/* C's old values, zero where there are none. */
static gemm_place old_values(const amx_block *block, const amx_spot *spot, gemm_place edge) {
    const td_gemm_f32_args *args = block->args;
    const float *c = args->c + spot->row * args->ldc + spot->col;
    for (int64_t i = 0; i < spot->rows; i++) {
        for (int64_t j = 0; j < TD_AMX_SIDE; j += TD_LANES) {
            int64_t left = amx_at_most(spot->cols - j, TD_LANES);
            td_v16_store(edge.p + i * edge.ld + j,
                         td_v16_load_part(c + i * args->ldc + (left > 0 ? j : 0), left, 0.0f));
        }
    }
    return edge;
}

static amx_range range_of(const amx_block *block, const td_gemm_pass *pass, int segment) {
    const td_gemm_segment *s = &pass->segments[segment];
    int64_t b = 0;
    while (b + 1 < block->plan->k_blocks && td_gemm_block_start(block->plan, b + 1) <= s->first) {
        b++;
    }
    int64_t first = td_gemm_block_start(block->args, b) +
                    TD_AMX_STEP * (s->first - td_gemm_block_start(block->plan, b));
    int64_t left = td_gemm_block_start(block->args, b + 1) - first;
    return (amx_range){first, amx_at_most(left, TD_AMX_STEP * s->count), s->first - pass->first};
}

/* Adds one matrix that the epilogue reads or writes. */
static void ask_for_matrix(td_ahead *ahead, const void *p, int64_t ld, int64_t size,
                           const amx_spot *spot) {
    if (p != NULL) {
        td_ahead_add_bytes(ahead, (const char *)p + (spot->row * ld + spot->col) * size, ld * size,
                           spot->rows, spot->cols * size);
    }
}

/* Adds what a spot reads and writes but its operands: what earlier passes left of it, or what its
 * epilogue will touch. That is 32 rows of every matrix, pages apart, 128 bytes of each. No hardware
 * prefetcher follows that, and tiles are so fast that waiting for these lines took most of the time
 * of products whose k is short. */
static void ask_for_spot(const amx_block *block, const td_gemm_pass *pass, const amx_spot *spot,
                         td_ahead *ahead) {
    const td_gemm_f32_args *args = block->args;
    const int64_t size = (int64_t)sizeof(float), half = (int64_t)sizeof(uint16_t);
    if (pass->segments[0].from >= 0) {
        gemm_place from = slot_place(block, spot, pass->segments[0].from, false);
        td_ahead_add_bytes(ahead, from.p, AMX_SPOT * size, 1, AMX_SPOT * size);
    }
    if (pass->segments[pass->n_segments - 1].to >= 0) {
        return;
    }
    ask_for_matrix(ahead, args->act_grad_of, args->ldact_grad_of, size, spot);
    ask_for_matrix(ahead, args->residual, args->ldresidual, size, spot);
    ask_for_matrix(ahead, args->preact, args->ldpreact, size, spot);
    ask_for_matrix(ahead, args->c, args->ldc, size, spot);
    ask_for_matrix(ahead, args->act_grad_of_bf16, args->ldact_grad_of, half, spot);
    ask_for_matrix(ahead, args->preact_bf16, args->ldpreact, half, spot);
    ask_for_matrix(ahead, args->c_bf16, args->ldc, half, spot);
}

/* Adds this spot's share of the panel of A that the next one reads in place. */
static void ask_for_panel(const amx_block *block, const td_gemm_pass *pass, const amx_spot *spot,
                          td_ahead *ahead) {
    const td_gemm_f32_args *args = block->args;
    const int64_t at = spot->row + TD_AMX_SIDE, size = (int64_t)sizeof(uint16_t);
    const int64_t j = (spot->col - block->col) / TD_AMX_SIDE;
    const int64_t first = at + TD_AMX_SIDE * j / block->panels_n;
    const int64_t last = at + TD_AMX_SIDE * (j + 1) / block->panels_n;
    const int64_t end = block->row + block->rows;
    td_ahead_add_bytes(ahead, args->a_bf16 + first * args->lda + range_of(block, pass, 0).first,
                       args->lda * size, (last < end ? last : end) - first,
                       pass->count * TD_AMX_STEP * size);
}

/* Lines to ask for in each of `steps`, so that all have been asked for behind the last one. */
static int64_t lines_a_step(const td_ahead *ahead, int64_t steps) {
    return td_gemm_ceil_div(td_ahead_lines(ahead), steps > 0 ? steps : 1);
}

/* All segments of a pass on one spot; lines: to ask for in each step. */
static void run_spot(const amx_block *block, const td_gemm_pass *pass, const amx_spot *spot,
                     amx_a a, const float *b, td_ahead *ahead, int64_t lines) {
    const td_gemm_f32_args *args = block->args;
    const gemm_place edge = {block->scratch + block->layout.edge, TD_AMX_SIDE};
    bool direct = block->plain && spot->rows == TD_AMX_SIDE && spot->cols == TD_AMX_SIDE;
    for (int i = 0; i < pass->n_segments; i++) {
        const td_gemm_segment *s = &pass->segments[i];
        const int64_t at = s->first - pass->first;
        amx_work work = {.steps = s->count,
                         .a = {a.p + at * a.step, a.row, a.step},
                         .b = b + at * TD_AMX_PANEL,
                         .n_older = s->n_older,
                         .ahead = ahead,
                         .lines = lines};
        if (s->from >= 0) {
            work.from = slot_place(block, spot, s->from, false);
        } else if (args->accumulate) {
            work.from = old_values(block, spot, edge);
        }
        for (int t = 0; t < s->n_older; t++) {
            int slot = s->top - 1 - t;
            work.older[t] = slot_place(block, spot, slot, (s->older_local >> slot & 1) != 0);
        }
        work.to = s->to >= 0 ? slot_place(block, spot, s->to, s->to_local)
                  : direct   ? (gemm_place){args->c + spot->row * args->ldc + spot->col, args->ldc}
                             : edge;
        amx_segment(&work);
        if (s->to < 0 && !direct) {
            gemm_finish(args, edge, spot->row, spot->col, spot->rows, spot->cols);
        }
    }
}

static amx_spot spot_at(const amx_block *block, int64_t panel, int64_t j) {
    amx_spot spot = {.row = block->row + panel * TD_AMX_SIDE,
                     .col = block->col + j * TD_AMX_SIDE,
                     .index = panel * block->panels_n + j};
    spot.rows = amx_at_most(block->row + block->rows - spot.row, TD_AMX_SIDE);
    spot.cols = amx_at_most(block->col + block->cols - spot.col, TD_AMX_SIDE);
    return spot;
}

/* Whether tiles read A where it is stored: whole tiles, each row of which is one cache line.
 * Packing it for every strip took up to a fifth of a product's time. */
static bool is_in_place(const amx_block *block, const td_gemm_pass *pass) {
    const td_gemm_f32_args *args = block->args;
    const uintptr_t line = TD_AHEAD_LINE;
    bool whole = args->a_bf16 != NULL && !args->a_trans && (uintptr_t)args->a_bf16 % line == 0 &&
                 args->lda % TD_AMX_STEP == 0;
    for (int i = 0; i < pass->n_segments; i++) {
        amx_range range = range_of(block, pass, i);
        whole = whole && (range.first | range.count) % TD_AMX_STEP == 0;
    }
    return whole;
}

/* One pass over panels [first, last) of A. */
static void run_group(const amx_block *block, const td_gemm_pass *pass, int64_t first, int64_t last,
                      bool in_place) {
    const td_gemm_f32_args *args = block->args;
    const int64_t stride = pass->count * TD_AMX_PANEL, from = range_of(block, pass, 0).first;
    float *panels = block->scratch + block->layout.panels_a;
    int64_t row = block->row + first * TD_AMX_SIDE;
    int64_t rows = amx_at_most(block->row + block->rows - row, (last - first) * TD_AMX_SIDE);
    const int64_t whole = in_place ? rows / TD_AMX_SIDE : 0;
    for (int i = 0; i < pass->n_segments && first + whole < last; i++) {
        amx_pack_a(panels + whole * stride, stride, args, row + whole * TD_AMX_SIDE,
                   rows - whole * TD_AMX_SIDE, last - first - whole, range_of(block, pass, i));
    }
    const int64_t spots = (last - first) * block->panels_n;
    for (int64_t i = 0; i < spots; i++) {
        const int64_t panel = i / block->panels_n, j = i % block->panels_n;
        amx_spot spot = spot_at(block, first + panel, j);
        amx_a a = {panels + panel * stride, TD_AMX_HALF, TD_AMX_PANEL};
        td_ahead ahead = {0};
        if (panel < whole) {
            const uint16_t *stored = args->a_bf16 + spot.row * args->lda + from;
            a = (amx_a){(const float *)(const void *)stored, args->lda / 2, TD_AMX_HALF};
            ask_for_panel(block, pass, &spot, &ahead);
        }
        if (i + 1 < spots) {
            amx_spot next =
                spot_at(block, first + (i + 1) / block->panels_n, (i + 1) % block->panels_n);
            ask_for_spot(block, pass, &next, &ahead);
        }
        td_ahead_begin(&ahead, block->scratch);
        run_spot(block, pass, &spot, a, block->scratch + block->layout.packed_b + j * stride,
                 &ahead, lines_a_step(&ahead, pass->count));
    }
}

static void run_block(const amx_block *block) {
    td_gemm_walk walk = {0};
    td_gemm_pass pass;
    while (td_gemm_next_pass(block->plan, TD_AMX_DEPTH, &walk, &pass)) {
        for (int i = 0; i < pass.n_segments; i++) {
            amx_pack_b(block->scratch + block->layout.packed_b, pass.count * TD_AMX_PANEL,
                       block->args, block->col, block->cols, range_of(block, &pass, i));
        }
        const bool in_place = is_in_place(block, &pass);
        for (int64_t panel = 0; panel < block->panels_m; panel += TD_AMX_GROUP) {
            run_group(block, &pass, panel, amx_at_most(panel + TD_AMX_GROUP, block->panels_m),
                      in_place);
        }
    }
}

/* Rows [row, row + rows) of a strip, in blocks whose partials fit in scratch. */
static void run_rows(amx_block *block, int64_t row, int64_t rows) {
    int64_t most = block->layout.kept_slots > 0 ? TD_AMX_BLOCK_ROWS : rows;
    block->panels_n = td_gemm_ceil_div(block->cols, TD_AMX_SIDE);
    for (int64_t i = 0; i < rows; i += most) {
        block->row = row + i;
        block->rows = amx_at_most(rows - i, most);
        block->panels_m = td_gemm_ceil_div(block->rows, TD_AMX_SIDE);
        run_block(block);
    }
}

static void run_tiles(const td_gemm_f32_args *args, const td_gemm_f32_args *plan, int64_t first,
                      int64_t last, void *scratch) {
    TD_ASSERT(args->k_blocks >= 1 && (!args->accumulate || args->k_blocks == 1));
    td_amx_grid grid = td_amx_grid_of(args);
    amx_block block = {.args = args,
                       .plan = plan,
                       .scratch = (float *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63),
                       .layout = td_amx_layout_of(plan),
                       .plain = td_gemm_is_plain(args)};
    while (first < last) {
        int64_t strip = first / grid.rows, tile = first % grid.rows;
        int64_t end = last < (strip + 1) * grid.rows ? last - strip * grid.rows : grid.rows;
        int64_t row = tile * TD_AMX_SIDE;
        block.col = strip * grid.strip_cols;
        block.cols = amx_at_most(args->n - block.col, grid.strip_cols);
        run_rows(&block, row, amx_at_most(args->m - row, (end - tile) * TD_AMX_SIDE));
        first = strip * grid.rows + end;
    }
}

void TD_FN(gemm_amx)(const td_gemm_amx_args *args, int64_t first, int64_t last, void *scratch) {
    const unsigned mxcsr = _mm_getcsr(), flush = 0x8040;
    int64_t *starts = (int64_t *)(((uintptr_t)scratch + 7) & ~(uintptr_t)7);
    td_gemm_f32_args plan = td_amx_plan(args, starts);
    if (plan.k_starts != NULL) {
        starts[0] = 0;
        for (int64_t b = 0; b < args->k_blocks; b++) {
            int64_t size = td_gemm_block_start(args, b + 1) - td_gemm_block_start(args, b);
            starts[b + 1] = starts[b] + td_gemm_ceil_div(size, TD_AMX_STEP);
        }
        plan.k = starts[args->k_blocks];
    }
    _mm_setcsr(mxcsr | flush);
    amx_begin();
    run_tiles(args, &plan, first, last, starts + args->k_blocks + 1);
    amx_end();
    _mm_setcsr(mxcsr);
}
