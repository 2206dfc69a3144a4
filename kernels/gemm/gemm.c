/* SPDX-License-Identifier: Apache-2.0
 * GEMM in f32: a step along k is one k, and operands keep their type.
 */
#define GEMM_STEP(a, b, acc) td_v16_fma(a, b, acc)
#define GEMM_B_STEP          TD_LANES
#define GEMM_IN_PLACE
#include "kernels/gemm/gemm_loops.h"
#include "kernels/gemm/gemm_micro.h"
#include "kernels/gemm/gemm_pack.h"
#include "kernels/gemm/gemm_short.h"
#include "kernels/kernel.h"

static void prepare_b(const gemm_block *block, const td_gemm_pass *pass, float *to) {
    if (block->half) {
        gemm_pack_half(to, block->args, pass->first, pass->count, block->cols);
        return;
    }
    gemm_pack_b(to, block->args, pass->first, pass->count, block->col, block->cols);
}

/* Rows of a tile that meet in one set of an L1 of 64 sets of 8 lines are gone before their 16 k are
 * used, when there are more of them than lines B leaves. */
enum { L1_SETS = 64 };

static bool rows_collide(int64_t lda) {
    const int64_t lines = lda * (int64_t)sizeof(float) / 64;
    const int64_t power = lines & -lines; /* rows are an odd multiple of it apart */
    const int64_t sets = power == 0 || power > L1_SETS ? 1 : L1_SETS / power;
    return lda % TD_LANES == 0 && GEMM_MR > sets * GEMM_WAYS;
}

/* Whether tiles read A from a copy. A stored (k, m) always; rows stored (m, k) that evict one
 * another from L1 where more than two tiles read each panel. */
static bool is_copied(const gemm_block *block) {
    const td_gemm_f32_args *args = block->args;
    return args->a_trans || (block->panels_n > 2 && !block->in_place && block->turned == NULL &&
                             !td_gemm_is_few(args) && rows_collide(args->lda));
}

/* From one copied row to the next: an odd number of lines. */
static int64_t copied_row(const td_gemm_pass *pass) {
    return (td_gemm_ceil_div(pass->count, TD_LANES) | 1) * TD_LANES;
}

/* Floats from one copied panel to the next. */
static int64_t copied_panel(const td_gemm_pass *pass) {
    return GEMM_MR * (copied_row(pass) + TD_GEMM_PANEL_PAD);
}

/* Panels are copied into two places in turn: the first one here, each other by the tiles of the one
 * before. Rows of A stored (k, m) are packed as tiles read them, rows stored (m, k) keep their
 * order. */
static gemm_ahead copy_of(const gemm_block *block, const td_gemm_pass *pass, int64_t panel) {
    const td_gemm_f32_args *args = block->args;
    const int64_t row = block->row + panel_start(block, panel);
    const int64_t rows = panel_start(block, panel + 1) - panel_start(block, panel);
    const int64_t chunks = block->panels_n * (pass->count / GEMM_CHUNK + 1);
    gemm_ahead copy = {
        .to = block->scratch + block->layout.panels_a + panel % 2 * copied_panel(pass),
        .from_ld = args->lda,
    };
    if (args->a_trans) {
        copy.from = args->a + pass->first * args->lda + row;
        copy.copies = pass->count;
        copy.width = args->m - row < GEMM_COPY_LANES ? args->m - row : GEMM_COPY_LANES;
        copy.to_ld = rows;
        copy.soon_by = GEMM_COPY_AHEAD * args->lda;
    } else {
        copy.from = args->a + row * args->lda + pass->first;
        copy.copies = rows;
        copy.width = pass->count;
        copy.to_ld = copied_row(pass);
        copy.soon_by = args->lda;
    }
    copy.vectors_a_chunk =
        td_gemm_ceil_div(copy.copies * td_gemm_ceil_div(copy.width, TD_LANES), chunks);
    return copy;
}

static void finish_ahead(gemm_ahead *ahead) {
    while (ahead->copies > 0) {
        gemm_copy_vector(ahead);
    }
}

/* Rows of floats that are read in place, some lines of them while a tile takes GEMM_CHUNK steps. */
static gemm_stream lines_of(const float *at, int64_t rows, int64_t cols, int64_t ld,
                            int64_t lines) {
    const int64_t size = (int64_t)sizeof(float);
    return (gemm_stream){.line = (const char *)at,
                         .row = (const char *)at,
                         .row_end = (const char *)(at + cols),
                         .row_bytes = cols * size,
                         .row_stride = ld * size,
                         .rows = rows,
                         .lines_a_chunk = lines};
}

/* The part of B after this pass: deeper in the same columns, or where this worker goes on. */
typedef struct gemm_part {
    int64_t k, count, col, cols; /* cols 0: there is none */
} gemm_part;

