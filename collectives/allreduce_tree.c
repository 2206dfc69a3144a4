/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "collectives/algorithms.h"
#include "collectives/comm_state.h"
#include "collectives/elements.h"

/* Bytes of partial sums taken at a time: 4 KiB from each rank is one page, which the prefetcher
 * follows, and partial sums of all levels (at most 7 for 64 ranks) stay in a 32 KiB first-level
 * cache. */
enum { BLOCK_BYTES = 4096, MAX_LEVELS = 7 };
_Static_assert(1 << (MAX_LEVELS - 1) >= TD_MAX_RANKS, "one partial sum for each level of the tree");

typedef struct inputs {
    const unsigned char *rank[TD_MAX_RANKS];
    int64_t first, n; /* the block, in elements */
    td_dtype dtype, partial_type;
    td_reduce reduce;
    _Alignas(64) unsigned char partial[MAX_LEVELS][BLOCK_BYTES];
} inputs;

/* The sum over ranks [first, first + count); inputs are read where they are, unless they are to be
 * widened. Uses partial[level] and the levels above. */
static const void *sum_subtree(inputs *in, int first, int count, int level) {
    void *out = in->partial[level];
    if (count == 1) {
        const unsigned char *source = in->rank[first] + in->first * td_dtype_bytes(in->dtype);
        if (in->dtype == in->partial_type) {
            return source;
        }
        td_elements_copy(out, in->partial_type, source, in->dtype, in->n);
        return out;
    }
    /* The left side is the largest power of two below count, as for blocks inside a rank
     * (kernels/tree.h): ranks that own equal, power-of-two groups of blocks continue that tree. */
    int left = 1;
    while (2 * left < count) {
        left *= 2;
    }
    const void *a = sum_subtree(in, first, left, level);
    const void *b = sum_subtree(in, first + left, count - left, level + 1);
    td_elements()->combine(out, a, b, in->n, in->partial_type, in->reduce);
    return out;
}

static void describe_inputs(const td_comm *comm, const td_call *call, const void *mine,
                            inputs *in) {
    in->dtype = call->dtype;
    in->partial_type = td_partial_type(call->dtype);
    in->reduce = call->reduce;
    for (int peer = 0; peer < td_comm_size(comm); peer++) {
        in->rank[peer] = td_comm_peer(comm, peer, mine);
    }
}

/* The result of a block goes to all ranks. */
static void spread(const td_comm *comm, const inputs *in, const void *sum, void *out) {
    int p = td_comm_size(comm);
    unsigned char finished[BLOCK_BYTES];
    int64_t bytes = td_dtype_bytes(in->dtype);
    if (in->reduce == TD_AVG || in->dtype != in->partial_type) {
        td_elements_finish(finished, in->dtype, sum, in->partial_type, in->n,
                           in->reduce == TD_AVG ? p : 0);
        sum = finished;
    }
    for (int peer = 0; peer < p; peer++) {
        memcpy((unsigned char *)td_comm_peer(comm, peer, out) + in->first * bytes, sum,
               (size_t)(in->n * bytes));
    }
}

/* A small message: everybody copies its own out, meets the others, and adds up all of them. Slots
 * take turns: who has entered the next such call has read the slot of this one. */
static void hand_over(td_comm *comm, td_comm_turn *turn, const td_call *call) {
    int p = td_comm_size(comm);
    int64_t bytes = td_dtype_bytes(call->dtype);
    unsigned char *slot = comm->shared->slots[comm->handed_over++ % 2];
    memcpy(slot, call->in, (size_t)(call->count * bytes));
    td_comm_signal(turn, TD_ROUND_ENTERED);
    if (td_comm_await_all(turn, TD_ROUND_ENTERED) != TD_OK) {
        return;
    }
    inputs in; /* not cleared, as below */
    describe_inputs(comm, call, slot, &in);
    int64_t block = BLOCK_BYTES / td_dtype_bytes(in.partial_type);
    for (in.first = 0; in.first < call->count; in.first += in.n) {
        in.n = call->count - in.first < block ? call->count - in.first : block;
        td_elements_finish((unsigned char *)call->out + in.first * bytes, in.dtype,
                           sum_subtree(&in, 0, p, 0), in.partial_type, in.n,
                           in.reduce == TD_AVG ? p : 0);
    }
}

static void sum_share(const td_comm *comm, const td_worker *worker, const td_call *call) {
    int p = td_comm_size(comm), rank = td_comm_rank(comm);
    int64_t bytes = td_dtype_bytes(call->dtype), first = 0, last = call->count;
    td_comm_part((int64_t)rank * worker->count + worker->id, (int64_t)p * worker->count, bytes,
                 &first, &last);
    inputs in; /* 29 KiB: not cleared, every part is written before it is read */
    describe_inputs(comm, call, call->in, &in);
    int64_t block = BLOCK_BYTES / td_dtype_bytes(in.partial_type);
    for (in.first = first; in.first < last; in.first += in.n) {
        in.n = last - in.first < block ? last - in.first : block;
        spread(comm, &in, sum_subtree(&in, 0, p, 0), call->out);
    }
}

/* In place although all ranks work at once: an element is read and written by one worker only, and
 * its line is still in that worker's cache when it is written. 2 p n bytes in all, the least there
 * is for p private results. The order of additions is that of small messages. */
td_status td_allreduce__tree(const td_collective *row, td_comm *comm, td_worker *worker,
                             const td_call *call) {
    td_comm_turn turn;
    TD_TRY(td_comm_announce(comm, worker, row, call, &turn));
    if (call->count * td_dtype_bytes(call->dtype) <= TD_COMM_SLOT) {
        if (worker->id == 0) {
            hand_over(comm, &turn, call);
        }
        return td_comm_end(&turn);
    }
    td_comm_signal(&turn, TD_ROUND_ENTERED);
    if (td_comm_await_all(&turn, TD_ROUND_ENTERED) == TD_OK) {
        sum_share(comm, worker, call);
        td_comm_signal(&turn, 0);
        td_comm_await_all(&turn, 0);
    }
    return td_comm_end(&turn);
}
