/* SPDX-License-Identifier: Apache-2.0
 * Collectives over the ranks of a group. Every function here is called by all workers of all ranks
 * with equal arguments (SPMD). A call begins and ends with a barrier of the rank's workers; when it
 * returns, the rank's own buffers may be read and written. That is all: ranks may leave at
 * different times, and only td_barrier says that all have come.
 */
#ifndef TD_COLLECTIVES_COMM_H
#define TD_COLLECTIVES_COMM_H

#include <stdint.h>
#include <stdio.h>

#include "base/status.h"
#include "collectives/types.h"
#include "threads/group.h"
#include "threads/team.h"

typedef struct td_comm td_comm; /* opaque; one per rank, shared by its workers */

/* staging_bytes of the rank's segment, from `staging` on, belong to the communicator; 64-byte
 * aligned, at the same offset in every rank. td_comm_bytes is what the direct algorithms, ring and
 * barrier need; td_collective_staging_bytes says what a row needs for a call. */
int64_t td_comm_bytes(int ranks, int64_t max_count, td_dtype dtype);
td_status td_comm_create(td_rank *rank, void *staging, int64_t staging_bytes, td_comm **out);
void td_comm_destroy(td_comm *comm);
int td_comm_rank(const td_comm *comm);
int td_comm_size(const td_comm *comm);

/* After a failure every later call returns the same status at once. Workers of a rank get the same
 * status. A rank that makes another call than its peers (operation, algorithm, count, type,
 * reduction, root, block counts, place of the buffers, order of calls) fails all of them with
 * TD_EPEER, naming both; one that has left already, as the root of a small broadcast, in its next
 * call. */
td_status td_barrier(td_comm *comm, td_worker *worker);

/* The last calls of every rank, the newest last: what, when, and how far it came. */
void td_comm_dump(const td_comm *comm, FILE *out);

/* One row of collectives.inc. */
struct td_moves;
struct td_collective;
typedef td_status td_collective_fn(const struct td_collective *row, td_comm *comm,
                                   td_worker *worker, const td_call *call);

/* The closed form of a direct row, as collectives.inc has it; nothing of one rank. */
typedef struct td_direct_form {
    double traffic, cells, apart, waits, shared;
} td_direct_form;

typedef struct td_collective {
    const char *operation, *algorithm, *doc;
    td_operation_id id;
    bool (*fits)(int ranks); /* the numbers of ranks it is made for */
    /* A schedule: its generator, the blocks of its vector, whether those are cut into segments, and
     * the closed form of its cost: rounds, and vectors that a rank sends or receives. */
    void (*generate)(struct td_moves *s);
    int (*blocks)(int ranks);
    void (*form)(int ranks, int segments, double *rounds, double *volume);
    bool segmented;
    /* Or a direct algorithm. */
    td_collective_fn *direct;
    td_direct_form (*direct_form)(int ranks);
} td_collective;

const td_collective *td_collectives(int *count);
const td_collective *td_collective_find(const char *operation,
                                        const char *algorithm); /* NULL when unknown */

/* Carries out one call. TD_EUSAGE: a root or count out of range, buffers that overlap without being
 * equal or lie outside the segment, block counts that do not add up, avg of a scan, a number of
 * ranks the row does not fit, too little staging. TD_ESKIP: a direct row, and ranks on several
 * hosts. The first call of a kind plans it, which
 * allocates; later ones do not. */
td_status td_collective_run(const td_collective *row, td_comm *comm, td_worker *worker,
                            const td_call *call);

/* Plans such a call ahead, so that the first one does not allocate; one thread of each rank, not
 * during a call. Nothing is waited for. */
td_status td_collective_prepare(const td_collective *row, td_comm *comm, const td_call *call);

/* The row that td_barrier runs. */
const td_collective *td_barrier_row(void);

/* A sum in place, root 0, even blocks. */
static inline td_status td_collective_in_place(const td_collective *row, td_comm *comm,
                                               td_worker *worker, void *buffer, int64_t count,
                                               td_dtype dtype) {
    td_call call = {.in = buffer, .out = buffer, .count = count, .dtype = dtype};
    return td_collective_run(row, comm, worker, &call);
}

/* Staging for calls of this row with this type and count, in place or not, any root: td_comm_bytes
 * and scratch vectors. */
int64_t td_collective_staging_bytes(const td_collective *row, int ranks, int64_t count,
                                    td_dtype dtype);

/* Bytes that all ranks together load and store in one call, in place. Lines fetched only to be
 * overwritten are not counted. */
double td_collective_traffic(const td_collective *row, int ranks, int64_t count, td_dtype dtype);

#endif