static gemm_part part_after(const gemm_block *block, const td_gemm_pass *pass) {
    const int64_t k = pass->last ? 0 : pass->first + pass->count;
    const int64_t col = pass->last ? block->next_col : block->col;
    const int64_t left = block->args->k - k, cols = block->args->n - col;
    return (gemm_part){.k = k,
                       .count = left < pass->count ? left : pass->count,
                       .col = col,
                       .cols = col < 0              ? 0
                               : cols < block->cols ? cols
                                                    : block->cols};
}

/* A panel's share of the lines of `rows` rows, `cols` floats of each; not all of them where rows of
 * C are so few that they would come in bursts, for which tiles wait. */
static gemm_stream share_of(const gemm_block *block, const td_gemm_pass *pass, int64_t panel,
                            const float *at, int64_t rows, int64_t cols, int64_t ld) {
    const int64_t first = rows * panel / block->panels_m;
    const int64_t last = rows * (panel + 1) / block->panels_m;
    const int64_t chunks = block->panels_n * td_gemm_ceil_div(pass->count, GEMM_CHUNK);
    const int64_t lines = td_gemm_ceil_div((last - first) * (cols / TD_LANES + 1), chunks);
    return lines_of(at + first * ld, last - first, cols, ld, lines < 2 ? lines : 2);
}

/* Packed B: panels of 16 columns, a part of the k of each. */
static gemm_stream weights_of(const gemm_block *block, const td_gemm_pass *pass, int64_t panel) {
    const td_gemm_f32_args *args = block->args;
    const gemm_part part = part_after(block, pass);
    const int64_t first = part.count * panel / block->panels_m;
    const int64_t last = part.count * (panel + 1) / block->panels_m;
    const int64_t panels = td_gemm_ceil_div(part.cols, TD_GEMM_PANEL);
    const int64_t lines = td_gemm_ceil_div(panels * GEMM_CHUNK, block->panels_m * block->panels_n);
    return lines_of(args->packed + part.col * args->k + (part.k + first) * TD_LANES,
                    last > first ? panels : 0, (last - first) * TD_LANES, args->k * TD_LANES,
                    lines);
}

/* B as it is stored, from memory into L2, while this part is multiplied: packing does not wait. */
static gemm_stream stored_of(const gemm_block *block, const td_gemm_pass *pass, int64_t panel) {
    const td_gemm_f32_args *args = block->args;
    const gemm_part part = part_after(block, pass);
    if (part.cols == 0) {
        return (gemm_stream){.rows = 0};
    }
    if (args->b_trans) {
        return share_of(block, pass, panel, args->b + part.col * args->ldb + part.k, part.cols,
                        part.count, args->ldb);
    }
    return share_of(block, pass, panel, args->b + part.k * args->ldb + part.col, part.count,
                    part.cols, args->ldb);
}

static void plan_ahead(const gemm_block *block, const td_gemm_pass *pass, int64_t panel,
                       gemm_ahead *ahead) {
    const td_gemm_f32_args *args = block->args;
    if (panel + 1 < block->panels_m && is_copied(block)) {
        *ahead = copy_of(block, pass, panel + 1);
    } else if (panel + 1 < block->panels_m && !td_gemm_is_few(args)) {
        const int64_t row = panel_start(block, panel + 1);
        const int64_t rows = panel_start(block, panel + 2) - row;
        /* Where a panel is read by one or two tiles, the hardware is the better at fetching it:
         * four lines a chunk took a fifth of the time of 32 rows. */
        const int64_t lines = block->panels_n > 2
                                  ? td_gemm_ceil_div(rows * GEMM_CHUNK, TD_LANES * block->panels_n)
                                  : 1;
        ahead->a = lines_of(args->a + (block->row + row) * args->lda + pass->first, rows,
                            pass->count, args->lda, lines);
    }
    if (args->packed == NULL && !block->in_place) {
        ahead->b = stored_of(block, pass, panel);
    } else if (td_gemm_is_few(args)) {
        ahead->b = weights_of(block, pass, panel);
    }
}

static void prepare_a(const gemm_block *block, const td_gemm_pass *pass, gemm_group *group) {
    if (block->turning) {
        const td_gemm_f32_args a = td_gemm_turned(block->args);
        gemm_pack_half(group->packed, &a, pass->first, pass->count, block->rows);
    } else if (group->first == 0 && is_copied(block)) {
        gemm_ahead first = copy_of(block, pass, 0);
        finish_ahead(&first);
    }
}

static gemm_panel find_panel(const gemm_block *block, const td_gemm_pass *pass,
                             const gemm_group *group, int64_t panel) {
    const td_gemm_f32_args *args = block->args;
    int64_t row = block->row + panel_start(block, panel);
    if (block->turning) {
        return (gemm_panel){group->packed, TD_HALF, true};
    }
    if (is_copied(block)) {
        return (gemm_panel){group->packed + panel % 2 * copied_panel(pass), copied_row(pass),
                            args->a_trans};
    }
    return (gemm_panel){args->a + row * args->lda + pass->first, args->lda, false};
}

