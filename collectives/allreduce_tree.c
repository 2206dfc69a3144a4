/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "collectives/algorithms.h"
#include "collectives/comm_state.h"
#include "collectives/elements.h"

/* Elements summed at a time: 4 KiB from each rank is one page, which the prefetcher follows, and
 * partial sums of all levels (at most 7 for 64 ranks) stay in a 32 KiB first-level cache. */
enum { BLOCK = 1024, MAX_LEVELS = 7 };
_Static_assert(1 << (MAX_LEVELS - 1) >= TD_MAX_RANKS, "one partial sum for each level of the tree");

typedef struct inputs {
    const unsigned char *rank[TD_MAX_RANKS];
    int64_t offset_bytes, n; /* the block: n <= BLOCK elements */
    td_dtype dtype;
    _Alignas(64) float partial[MAX_LEVELS][BLOCK];
} inputs;

/* The sum over ranks [first, first + count); f32 inputs are read where they are. Uses
 * partial[level] and the levels above. */
static const float *sum_subtree(inputs *in, int first, int count, int level) {
    float *out = in->partial[level];
    if (count == 1) {
        const unsigned char *source = in->rank[first] + in->offset_bytes;
        if (in->dtype == TD_F32) {
            return (const float *)source;
        }
        td_widen_bf16(out, (const uint16_t *)source, in->n);
        return out;
    }
    /* The left side is the largest power of two below count, as for blocks inside a rank
     * (kernels/tree.h): ranks that own equal, power-of-two groups of blocks continue that tree. */
    int left = 1;
    while (2 * left < count) {
        left *= 2;
    }
    const float *a = sum_subtree(in, first, left, level);
    const float *b = sum_subtree(in, first + left, count - left, level + 1);
    td_add_f32(out, a, b, in->n);
    return out;
}

/* In place although all ranks work at once: an element is read and written by one worker only, and
 * its line is still in that worker's cache when it is written. 2 p n bytes in all, the least there
 * is for p private results. */
td_status td_allreduce__tree(td_comm *comm, td_worker *worker, void *buffer, int64_t count,
                             td_dtype dtype) {
    TD_TRY(td_comm_enter(comm, worker, "allreduce/tree", buffer, count, dtype));
    int p = td_comm_size(comm), rank = td_comm_rank(comm);
    int64_t bytes = td_dtype_bytes(dtype), first = 0, last = p > 1 ? count : 0;
    td_comm_part((int64_t)rank * worker->count + worker->id, (int64_t)p * worker->count, bytes,
                 &first, &last);
    inputs in; /* 29 KiB: not cleared, every part is written before it is read */
    in.dtype = dtype;
    for (int peer = 0; peer < p; peer++) {
        in.rank[peer] = td_comm_peer(comm, peer, buffer);
    }
    for (int64_t at = first; at < last; at += in.n) {
        in.n = last - at < BLOCK ? last - at : BLOCK;
        in.offset_bytes = at * bytes;
        const void *sum = sum_subtree(&in, 0, p, 0);
        uint16_t rounded[BLOCK];
        if (dtype == TD_BF16) {
            td_narrow_bf16(rounded, sum, in.n);
            sum = rounded;
        }
        for (int peer = 0; peer < p; peer++) {
            memcpy((unsigned char *)td_comm_peer(comm, peer, buffer) + in.offset_bytes, sum,
                   (size_t)(in.n * bytes));
        }
    }
    return td_comm_leave(comm, worker);
}
