/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "collectives/algorithms.h"
#include "collectives/direct.h"

static void take_cell(td_comm *comm, const td_call *call, const unsigned char *data) {
    const void *from =
        td_comm_rank(comm) == call->root ? call->in : td_comm_peer(comm, call->root, data);
    if (from != call->out) {
        memcpy(call->out, from, (size_t)(call->count * td_dtype_bytes(call->dtype)));
    }
}

/* This worker's part of elements [first, last): from the root to a rank. */
static void copy_part(const td_comm *comm, const td_worker *worker, const td_call *call,
                      int64_t first, int64_t last, int to) {
    int64_t bytes = td_dtype_bytes(call->dtype);
    td_comm_part(worker->id, worker->count, bytes, &first, &last);
    const unsigned char *from = td_comm_peer(comm, call->root, call->in);
    unsigned char *target = td_comm_peer(comm, to, call->out);
    if (from != target) {
        td_direct_copy(comm, call, call->count * bytes, target + first * bytes,
                       from + first * bytes, (last - first) * bytes);
    }
}

/* Everybody copies its own, and leaves: a root that shares its CPU with others has none to spare.
 */
static void take_alone(td_comm_turn *turn, const td_call *call) {
    td_comm *comm = turn->comm;
    int rank = td_comm_rank(comm);
    bool root = rank == call->root;
    if (!root && td_comm_await(turn, call->root, TD_ROUND_ENTERED) != TD_OK) {
        return;
    }
    copy_part(comm, turn->worker, call, 0, call->count, rank);
    td_comm_mark(turn, 0);
    if (root) {
        td_comm_await_all(turn, 0);
    }
}

/* p - 1 copies by p ranks: every one takes all but a p-th of its own, and the root gives each the
 * rest, once it is there. */
static void take_and_give(td_comm_turn *turn, const td_call *call) {
    td_comm *comm = turn->comm;
    int p = td_comm_size(comm), rank = td_comm_rank(comm);
    int64_t given = td_chunk_first(call->count, p - 1, p);
    if (rank != call->root) {
        if (td_comm_await(turn, call->root, TD_ROUND_ENTERED) != TD_OK) {
            return;
        }
        copy_part(comm, turn->worker, call, 0, given, rank);
    } else {
        copy_part(comm, turn->worker, call, 0, call->count, rank);
        for (int i = 1; i < p; i++) {
            int to = (rank + i) % p;
            if (td_comm_await(turn, to, TD_ROUND_ENTERED) != TD_OK) {
                return;
            }
            copy_part(comm, turn->worker, call, given, call->count, to);
        }
    }
    td_comm_mark(turn, 0);
    if (rank == call->root) {
        td_comm_await_all(turn, 0);
    } else {
        td_comm_await(turn, call->root, 0);
    }
}

td_status td_broadcast__direct(const td_collective *row, td_comm *comm, td_worker *worker,
                               const td_call *call) {
    td_comm_turn turn;
    int64_t bytes = call->count * td_dtype_bytes(call->dtype);
    if (bytes > TD_COMM_SLOT) {
        TD_TRY(td_comm_announce(comm, worker, row, call, &turn));
        td_comm_mark(&turn, TD_ROUND_ENTERED);
        (comm->rank->shares_cpus ? take_alone : take_and_give)(&turn, call);
        return td_comm_end(&turn);
    }
    td_handed whole = {.giver = call->root, .from = call->in, .bytes = bytes, .take = take_cell};
    return td_direct_hand_over(row, comm, worker, call, &whole);
}