static void short_pack_b(const gemm_block *block, float *to) {
    gemm_pack_b(to, block->args, 0, block->args->k, block->col, block->cols);
}

static void short_pack_a(const gemm_block *block, int64_t row, int64_t rows, float *to) {
    const td_gemm_f32_args *args = block->args;
    for (int64_t p = 0; p < args->k; p++) {
        memcpy(to + p * SHORT_LDA, args->a + p * args->lda + row, (size_t)rows * sizeof *to);
    }
}

/* Tiles are strips of columns of C, all rows of each; the sums' rows are those columns. */
static void run_turned(const td_gemm_f32_args *args, int64_t first, int64_t last, void *scratch) {
    const td_gemm_grid grid = td_gemm_grid_of(args);
    const td_gemm_f32_args turned = td_gemm_turned(args);
    const int64_t row = first * grid.strip_cols, end = last * grid.strip_cols;
    gemm_block block = block_of(&turned, &turned, td_gemm_turned_cut_of(&turned), scratch);
    block.turned = args;
    block.half = args->m <= TD_GEMM_HALF_ROWS;
    for (; block.col < turned.n; block.col += block.cut.cols) {
        const int64_t next = block.col + block.cut.cols;
        block.cols = next < turned.n ? block.cut.cols : turned.n - block.col;
        run_cut(&block, row, (end < args->n ? end : args->n) - row, next < turned.n ? next : -1);
    }
}

#if defined(GEMM_TURNS)
/* A is packed once for so many columns; their partials take no more room than those of run_turned.
 */
enum { TURNING_COLS = 1024 };

/* Tiles are strips of columns; B is turned in registers. */
static void run_turning(const td_gemm_f32_args *args, int64_t first, int64_t last, void *scratch) {
    const td_gemm_cut cut = {TD_GEMM_STRIP_STEP, TD_GEMM_IN_PLACE_DEPTH};
    const int64_t strip = td_gemm_grid_of(args).strip_cols;
    const int64_t end = last * strip < args->n ? last * strip : args->n;
    gemm_block block = block_of(args, args, cut, scratch);
    block.in_place = block.turning = true;
    for (block.col = first * strip; block.col < end; block.col += TURNING_COLS) {
        block.cols = end - block.col < TURNING_COLS ? end - block.col : TURNING_COLS;
        block.layout.kept_stride = (args->m + TD_GEMM_MAX_MR) * block.cols;
        run_cut(&block, 0, args->m, -1);
    }
}
#endif

void TD_FN(gemm_f32)(const td_gemm_f32_args *args, int64_t first, int64_t last, void *scratch) {
    TD_ASSERT(args->a_bf16 == NULL && args->b_bf16 == NULL && args->c_bf16 == NULL &&
              args->preact_bf16 == NULL && args->act_grad_of_bf16 == NULL);
    if (first >= last) {
        return;
    }
#if defined(GEMM_TURNS)
    if (td_gemm_is_turned(args) && args->m == GEMM_TURN_ROWS && args->n % TD_LANES == 0) {
        run_turning(args, first, last, scratch);
        return;
    }
#endif
    if (td_gemm_is_turned(args)) {
        run_turned(args, first, last, scratch);
        return;
    }
    gemm_block block = block_of(args, args, td_gemm_f32_cut_of(args, GEMM_DEPTH), scratch);
    block.in_place = td_gemm_is_in_place(args);
    run_tiles(&block, td_gemm_is_short(args) ? short_strip : run_strip, first, last);
}

void TD_FN(gemm_pack_f32)(const td_gemm_pack_f32_args *args, int64_t first, int64_t last,
                          void *scratch) {
    (void)scratch;
    const td_gemm_f32_args b = {.b = args->b, .ldb = args->ldb, .b_trans = args->b_trans};
    for (int64_t tile = first; tile < last; tile++) {
        int64_t col = tile * TD_GEMM_PACK_COLS, left = args->n - col;
        gemm_pack_b(args->packed + col * args->k, &b, 0, args->k, col,
                    left < TD_GEMM_PACK_COLS ? left : TD_GEMM_PACK_COLS);
    }
}

td_gemm_micro_size TD_FN(gemm_micro)(const td_gemm_micro *micro) {
    if (micro != NULL) {
        gemm_ahead nothing = {0};
        gemm_work work = {.ahead = &nothing,
                          .k = micro->k,
                          .a = micro->a,
                          .lda = micro->lda,
                          .b = micro->b,
                          .b_apart = micro->k * TD_LANES,
                          .to = {micro->c, micro->vectors * TD_LANES}};
        gemm_tile_fn *tile = gemm_tiles[micro->packed][micro->vectors - 1][micro->rows];
        for (int64_t i = 0; i < micro->repeat; i++) {
            tile(&work);
        }
    }
    return (td_gemm_micro_size){GEMM_MR, GEMM_NV};
}
