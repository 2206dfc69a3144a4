/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"
#include "collectives/direct.h"

static void sum_share(td_comm *comm, td_worker *worker, const td_call *call) {
    int64_t first, last;
    td_direct_share(comm, worker, call, &first, &last);
    td_direct_sum(comm, call, call->in, first, last, call->root, 1);
}

static void sum_cells(td_comm *comm, const td_call *call, const unsigned char *data) {
    td_direct_sum(comm, call, data, 0, call->count, call->root, 1);
}

/* All ranks work on the one result: (p + 1) n bytes, and each rank has 1/p of it to do. Ranks that
 * share memory may all read it where it lies. The bits are those of allreduce/tree. */
td_status td_reduce__direct(const td_collective *row, td_comm *comm, td_worker *worker,
                            const td_call *call) {
    int64_t bytes = call->count * td_dtype_bytes(call->dtype);
    if (bytes > TD_COMM_SLOT) {
        return td_direct_run(row, comm, worker, call, sum_share);
    }
    td_handed all = {.giver = TD_ALL_GIVE,
                     .from = call->in,
                     .bytes = bytes,
                     .take = td_comm_rank(comm) == call->root ? sum_cells : NULL};
    return td_direct_hand_over(row, comm, worker, call, &all);
}
