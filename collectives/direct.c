/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/direct.h"

#include <string.h>

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

/* The result of a block goes to ranks [to, to + n_to). */
static void spread(const td_comm *comm, const inputs *in, const void *sum, void *out, int to,
                   int n_to) {
    int p = td_comm_size(comm);
    unsigned char finished[BLOCK_BYTES];
    int64_t bytes = td_dtype_bytes(in->dtype);
    if (in->reduce == TD_AVG || in->dtype != in->partial_type) {
        td_elements_finish(finished, in->dtype, sum, in->partial_type, in->n,
                           in->reduce == TD_AVG ? p : 0);
        sum = finished;
    }
    for (int peer = to; peer < to + n_to; peer++) {
        memcpy((unsigned char *)td_comm_peer(comm, peer, out) + in->first * bytes, sum,
               (size_t)(in->n * bytes));
    }
}

void td_direct_sum(const td_comm *comm, const td_call *call, const void *mine, int64_t first,
                   int64_t last, int to, int n_to) {
    inputs in; /* 29 KiB: not cleared, every part is written before it is read */
    describe_inputs(comm, call, mine, &in);
    int64_t block = BLOCK_BYTES / td_dtype_bytes(in.partial_type);
    for (in.first = first; in.first < last; in.first += in.n) {
        in.n = last - in.first < block ? last - in.first : block;
        spread(comm, &in, sum_subtree(&in, 0, td_comm_size(comm), 0), call->out, to, n_to);
    }
}

void td_direct_share(const td_comm *comm, const td_worker *worker, const td_call *call,
                     int64_t *first, int64_t *last) {
    int64_t place = (int64_t)td_comm_rank(comm) * worker->count + worker->id;
    *first = 0;
    *last = call->count;
    td_comm_part(place, (int64_t)td_comm_size(comm) * worker->count, td_dtype_bytes(call->dtype),
                 first, last);
}

td_status td_direct_run(const td_collective *row, td_comm *comm, td_worker *worker,
                        const td_call *call, td_direct_part_fn *part) {
    td_comm_turn turn;
    TD_TRY(td_comm_begin(comm, worker, row, call, &turn));
    if (td_comm_await_all(&turn, TD_ROUND_ENTERED) == TD_OK) {
        part(comm, worker, call);
        td_comm_signal(&turn, 0);
        td_comm_await_all(&turn, 0);
    }
    return td_comm_end(&turn);
}
