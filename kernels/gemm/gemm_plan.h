/* SPDX-License-Identifier: Apache-2.0
 * How a GEMM is cut: tiles (part of the contract: from the shape alone) and passes over k (free: a
 * pass continues every chain where the last one left it, so they change no bit).
 *
 * Order over k. Block b of k_blocks covers k * b / k_blocks .. k * (b + 1) / k_blocks, or
 * k_starts[b]
 * .. k_starts[b + 1], and is one FMA chain from zero (an empty block is zero). Blocks are joined by
 * a binary counter: finished blocks wait on a stack; after block b as many pairs are joined, older
 * + newer, as b has trailing one bits; after the last block what is left is joined newest first.
 * For a power of two this is the balanced tree over consecutive pairs. k_blocks = 1 is a single
 * chain, from C if accumulating.
 */
#ifndef TD_KERNELS_GEMM_PLAN_H
#define TD_KERNELS_GEMM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/args.h"

/* Whether C is the sums alone, in f32. */
static inline bool td_gemm_is_plain(const td_gemm_f32_args *args) {
    return args->bias == NULL && args->preact == NULL && args->act == TD_ACT_NONE &&
           args->residual == NULL && args->act_grad_of == NULL && args->act_grad_of_bf16 == NULL &&
           args->c_bf16 == NULL && args->preact_bf16 == NULL;
}

/* 64 rows: small enough to share among many workers; a run of tiles of one strip is computed as one
 * block, so the height costs nothing. Strips of at most 384 columns: with 384 k they are 576 KiB of
 * packed B, which leaves room for A and C in a 1 MiB L2. */
enum {
    TD_GEMM_TILE_ROWS = 64,
    TD_GEMM_STRIP = 384,
    TD_GEMM_FEW_STRIP = 128,
    TD_GEMM_STRIP_STEP = 32,
};

/* Partial results of one block of rows wait in scratch between passes; 1,536 rows of a strip are
 * 2.25 MiB, and packing B once per 1,536 rows costs about 2 %. */
enum { TD_GEMM_BLOCK_ROWS = 1536 };

/* Bounds over every ISA, for scratch: rows and columns of a register tile, depth of a pass. */
enum { TD_GEMM_MAX_MR = 16, TD_GEMM_MAX_NR = 32 };

/* The depth of a pass, by ISA: every one an ISA may use is listed, so that scratch fits all. */
enum { TD_GEMM_DEPTH_AVX512 = 384, TD_GEMM_DEPTH_AVX2 = 256, TD_GEMM_DEPTH_PORTABLE = 256 };

/* Floats behind a packed panel of A, where the last vector may be written beyond it. */
enum { TD_GEMM_PANEL_PAD = 16 };

/* Panels of A that are made ready together: 8 panels of 14 rows are 7 cache lines of a row of A
 * stored (k, m), so nearly all of what is fetched is used. */
enum { TD_GEMM_GROUP = 8 };

enum { TD_GEMM_MAX_SEGMENTS = 16, TD_GEMM_MAX_STACK = 40 };

static inline int64_t td_gemm_ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* Columns of a panel of B, on every ISA; and of a tile of gemm_pack_f32. */
enum { TD_GEMM_PANEL = 16, TD_GEMM_PACK_COLS = 128 };

static inline int64_t td_gemm_packed_floats(int64_t n, int64_t k) {
    return td_gemm_ceil_div(n, TD_GEMM_PANEL) * TD_GEMM_PANEL * k;
}

/* Few rows times packed weights: 32 columns at a time, in passes whose part of B stays in L1 for
 * all panels of rows, while the part after it is fetched. */
enum { TD_GEMM_FEW_ROWS = 128, TD_GEMM_FEW_COLS = 32, TD_GEMM_FEW_DEPTH = 256 };

static inline bool td_gemm_is_few(const td_gemm_f32_args *args) {
    return args->packed != NULL && args->m <= TD_GEMM_FEW_ROWS;
}

/* Few rows times B as it is stored: every element of B is used so seldom that packing it would take
 * as long as the product. Stored (k, n) it is read in place. Stored (n, k) it changes place with A:
 * its rows are read in place, A is packed, and tiles of C are turned before they are stored; the
 * lanes of a vector are then rows of C, and half of the last one may stay empty, and 8 rows take
 * half vectors. Not more rows than a tile has. */
enum { TD_GEMM_IN_PLACE_ROWS = 64, TD_GEMM_IN_PLACE_DEPTH = 768, TD_GEMM_HALF_ROWS = 8 };

