/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/comm.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "collectives/comm_state.h"

int64_t td_comm_bytes(int ranks, int64_t max_count, td_dtype dtype) {
    /* Part of the contract, for algorithms that stage data; none does. */
    (void)ranks;
    (void)max_count;
    (void)dtype;
    return sizeof(td_comm_shared);
}

td_status td_comm_create(td_rank *rank, void *staging, int64_t staging_bytes, td_comm **out) {
    unsigned char *start = staging;
    int64_t offset = start - rank->segment;
    TD_ASSERT((uintptr_t)staging % 64 == 0 && offset >= 0);
    if (staging_bytes < (int64_t)sizeof(td_comm_shared) ||
        offset + staging_bytes > (int64_t)rank->segment_bytes) {
        return td_fail(TD_ENOMEM,
                       "a communicator needs %zu bytes of the segment; %lld at offset %lld of %zu "
                       "are offered",
                       sizeof(td_comm_shared), (long long)staging_bytes, (long long)offset,
                       rank->segment_bytes);
    }
    td_comm *comm = td_alloc_zero(sizeof *comm);
    if (comm == NULL) {
        return td_fail(TD_ENOMEM, "a communicator of %d ranks", rank->count);
    }
    comm->rank = rank;
    comm->shared = staging;
    /* Peers look at it after the barrier that begins the first call. */
    memset(comm->shared, 0, sizeof *comm->shared);
    *out = comm;
    return TD_OK;
}

void td_comm_destroy(td_comm *comm) {
    td_free(comm);
}
int td_comm_rank(const td_comm *comm) {
    return comm->rank->rank;
}
int td_comm_size(const td_comm *comm) {
    return comm->rank->count;
}

static td_status keep(td_comm *comm, td_status status) {
    if (status != TD_OK) {
        comm->status = status;
        snprintf(comm->text, sizeof comm->text, "%s", td_error());
    }
    return status;
}

/* The status for this worker, with the message in its own thread. */
static td_status tell(const td_comm *comm) {
    return comm->status == TD_OK ? TD_OK : td_fail(comm->status, "%s", comm->text);
}

static const char *dtype_name(td_dtype dtype) {
    return dtype == TD_BF16 ? "bf16" : "f32";
}

static td_status compare_calls(td_comm *comm) {
    const td_comm_call *mine = &comm->shared->call;
    for (int peer = 0; peer < comm->rank->count; peer++) {
        const td_comm_shared *shared = td_comm_peer(comm, peer, comm->shared);
        const td_comm_call *theirs = &shared->call;
        if (strcmp(theirs->name, mine->name) == 0 && theirs->count == mine->count &&
            theirs->offset == mine->offset && theirs->dtype == mine->dtype) {
            continue;
        }
        return td_fail(TD_EPEER,
                       "calls %s of %lld %s at offset %lld, rank %d %s of %lld %s at offset %lld",
                       mine->name, (long long)mine->count, dtype_name(mine->dtype),
                       (long long)mine->offset, peer, theirs->name, (long long)theirs->count,
                       dtype_name(theirs->dtype), (long long)theirs->offset);
    }
    return TD_OK;
}

static td_status meet_and_compare(td_comm *comm, const char *name, const void *buffer,
                                  int64_t count, td_dtype dtype) {
    td_comm_call *call = &comm->shared->call;
    td_rank *rank = comm->rank;
    int64_t bytes = count * td_dtype_bytes(dtype);
    call->offset = buffer == NULL ? 0 : (const unsigned char *)buffer - rank->segment;
    call->count = count;
    call->dtype = dtype;
    snprintf(call->name, sizeof call->name, "%s", name);
    TD_ASSERT(count >= 0 && call->offset >= 0 &&
              call->offset + bytes <= (int64_t)rank->segment_bytes);
    TD_TRY(td_rank_barrier(rank));
    /* Nobody writes its call again before all have left this one. */
    td_status status = compare_calls(comm);
    return status == TD_OK ? TD_OK : td_rank_abort(rank, status);
}

td_status td_comm_enter(td_comm *comm, td_worker *worker, const char *name, const void *buffer,
                        int64_t count, td_dtype dtype) {
    td_team_barrier(worker);
    if (worker->id == 0 && comm->status == TD_OK) {
        keep(comm, meet_and_compare(comm, name, buffer, count, dtype));
    }
    td_team_barrier(worker);
    return tell(comm);
}

td_status td_comm_leave(td_comm *comm, td_worker *worker) {
    td_team_barrier(worker);
    if (worker->id == 0 && comm->status == TD_OK) {
        keep(comm, td_rank_barrier(comm->rank));
    }
    td_team_barrier(worker);
    return tell(comm);
}

uint32_t td_comm_steps(const td_comm *comm, const td_worker *worker) {
    return atomic_load_explicit(&comm->shared->steps[worker->id].value, memory_order_relaxed);
}

void td_comm_step_done(td_comm *comm, const td_worker *worker) {
    td_event_advance(&comm->shared->steps[worker->id], td_rank_wait_rule(comm->rank));
}

/* The rank that keeps the others waiting: going backwards from here, the first that could do its
 * next step, because the one before it has done as many. */
static int find_late(td_comm *comm, const td_worker *worker) {
    int count = comm->rank->count, late = comm->rank->rank;
    uint32_t least = td_comm_steps(comm, worker);
    for (int back = 1; back < count; back++) {
        int peer = (comm->rank->rank - back + count) % count;
        const td_comm_shared *shared = td_comm_peer(comm, peer, comm->shared);
        uint32_t steps =
            atomic_load_explicit(&shared->steps[worker->id].value, memory_order_relaxed);
        if ((int32_t)(steps - least) >= 0) {
            break;
        }
        late = peer;
        least = steps;
    }
    return late;
}

td_status td_comm_await_previous(td_comm *comm, const td_worker *worker, uint32_t steps) {
    td_rank *rank = comm->rank;
    int previous = (rank->rank + rank->count - 1) % rank->count;
    td_comm_shared *shared = td_comm_peer(comm, previous, comm->shared);
    td_status status = td_rank_wait(rank, &shared->steps[worker->id], steps);
    if (status == TD_ETIMEDOUT) {
        status = td_fail(TD_ETIMEDOUT, "rank %d made no progress in %s", find_late(comm, worker),
                         comm->shared->call.name);
        td_rank_abort(rank, status);
    }
    return status;
}

void td_comm_part(int64_t id, int64_t workers, int64_t element_bytes, int64_t *first,
                  int64_t *last) {
    int64_t per_line = 64 / element_bytes, begin = *first, end = *last;
    int64_t line = begin / per_line, lines = (end + per_line - 1) / per_line - line;
    int64_t from = (line + lines * id / workers) * per_line;
    int64_t to = (line + lines * (id + 1) / workers) * per_line;
    *first = from < begin ? begin : from;
    *last = to > end ? end : to;
    if (*first > *last) {
        *first = *last;
    }
}
