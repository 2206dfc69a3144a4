/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"
#include "collectives/direct.h"

static void block_of(const td_comm *comm, const td_call *call, int64_t *first, int64_t *last) {
    int p = td_comm_size(comm), rank = td_comm_rank(comm);
    *first = td_chunk_first(call->count, rank, p);
    *last = td_chunk_first(call->count, rank + 1, p);
    if (call->counts != NULL) {
        *first = 0;
        for (int i = 0; i < rank; i++) {
            *first += call->counts[i];
        }
        *last = *first + call->counts[rank];
    }
}

static void sum_block(td_comm *comm, td_worker *worker, const td_call *call) {
    int64_t first, last;
    block_of(comm, call, &first, &last);
    td_comm_part(worker->id, worker->count, td_dtype_bytes(call->dtype), &first, &last);
    td_direct_sum(comm, call, call->in, first, last, td_comm_rank(comm), 1);
}

static void sum_cells(td_comm *comm, const td_call *call, const unsigned char *data) {
    int64_t first, last;
    block_of(comm, call, &first, &last);
    td_direct_sum(comm, call, data, first, last, td_comm_rank(comm), 1);
}

/* Every rank sums its own block, which nobody else reads or writes: (p + 1) n bytes in all. The
 * bits are those of allreduce/tree. */
td_status td_reduce_scatter__direct(const td_collective *row, td_comm *comm, td_worker *worker,
                                    const td_call *call) {
    int64_t bytes = call->count * td_dtype_bytes(call->dtype);
    if (bytes > TD_COMM_SLOT) {
        return td_direct_run(row, comm, worker, call, sum_block);
    }
    td_handed all = {.giver = TD_ALL_GIVE, .from = call->in, .bytes = bytes, .take = sum_cells};
    return td_direct_hand_over(row, comm, worker, call, &all);
}