static inline bool td_gemm_is_in_place(const td_gemm_f32_args *args) {
    return args->packed == NULL && args->m <= TD_GEMM_IN_PLACE_ROWS && !args->a_trans &&
           !args->b_trans && args->n % TD_GEMM_PANEL == 0;
}

static inline bool td_gemm_is_turned(const td_gemm_f32_args *args) {
    const int64_t lanes = (args->m + TD_GEMM_PANEL - 1) / TD_GEMM_PANEL * TD_GEMM_PANEL;
    return args->packed == NULL && args->m <= TD_GEMM_IN_PLACE_ROWS &&
           lanes - args->m <= TD_GEMM_PANEL / 2 && !args->a_trans && args->b_trans &&
           !args->accumulate;
}

/* The sums of C turned, which are the same chains: no epilogue. */
static inline td_gemm_f32_args td_gemm_turned(const td_gemm_f32_args *args) {
    return (td_gemm_f32_args){.m = args->n,
                              .n = args->m,
                              .k = args->k,
                              .a = args->b,
                              .lda = args->ldb,
                              .b = args->a,
                              .ldb = args->lda,
                              .b_trans = true,
                              .k_blocks = args->k_blocks,
                              .k_starts = args->k_starts};
}

/* Weight gradients over so few rows, in whole trees of blocks, that a tile keeps all partials in
 * registers. A worker writes whole rows of C, as far as its tiles reach: with the columns cut in
 * two it meets the other's lines at the end of every row, and two workers took as long as one. */
enum { TD_GEMM_SHORT_K = 64, TD_GEMM_SHORT_BLOCKS = 8, TD_GEMM_SHORT_STRIP = 1024 };

static inline bool td_gemm_is_short(const td_gemm_f32_args *args) {
    const int64_t blocks = args->k_blocks;
    return args->a_trans && !args->b_trans && args->packed == NULL && args->k > 0 &&
           args->k <= TD_GEMM_SHORT_K && args->n % TD_GEMM_PANEL == 0 &&
           (blocks == 2 || blocks == 4 || blocks == TD_GEMM_SHORT_BLOCKS);
}

typedef struct td_gemm_grid {
    int64_t rows, strips, strip_cols; /* tiles in a strip, strips, columns of all but the last */
} td_gemm_grid;

/* Strips are equally wide and even in number: two workers get the same work to within a register
 * tile. Where there is one row of tiles only, narrower strips let more workers share it. */
static inline td_gemm_grid td_gemm_grid_of(const td_gemm_f32_args *args) {
    td_gemm_grid grid;
    const int64_t widest = args->m <= TD_GEMM_TILE_ROWS ? TD_GEMM_FEW_STRIP
                           : td_gemm_is_short(args)     ? TD_GEMM_SHORT_STRIP
                                                        : TD_GEMM_STRIP;
    int64_t strips = td_gemm_ceil_div(args->n, widest);
    strips += strips > 1 ? strips & 1 : 0;
    int64_t steps = td_gemm_ceil_div(args->n, TD_GEMM_STRIP_STEP);
    grid.strip_cols = strips > 0 ? td_gemm_ceil_div(steps, strips) * TD_GEMM_STRIP_STEP : 0;
    grid.strips = strips > 0 ? td_gemm_ceil_div(args->n, grid.strip_cols) : 0;
    grid.rows = td_gemm_ceil_div(args->m, TD_GEMM_TILE_ROWS);
    return grid;
}

/* One chain, or a part of one, inside a pass. Slots are places on the stack of finished blocks; a
 * slot that is filled and emptied within the pass is local: it lives in L1. */
typedef struct td_gemm_segment {
    int64_t first, count; /* k */
    int8_t from;          /* slot of the chain's partial; -1: starts fresh */
    int8_t to;            /* slot that receives the result; -1: it is the result */
    int8_t top, n_older;  /* older partials to add: slots top - 1, top - 2, ... */
    uint64_t older_local; /* bit s: slot s is local */
    bool to_local;
} td_gemm_segment;

typedef struct td_gemm_pass {
    int64_t first, count; /* k */
    int n_segments;
    int n_kept; /* slots 0..n_kept - 1 that outlive a pass are read or written here */
    bool last;
    td_gemm_segment segments[TD_GEMM_MAX_SEGMENTS];
} td_gemm_pass;

/* Where the walk over k stands: the next block, k inside it, partials on the stack. */
typedef struct td_gemm_walk {
    int64_t block, done;
    int8_t depth;
    bool finished;
} td_gemm_walk;

static inline int64_t td_gemm_block_start(const td_gemm_f32_args *args, int64_t block) {
    return args->k_starts != NULL ? args->k_starts[block] : args->k * block / args->k_blocks;
}

