/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel.h"
#include "kernels/simd.h"
#include "kernels/stream.h"
#include "kernels/tiles.h"
#include "kernels/tree.h"

/* Four rows a sweep: the partial sums are loaded and stored once for four rows of input. The next
 * four are asked for meanwhile, because a run of a row ends before a prefetcher has seen it. */
enum { ROWS = 4 };

/* Adds n consecutive rows, in order, to the partial sums of one chunk of columns. */
TD_SIMD void add_rows(int n, const float *x, int64_t ldx, int64_t width, float *partial) {
    int64_t c = 0;
    for (; c + TD_LANES <= width; c += TD_LANES) {
        td_v16 sum = td_v16_load(partial + c);
        for (int r = 0; r < n; r++) {
            __builtin_prefetch(x + (r + ROWS) * ldx + c, 0, 3);
            sum = td_v16_add(sum, td_v16_load(x + r * ldx + c));
        }
        td_v16_store(partial + c, sum);
    }
    if (c < width) {
        td_v16 sum = td_v16_load(partial + c);
        for (int r = 0; r < n; r++) {
            sum = td_v16_add(sum, td_v16_load_part(x + r * ldx + c, width - c, 0));
        }
        td_v16_store(partial + c, sum);
    }
}

void TD_FN(colsum_f32)(const td_colsum_f32_args *args, int64_t first, int64_t last, void *scratch) {
    int64_t ldx = args->ldx;
    int64_t end = td_tile_end(args->cols, TD_TILE_COLS, last);
    for (int64_t c = first * TD_TILE_COLS; c < end; c += TD_CHUNK_COLS) {
        int64_t width = end - c < TD_CHUNK_COLS ? end - c : TD_CHUNK_COLS;
        int64_t stride = td_tree_stride(width), depth = 0;
        float *slots = scratch;
        for (int64_t block = 0; block < args->blocks; block++) {
            float *partial = slots + depth * stride;
            memset(partial, 0, (size_t)stride * sizeof *partial);
            int64_t row = td_block_start(args->starts, args->rows, args->blocks, block);
            int64_t row_end = td_block_start(args->starts, args->rows, args->blocks, block + 1);
            for (; row + ROWS <= row_end; row += ROWS) {
                add_rows(ROWS, args->x + row * ldx + c, ldx, width, partial);
            }
            for (; row < row_end; row++) {
                add_rows(1, args->x + row * ldx + c, ldx, width, partial);
            }
            td_tree_push(slots, stride, stride, block, &depth);
        }
        td_tree_finish(slots, stride, stride, depth);
        memcpy(args->out + c, slots, (size_t)width * sizeof *slots);
    }
}

void TD_FN(sumsq_f32)(const td_sumsq_f32_args *args, int64_t first, int64_t last, void *scratch) {
    (void)scratch;
    for (int64_t tile = first; tile < last; tile++) {
        int64_t i = tile * TD_TILE_FLAT, end = td_tile_end(args->n, TD_TILE_FLAT, tile + 1);
        td_d16 sum = td_d16_zero();
        for (; i + TD_LANES <= end; i += TD_LANES) {
            td_ask_ahead(args->x + i, 1);
            td_v16 x = td_v16_load(args->x + i);
            sum = td_d16_add(sum, td_v16_to_d16(td_v16_mul(x, x)));
        }
        if (i < end) {
            td_v16 x = td_v16_load_part(args->x + i, end - i, 0);
            sum = td_d16_add(sum, td_v16_to_d16(td_v16_mul(x, x)));
        }
        args->slots[tile] = td_d16_sum(sum);
    }
}
