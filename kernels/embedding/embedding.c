/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel.h"
#include "kernels/row.h"
#include "kernels/stream.h"
#include "kernels/tiles.h"
#include "kernels/tree.h"

void TD_FN(embedding_f32)(const td_embedding_f32_args *args, int64_t first, int64_t last,
                          void *scratch) {
    (void)scratch;
    int64_t width = args->width, end = td_tile_end(args->n, TD_TILE_ROWS, last);
    for (int64_t i = first * TD_TILE_ROWS; i < end; i++) {
        td_row_add(args->x + i * width, args->table + args->ids[i] * width,
                   args->pos + args->position[i] * width, width);
    }
}

/* A counting sort in place of its result: start first holds counts, then the place of the next
 * position of each id, which ends up as the start of the following id. */
void TD_FN(embedding_sort_i32)(const td_embedding_sort_i32_args *args, int64_t first, int64_t last,
                               void *scratch) {
    (void)scratch;
    if (first >= last) {
        return;
    }
    int32_t *start = args->start;
    memset(start, 0, (size_t)(args->vocab + 1) * sizeof *start);
    for (int64_t i = 0; i < args->n; i++) {
        start[args->ids[i]]++;
    }
    int32_t before = 0;
    for (int64_t v = 0; v <= args->vocab; v++) {
        int32_t count = start[v];
        start[v] = before;
        before += count;
    }
    for (int64_t i = 0; i < args->n; i++) {
        args->order[start[args->ids[i]]++] = (int32_t)i;
    }
    memmove(start + 1, start, (size_t)args->vocab * sizeof *start);
    start[0] = 0;
}

/* One row of dtable: the tokens order[i..end) ascend, so the blocks they fall into do too.
 * Blocks without a token take part as zeros: x + 0 is not x for x = -0, and another rank may own
 * them. */
TD_SIMD void sum_positions(const td_embedding_grad_f32_args *args, int64_t i, int64_t end,
                           float *slots, float *out) {
    int64_t width = args->width, stride = td_tree_stride(width), depth = 0;
    for (int64_t block = 0; block < args->blocks; block++) {
        float *partial = slots + depth * stride;
        int64_t stop = td_block_start(args->starts, args->n, args->blocks, block + 1);
        memset(partial, 0, (size_t)stride * sizeof *partial);
        for (; i < end && args->order[i] < stop; i++) {
            td_row_add(partial, partial, args->dx + args->order[i] * width, width);
        }
        td_tree_push(slots, stride, stride, block, &depth);
    }
    td_tree_finish(slots, stride, stride, depth);
    td_row_copy(out, slots, width);
}

void TD_FN(embedding_grad_f32)(const td_embedding_grad_f32_args *args, int64_t first, int64_t last,
                               void *scratch) {
    const int32_t *start = args->start;
    int64_t width = args->width, end = td_tile_end(args->vocab, TD_TILE_IDS, last);
    if (args->compact) {
        for (int64_t v = first * TD_TILE_IDS; v < end; v++) {
            if (start[v] < start[v + 1]) {
                sum_positions(args, start[v], start[v + 1], scratch,
                              args->dtable + start[v] * width);
            }
        }
        return;
    }
    const bool streaming = td_streams(args->dtable, args->vocab, width, sizeof *args->dtable);
    for (int64_t v = first * TD_TILE_IDS; v < end;) {
        /* A batch uses some 2,500 of 49,408 ids: rows between them are zeroed in one run. */
        int64_t absent = v;
        while (absent < end && start[absent] == start[absent + 1]) {
            absent++;
        }
        float *zeros = args->dtable + v * width;
        if (streaming) {
            td_stream_zeros(zeros, (absent - v) * width);
        } else {
            memset(zeros, 0, (size_t)((absent - v) * width) * sizeof *zeros);
        }
        v = absent;
        if (v < end) {
            sum_positions(args, start[v], start[v + 1], scratch, args->dtable + v * width);
            v++;
        }
    }
    td_stream_fence();
}