static inline int64_t td_gemm_longest_block(const td_gemm_f32_args *args) {
    int64_t longest = args->k_starts != NULL ? 0 : td_gemm_ceil_div(args->k, args->k_blocks);
    for (int64_t b = 0; b < args->k_blocks && args->k_starts != NULL; b++) {
        int64_t size = args->k_starts[b + 1] - args->k_starts[b];
        longest = size > longest ? size : longest;
    }
    return longest;
}

/* Whole blocks of a pass: a power of two that fits, so that few partials outlive the pass. */
static inline int64_t td_gemm_blocks_per_pass(const td_gemm_f32_args *args, int64_t depth) {
    int64_t longest = td_gemm_longest_block(args), blocks = 1;
    while (blocks * 2 <= TD_GEMM_MAX_SEGMENTS && blocks * 2 * longest <= depth) {
        blocks *= 2;
    }
    return blocks;
}

/* Marks what is filled and emptied within the pass, and counts the other slots. */
static inline void td_gemm_pass_locals(td_gemm_pass *pass) {
    uint64_t filled = 0;
    for (int i = 0; i < pass->n_segments; i++) {
        td_gemm_segment *s = &pass->segments[i];
        for (int slot = s->top - s->n_older; slot < s->top; slot++) {
            s->older_local |= filled & UINT64_C(1) << slot;
            if ((filled >> slot & 1) == 0) {
                pass->n_kept = slot >= pass->n_kept ? slot + 1 : pass->n_kept;
            }
        }
        pass->n_kept = s->from >= pass->n_kept ? s->from + 1 : pass->n_kept;
        if (s->to >= 0) {
            filled |= UINT64_C(1) << s->to;
            for (int j = i + 1; j < pass->n_segments && !s->to_local; j++) {
                const td_gemm_segment *later = &pass->segments[j];
                s->to_local = s->to < later->top && s->to >= later->top - later->n_older;
            }
            pass->n_kept = !s->to_local && s->to >= pass->n_kept ? s->to + 1 : pass->n_kept;
        }
    }
}

/* The next pass of at most `depth` k; false when k is used up. */
static inline bool td_gemm_next_pass(const td_gemm_f32_args *args, int64_t depth,
                                     td_gemm_walk *walk, td_gemm_pass *pass) {
    if (walk->finished) {
        return false;
    }
    int64_t blocks = td_gemm_blocks_per_pass(args, depth);
    *pass = (td_gemm_pass){.first = td_gemm_block_start(args, walk->block) + walk->done};
    for (int64_t i = 0; i < blocks && !walk->finished; i++) {
        int64_t start = td_gemm_block_start(args, walk->block);
        int64_t size = td_gemm_block_start(args, walk->block + 1) - start;
        /* A block deeper than a pass is cut into equal parts, whole cache lines of k. */
        int64_t parts = size > depth ? td_gemm_ceil_div(size, depth) : 1;
        int64_t part = parts > 1 ? (td_gemm_ceil_div(size, parts) + 15) / 16 * 16 : size;
        int64_t count = size - walk->done < part ? size - walk->done : part;
        td_gemm_segment *s = &pass->segments[pass->n_segments++];
        *s = (td_gemm_segment){.first = start + walk->done,
                               .count = count,
                               .from = walk->done > 0 ? walk->depth : -1,
                               .to = walk->depth,
                               .top = walk->depth};
        pass->count += count;
        walk->done += count;
        if (walk->done < size) {
            break;
        }
        bool last = walk->block + 1 == args->k_blocks;
        while (last ? s->n_older < s->top : (walk->block >> s->n_older & 1) != 0) {
            s->n_older++;
        }
        s->to = last ? -1 : (int8_t)(s->top - s->n_older);
        walk->depth = (int8_t)(s->to + 1);
        walk->done = 0;
        walk->block++;
        walk->finished = last;
    }
    pass->last = walk->finished;
    td_gemm_pass_locals(pass);
    return true;
}

/* Slots of a pass that are local. */
static inline int64_t td_gemm_local_slots(const td_gemm_f32_args *args) {
    int64_t levels = 1;
    while (args->k_blocks >> levels != 0) {
        levels++;
    }
    return levels + 1;
}

/* Slots that outlive a pass, each as large as a block of rows of a strip. Blocks that change from
 * call to call get as many as any could need: scratch is planned once. */
