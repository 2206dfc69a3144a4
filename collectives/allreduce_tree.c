/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "collectives/algorithms.h"
#include "collectives/direct.h"

/* A small message: everybody copies its own out, meets the others, and adds up all of them. Slots
 * take turns: who has entered the next such call has read the slot of this one. */
static void hand_over(td_comm *comm, td_comm_turn *turn, const td_call *call) {
    unsigned char *slot = comm->shared->slots[comm->handed_over++ % 2];
    memcpy(slot, call->in, (size_t)(call->count * td_dtype_bytes(call->dtype)));
    td_comm_signal(turn, TD_ROUND_ENTERED);
    if (td_comm_await_all(turn, TD_ROUND_ENTERED) == TD_OK) {
        td_direct_sum(comm, call, slot, 0, call->count, td_comm_rank(comm), 1);
    }
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
    if (call->count * td_dtype_bytes(call->dtype) > TD_COMM_SLOT) {
        return td_direct_run(row, comm, worker, call, sum_share);
    }
    td_comm_turn turn;
    TD_TRY(td_comm_announce(comm, worker, row, call, &turn));
    if (worker->id == 0) {
        hand_over(comm, &turn, call);
    }
    return td_comm_end(&turn);
}
