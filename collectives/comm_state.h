/* SPDX-License-Identifier: Apache-2.0
 * What the algorithms are written with: entering and leaving a collective call, and the step flags
 * of a ring.
 */
#ifndef TD_COLLECTIVES_COMM_STATE_H
#define TD_COLLECTIVES_COMM_STATE_H

#include "collectives/comm.h"
#include "threads/wait.h"

/* What a rank is about to do; its peers must be about to do the same. */
typedef struct td_comm_call {
    _Alignas(64) char name[32]; /* "allreduce/ring" */
    int64_t count, offset;
    td_dtype dtype;
} td_comm_call;

/* At the start of the staging, in the heap. */
typedef struct td_comm_shared {
    td_comm_call call;
    td_event steps[TD_MAX_WORKERS]; /* of each worker: ring steps done since the beginning */
} td_comm_shared;

struct td_comm {
    td_rank *rank;
    td_comm_shared *shared; /* mine */
    /* Written by worker 0 between two barriers of the team, read by all workers after the second.
     */
    td_status status;
    char text[1024];
};

/* All workers of all ranks meet, and agree on what comes next. The caller returns on failure. */
td_status td_comm_enter(td_comm *comm, td_worker *worker, const char *name, const void *buffer,
                        int64_t count, td_dtype dtype);

/* All workers of all ranks meet; also called after a failed wait, because the other workers of the
 * rank wait here. Returns the status of the call. */
td_status td_comm_leave(td_comm *comm, td_worker *worker);

/* Ring steps. Worker w of a rank works on the same part of a chunk as worker w of every other rank,
 * so it waits for that one alone and needs no barrier between steps. All calls do the same number
 * of steps in every worker of every rank: the flags of all are equal between calls. */
uint32_t td_comm_steps(const td_comm *comm, const td_worker *worker);
void td_comm_step_done(td_comm *comm, const td_worker *worker);

/* Waits until the rank before this one has done `steps` steps in all. */
td_status td_comm_await_previous(td_comm *comm, const td_worker *worker, uint32_t steps);

/* The part of elements [first, last) that this worker handles: whole cache lines of the buffer, so
 * that no two workers write to one. */
void td_comm_part(int64_t id, int64_t workers, int64_t element_bytes, int64_t *first,
                  int64_t *last);

/* The peer's copy of my buffer. */
static inline void *td_comm_peer(const td_comm *comm, int peer, const void *buffer) {
    return td_rank_peer(comm->rank, peer, buffer);
}

#endif
