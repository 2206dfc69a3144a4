/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"
#include "collectives/direct.h"

static void sum_block(td_comm *comm, td_worker *worker, const td_call *call) {
    int p = td_comm_size(comm), rank = td_comm_rank(comm);
    int64_t first = td_chunk_first(call->count, rank, p);
    int64_t last = td_chunk_first(call->count, rank + 1, p);
    if (call->counts != NULL) {
        first = 0;
        for (int i = 0; i < rank; i++) {
            first += call->counts[i];
        }
        last = first + call->counts[rank];
    }
    td_comm_part(worker->id, worker->count, td_dtype_bytes(call->dtype), &first, &last);
    td_direct_sum(comm, call, call->in, first, last, rank, 1);
}

/* Every rank sums its own block, which nobody else reads or writes: (p + 1) n bytes in all. The
 * bits are those of allreduce/tree. */
td_status td_reduce_scatter__direct(const td_collective *row, td_comm *comm, td_worker *worker,
                                    const td_call *call) {
    return td_direct_run(row, comm, worker, call, sum_block);
}
