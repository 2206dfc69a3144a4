/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/convert/bf16.h"
#include "kernels/kernel.h"
#include "kernels/simd.h"
#include "kernels/tiles.h"
#include "kernels/tree.h"

/* Four rows a sweep: the partial sums are loaded and stored once for four rows of input. Rows ahead
 * are asked for meanwhile, into L2: four runs at once are more than a prefetcher follows. */
enum { ROWS = 4, AHEAD = 8 };

/* Adds n consecutive rows, in order, to the partial sums of one chunk of columns. rounded: x is
 * bf16. */
TD_SIMD void add_rows(int n, const bf16_source *x, int64_t at, int64_t width, float *partial,
                      const bool rounded) {
    int64_t c = 0;
    for (; c + TD_LANES <= width; c += TD_LANES) {
        td_v16 sum = td_v16_load(partial + c);
        for (int r = 0; r < n; r++) {
            int64_t ahead = at + (r + AHEAD) * x->ld + c;
            __builtin_prefetch(rounded ? (const void *)(x->bf16 + ahead) : x->f32 + ahead, 0, 2);
            sum = td_v16_add(sum, bf16_read(x, at + r * x->ld + c, TD_LANES, rounded));
        }
        td_v16_store(partial + c, sum);
    }
    if (c < width) {
        td_v16 sum = td_v16_load(partial + c);
        for (int r = 0; r < n; r++) {
            sum = td_v16_add(sum, bf16_read(x, at + r * x->ld + c, width - c, rounded));
        }
        td_v16_store(partial + c, sum);
    }
}

/* Sums of `width` columns from c on, into slots. */
TD_SIMD void sum_chunk(const td_colsum_f32_args *args, int64_t c, int64_t width, float *slots,
                       const bool rounded) {
    const bf16_source x = {args->x, args->x_bf16, args->ldx};
    const int64_t stride = td_tree_stride(width);
    int64_t depth = 0;
    for (int64_t block = 0; block < args->blocks; block++) {
        float *partial = slots + depth * stride;
        memset(partial, 0, (size_t)stride * sizeof *partial);
        int64_t row = td_block_start(args->starts, args->rows, args->blocks, block);
        int64_t row_end = td_block_start(args->starts, args->rows, args->blocks, block + 1);
        for (; row + ROWS <= row_end; row += ROWS) {
            add_rows(ROWS, &x, row * x.ld + c, width, partial, rounded);
        }
        for (; row < row_end; row++) {
            add_rows(1, &x, row * x.ld + c, width, partial, rounded);
        }
        td_tree_push(slots, stride, stride, block, &depth);
    }
    td_tree_finish(slots, stride, stride, depth);
}

void TD_FN(colsum_f32)(const td_colsum_f32_args *args, int64_t first, int64_t last, void *scratch) {
    int64_t end = td_tile_end(args->cols, TD_TILE_COLS, last);
    for (int64_t c = first * TD_TILE_COLS; c < end; c += TD_CHUNK_COLS) {
        int64_t width = end - c < TD_CHUNK_COLS ? end - c : TD_CHUNK_COLS;
        if (args->x_bf16 != NULL) {
            sum_chunk(args, c, width, scratch, true);
        } else {
            sum_chunk(args, c, width, scratch, false);
        }
        memcpy(args->out + c, scratch, (size_t)width * sizeof *args->out);
    }
}

void TD_FN(sumsq_f32)(const td_sumsq_f32_args *args, int64_t first, int64_t last, void *scratch) {
    (void)scratch;
    for (int64_t tile = first; tile < last; tile++) {
        int64_t i = tile * TD_TILE_FLAT, end = td_tile_end(args->n, TD_TILE_FLAT, tile + 1);
        td_d16 sum = td_d16_zero();
        for (; i + TD_LANES <= end; i += TD_LANES) {
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