static inline int64_t td_gemm_kept_slots(const td_gemm_f32_args *args, int64_t depth) {
    if (args->k_starts != NULL) {
        return td_gemm_local_slots(args);
    }
    td_gemm_walk walk = {0};
    td_gemm_pass pass;
    int64_t kept = 0;
    while (td_gemm_next_pass(args, depth, &walk, &pass)) {
        kept = pass.n_kept > kept ? pass.n_kept : kept;
    }
    return kept;
}

/* How a strip is walked: columns packed together, and the depth of a pass. */
typedef struct td_gemm_cut {
    int64_t cols, depth;
} td_gemm_cut;

/* Twice the depth on half the columns is the same share of L2. Where it makes one pass of two it
 * saves writing and reading every partial, which is worth 2 to 3 %; elsewhere A, which is read once
 * per cut, would cost more than it saves. */
static inline td_gemm_cut td_gemm_cut_of(const td_gemm_f32_args *args, int64_t depth) {
    td_gemm_cut cut = {td_gemm_grid_of(args).strip_cols, depth};
    if (td_gemm_is_few(args)) {
        return (td_gemm_cut){TD_GEMM_FEW_COLS, TD_GEMM_FEW_DEPTH};
    }
    if (td_gemm_is_short(args)) { /* all of k, and no more room for it */
        return (td_gemm_cut){cut.cols, TD_GEMM_SHORT_K};
    }
    /* A narrower strip leaves room for more of k: 1,024 columns are four strips of 256, and two
     * passes over 1,024 k instead of three. */
    if (cut.cols > 0 && cut.cols < TD_GEMM_STRIP) {
        int64_t room = depth * TD_GEMM_STRIP / cut.cols / 16 * 16;
        cut.depth = room < 2 * depth ? room : 2 * depth;
    }
    if (args->k > cut.depth && args->k <= 2 * depth && args->k_starts == NULL) {
        int64_t steps = td_gemm_ceil_div(cut.cols, TD_GEMM_STRIP_STEP);
        cut.cols = td_gemm_ceil_div(steps, 2) * TD_GEMM_STRIP_STEP;
        cut.depth = 2 * depth;
    } else if (args->k_blocks > 1 || args->k_starts != NULL) {
        /* A pass holds whole blocks: 400 deep takes one block of 32 sequences of 50 tokens out of
         * 8, or two of 16, where 384 would cut them into twice as many passes. */
        cut.depth += cut.depth / 8 / 16 * 16; /* parts of a block are whole lines of k */
    }
    return cut;
}

/* The same in f32, where B may be read in place. */
static inline td_gemm_cut td_gemm_f32_cut_of(const td_gemm_f32_args *args, int64_t depth) {
    return td_gemm_is_in_place(args) ? (td_gemm_cut){TD_GEMM_FEW_COLS, TD_GEMM_IN_PLACE_DEPTH}
                                     : td_gemm_cut_of(args, depth);
}

static inline td_gemm_cut td_gemm_turned_cut_of(const td_gemm_f32_args *turned) {
    const int64_t steps = td_gemm_ceil_div(turned->n, TD_GEMM_STRIP_STEP);
    return (td_gemm_cut){steps * TD_GEMM_STRIP_STEP, TD_GEMM_IN_PLACE_DEPTH};
}

/* Scratch of one worker, as offsets in floats from a 64-byte boundary. */
typedef struct td_gemm_layout {
    int64_t packed_b, panels_a, edge, local, kept;
    int64_t kept_slots, kept_stride; /* slots, floats from one to the next */
    int64_t bytes;                   /* all of it, alignment included */
} td_gemm_layout;

static inline td_gemm_layout td_gemm_layout_of(const td_gemm_f32_args *args, td_gemm_cut cut) {
    const int64_t tile = TD_GEMM_MAX_MR * TD_GEMM_MAX_NR;
    int64_t panel = TD_GEMM_MAX_MR * (cut.depth + TD_GEMM_PANEL_PAD);
    int64_t rows = args->m < TD_GEMM_BLOCK_ROWS ? args->m : TD_GEMM_BLOCK_ROWS;
    td_gemm_layout layout = {0};
    layout.panels_a = layout.packed_b + cut.cols * cut.depth;
    layout.edge = layout.panels_a + TD_GEMM_GROUP * panel;
    layout.local = layout.edge + tile;
    layout.kept = layout.local + td_gemm_local_slots(args) * tile;
    layout.kept_slots = td_gemm_kept_slots(args, cut.depth);
    layout.kept_stride = (rows + TD_GEMM_MAX_MR) * cut.cols;
    layout.bytes =
        (layout.kept + layout.kept_slots * layout.kept_stride) * (int64_t)sizeof(float) + 64;
    return layout;
}

#endif
