/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "collectives/algorithms.h"
#include "collectives/direct.h"
#include "collectives/elements.h"

/* Where the block from one rank to another lies, in IN of the one or in OUT of the other. */
static int64_t place_of(const td_call *call, int p, int from, int to, bool out) {
    int64_t first = 0;
    if (call->counts == NULL) {
        return call->count * (out ? from : to);
    }
    for (int i = 0; i < (out ? from : to); i++) {
        first += out ? call->counts[i * p + to] : call->counts[from * p + i];
    }
    return first;
}

static int64_t size_of(const td_call *call, int p, int from, int to) {
    return call->counts == NULL ? call->count : call->counts[from * p + to];
}

static void take_cells(td_comm *comm, const td_call *call, const unsigned char *data) {
    int p = td_comm_size(comm), rank = td_comm_rank(comm);
    int64_t bytes = td_dtype_bytes(call->dtype);
    unsigned char *out = call->out;
    for (int peer = 0; peer < p; peer++) {
        const unsigned char *from = peer == rank ? call->in : td_comm_peer(comm, peer, data);
        if (from == out) {
            continue; /* in place, its own block stays */
        }
        memcpy(out + place_of(call, p, peer, rank, true) * bytes,
               from + place_of(call, p, peer, rank, false) * bytes,
               (size_t)(size_of(call, p, peer, rank) * bytes));
    }
}

/* In place, the two blocks between two ranks change places: each rank sees to one half of both. */
static void swap_blocks(const td_comm_turn *turn, const td_call *call, int peer) {
    td_comm *comm = turn->comm;
    int rank = td_comm_rank(comm), workers = turn->worker->count;
    int64_t bytes = td_dtype_bytes(call->dtype), first = 0, last = call->count;
    td_comm_part((rank < peer ? 0 : workers) + turn->worker->id, 2 * workers, bytes, &first, &last);
    unsigned char *mine = call->out, *theirs = td_comm_peer(comm, peer, call->out);
    td_elements()->swap(mine + (peer * call->count + first) * bytes,
                        theirs + (rank * call->count + first) * bytes, (last - first) * bytes);
}

static void take_block(const td_comm_turn *turn, const td_call *call, int peer) {
    td_comm *comm = turn->comm;
    int p = td_comm_size(comm), rank = td_comm_rank(comm);
    int64_t bytes = td_dtype_bytes(call->dtype), first = 0, last = size_of(call, p, peer, rank);
    td_comm_part(turn->worker->id, turn->worker->count, bytes, &first, &last);
    unsigned char *to = call->out;
    const unsigned char *from = td_comm_peer(comm, peer, call->in);
    td_direct_copy(comm, call, (call->counts == NULL ? p : 1) * call->count * bytes,
                   to + (place_of(call, p, peer, rank, true) + first) * bytes,
                   from + (place_of(call, p, peer, rank, false) + first) * bytes,
                   (last - first) * bytes);
}

/* Its own first, before peers have fetched its lines, then the neighbour's, so that not all go to
 * the same rank. */
static void exchange_blocks(td_comm_turn *turn, const td_call *call) {
    int p = td_comm_size(turn->comm), rank = td_comm_rank(turn->comm);
    bool in_place = call->in == call->out;
    if (!in_place) {
        take_block(turn, call, rank);
    }
    for (int i = 1; i < p; i++) {
        int peer = (rank + i) % p;
        if (td_comm_await(turn, peer, TD_ROUND_ENTERED) != TD_OK) {
            return;
        }
        (in_place ? swap_blocks : take_block)(turn, call, peer);
    }
    td_comm_mark(turn, 0);
    td_comm_await_all(turn, 0);
}

td_status td_alltoall__direct(const td_collective *row, td_comm *comm, td_worker *worker,
                              const td_call *call) {
    td_comm_turn turn;
    int64_t bytes = td_call_elements(row, td_comm_size(comm), call) * td_dtype_bytes(call->dtype);
    if (bytes > TD_COMM_SLOT) {
        TD_TRY(td_comm_announce(comm, worker, row, call, &turn));
        td_comm_mark(&turn, TD_ROUND_ENTERED);
        exchange_blocks(&turn, call);
        return td_comm_end(&turn);
    }
    td_handed all = {.giver = TD_ALL_GIVE, .from = call->in, .bytes = bytes, .take = take_cells};
    return td_direct_hand_over(row, comm, worker, call, &all);
}
