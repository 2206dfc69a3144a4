/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "collectives/algorithms.h"
#include "collectives/direct.h"

/* Elements [first, last) of the vector are the block of a rank. */
static void block_of(const td_call *call, int rank, int p, int64_t *first, int64_t *last) {
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

static void take_cells(td_comm *comm, const td_call *call, const unsigned char *data) {
    int p = td_comm_size(comm);
    int64_t bytes = td_dtype_bytes(call->dtype), first, last;
    unsigned char *out = call->out;
    for (int peer = 0; peer < p; peer++) {
        block_of(call, peer, p, &first, &last);
        const unsigned char *from = td_comm_peer(comm, peer, data);
        if (peer == td_comm_rank(comm)) {
            from = (const unsigned char *)call->in + first * bytes;
        }
        if (from != out + first * bytes) {
            memcpy(out + first * bytes, from, (size_t)((last - first) * bytes));
        }
    }
}

/* Each from its owner's memory: its own first, whose lines go to peers as soon as they read them,
 * and would have to come back (256 KiB on two ranks out of place: 18.7 us), then the neighbour's.
 */
static void take_blocks(td_comm_turn *turn, const td_call *call) {
    td_comm *comm = turn->comm;
    int p = td_comm_size(comm), rank = td_comm_rank(comm);
    int64_t bytes = td_dtype_bytes(call->dtype);
    for (int i = 0; i < p; i++) {
        int peer = (rank + i) % p;
        int64_t first, last;
        block_of(call, peer, p, &first, &last);
        td_comm_part(turn->worker->id, turn->worker->count, bytes, &first, &last);
        const unsigned char *from = td_comm_peer(comm, peer, call->in);
        unsigned char *to = call->out;
        if (peer != rank && td_comm_await(turn, peer, TD_ROUND_ENTERED) != TD_OK) {
            return;
        }
        if (from != to) {
            td_direct_copy(comm, call, call->count * bytes, to + first * bytes,
                           from + first * bytes, (last - first) * bytes);
        }
    }
    td_comm_mark(turn, 0);
    td_comm_await_all(turn, 0);
}

td_status td_allgather__direct(const td_collective *row, td_comm *comm, td_worker *worker,
                               const td_call *call) {
    td_comm_turn turn;
    int64_t most = (call->count + td_comm_size(comm) - 1) / td_comm_size(comm);
    for (int i = 0; call->counts != NULL && i < td_comm_size(comm); i++) {
        most = call->counts[i] > most ? call->counts[i] : most;
    }
    if (most * td_dtype_bytes(call->dtype) > TD_COMM_SLOT) {
        TD_TRY(td_comm_announce(comm, worker, row, call, &turn));
        td_comm_mark(&turn, TD_ROUND_ENTERED);
        take_blocks(&turn, call);
        return td_comm_end(&turn);
    }
    int64_t bytes = td_dtype_bytes(call->dtype), first, last;
    block_of(call, td_comm_rank(comm), td_comm_size(comm), &first, &last);
    td_handed block = {.giver = TD_ALL_GIVE,
                       .from = (const unsigned char *)call->in + first * bytes,
                       .bytes = (last - first) * bytes,
                       .take = take_cells};
    return td_direct_hand_over(row, comm, worker, call, &block);
}
