/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"
#include "collectives/direct.h"

static void sum_cells(td_comm *comm, const td_call *call, const unsigned char *data) {
    td_direct_sum(comm, call, data, 0, call->count, td_comm_rank(comm), 1);
}

static void sum_share(td_comm *comm, td_worker *worker, const td_call *call) {
    int64_t first, last;
    td_direct_share(comm, worker, call, &first, &last);
    td_direct_sum(comm, call, call->in, first, last, 0, td_comm_size(comm));
}

/* In place although all ranks work at once: an element is read and written by one worker only, and
 * its line is still in that worker's cache when it is written. 2 p n bytes in all, the least there
 * is for p private results. The order of additions is that of small messages. */
td_status td_allreduce__tree(const td_collective *row, td_comm *comm, td_worker *worker,
                             const td_call *call) {
    int64_t bytes = call->count * td_dtype_bytes(call->dtype);
    if (bytes > TD_COMM_SLOT) {
        return td_direct_run(row, comm, worker, call, sum_share);
    }
    td_handed all = {.giver = TD_ALL_GIVE, .from = call->in, .bytes = bytes, .take = sum_cells};
    return td_direct_hand_over(row, comm, worker, call, &all);
}
