/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/overlap.h"

#include <string.h>

#include "base/memory.h"
#include "collectives/direct.h"

/* Of one worker; nobody else touches it. */
typedef struct overlap_worker {
    _Alignas(64) td_comm_turn turn;
    int next; /* the first piece it has not summed its share of */
    bool failed;
    int64_t early, all; /* elements */
} overlap_worker;

struct td_overlap {
    td_comm *comm;
    td_call call;
    int n, offered;
    uint32_t first_offer; /* value of `offered` before this call; equal in all ranks */
    int64_t pieces[TD_OVERLAP_PIECES][2];
    int workers;
    void *block; /* that `worker` lies in, at a whole line */
    overlap_worker *worker;
};

td_status td_overlap_create(td_comm *comm, float *buffer, int64_t count, int64_t (*pieces)[2],
                            int n, td_overlap **out) {
    int workers = comm->rank->workers;
    td_overlap *o = td_alloc_zero(sizeof *o);
    unsigned char *block = td_alloc_zero((size_t)workers * sizeof(overlap_worker) + TD_ALIGN);
    TD_ASSERT(n <= TD_OVERLAP_PIECES);
    if (o == NULL || block == NULL) {
        td_free(o);
        td_free(block);
        return td_fail(TD_ENOMEM, "an allreduce in %d pieces", n);
    }
    *o = (td_overlap){
        .comm = comm,
        .call = {.in = buffer, .out = buffer, .count = count, .dtype = TD_F32},
        .n = n,
        .workers = workers,
        .block = block,
        .worker = (overlap_worker *)(void *)(block + TD_ALIGN - (uintptr_t)block % TD_ALIGN)};
    memcpy(o->pieces, pieces, (size_t)n * sizeof *pieces);
    *out = o;
    return TD_OK;
}

void td_overlap_destroy(td_overlap *o) {
    if (o != NULL) {
        td_free(o->block);
        td_free(o);
    }
}

td_status td_overlap_begin(td_overlap *o, td_worker *worker) {
    overlap_worker *w = &o->worker[worker->id];
    if (worker->id == 0) {
        o->first_offer = o->comm->offers;
        o->comm->offers += (uint32_t)o->n;
        o->offered = 0;
    }
    w->next = 0;
    w->failed = false;
    return td_comm_begin(o->comm, worker, td_collective_find("allreduce", "tree"), &o->call,
                         &w->turn);
}

void td_overlap_offer(td_overlap *o) {
    o->offered++;
    td_event_raise(&o->comm->shared->offered, o->first_offer + (uint32_t)o->offered,
                   td_rank_wait_rule(o->comm->rank));
}

static void sum_share(td_overlap *o, overlap_worker *w, const td_worker *worker) {
    const int64_t *piece = o->pieces[w->next++];
    int64_t place = (int64_t)td_comm_rank(o->comm) * worker->count + worker->id;
    int64_t first = piece[0], last = piece[1];
    td_comm_part(place, (int64_t)td_comm_size(o->comm) * worker->count, sizeof(float), &first,
                 &last);
    td_direct_sum(o->comm, &o->call, o->call.in, first, last, 0, td_comm_size(o->comm));
    w->all += last - first;
}

/* All ranks have offered the worker's next piece. */
static bool is_offered(const td_overlap *o, const overlap_worker *w) {
    uint32_t target = o->first_offer + (uint32_t)w->next + 1;
    for (int peer = 0; peer < td_comm_size(o->comm); peer++) {
        const td_comm_shared *shared = td_comm_peer(o->comm, peer, o->comm->shared);
        if (!td_event_reached(&shared->offered, target)) {
            return false;
        }
    }
    return true;
}

td_status td_overlap_progress(td_overlap *o, td_worker *worker) {
    overlap_worker *w = &o->worker[worker->id];
    while (!w->failed && w->next < o->n && is_offered(o, w)) {
        /* Who has offered has entered: the descriptors are compared, and nothing is waited for. */
        if (td_comm_await_all(&w->turn, TD_ROUND_ENTERED) != TD_OK) {
            w->failed = true;
            return TD_OK;
        }
        int64_t before = w->all;
        sum_share(o, w, worker);
        w->early += w->all - before;
    }
    return TD_OK;
}

static td_status finish_pieces(td_overlap *o, overlap_worker *w, const td_worker *worker) {
    TD_TRY(td_comm_await_all(&w->turn, TD_ROUND_ENTERED));
    while (w->next < o->n) {
        uint32_t target = o->first_offer + (uint32_t)w->next + 1;
        for (int peer = 0; peer < td_comm_size(o->comm); peer++) {
            TD_TRY(td_comm_await_offer(&w->turn, peer, target));
        }
        sum_share(o, w, worker);
    }
    return TD_OK;
}

td_status td_overlap_finish(td_overlap *o, td_worker *worker) {
    overlap_worker *w = &o->worker[worker->id];
    if (!w->failed && finish_pieces(o, w, worker) == TD_OK) {
        td_comm_signal(&w->turn, 0);
        td_comm_await_all(&w->turn, 0);
    }
    return td_comm_end(&w->turn);
}

void td_overlap_elements(const td_overlap *o, int64_t *early, int64_t *all) {
    *early = *all = 0;
    for (int i = 0; i < o->workers; i++) {
        *early += o->worker[i].early;
        *all += o->worker[i].all;
    }
}
