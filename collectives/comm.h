/* SPDX-License-Identifier: Apache-2.0
 * Collectives over the ranks of a group. Every function here is called by all workers of all ranks
 * with equal arguments (SPMD); it starts and ends with a barrier over all of them, so buffers may
 * be read when it returns. Buffers must lie in the rank's heap segment at the same offset in every
 * rank.
 */
#ifndef TD_COLLECTIVES_COMM_H
#define TD_COLLECTIVES_COMM_H

#include <stdint.h>

#include "base/status.h"
#include "threads/group.h"
#include "threads/team.h"

typedef enum td_dtype { TD_F32, TD_BF16 } td_dtype;
static inline int64_t td_dtype_bytes(td_dtype dtype) {
    return dtype == TD_BF16 ? 2 : 4;
}

typedef struct td_comm td_comm; /* opaque; one per rank, shared by its workers */

/* staging_bytes of the rank's segment, from `staging` on, belong to the communicator; 64-byte
 * aligned, at the same offset in every rank. Size it with td_comm_bytes: flags only, because every
 * algorithm reads the buffers of its peers where they are. */
int64_t td_comm_bytes(int ranks, int64_t max_count, td_dtype dtype);
td_status td_comm_create(td_rank *rank, void *staging, int64_t staging_bytes, td_comm **out);
void td_comm_destroy(td_comm *comm);
int td_comm_rank(const td_comm *comm);
int td_comm_size(const td_comm *comm);

/* After a failure every later call returns the same status at once. Workers of a rank get the same
 * status. A rank that makes another call than its peers (operation, algorithm, count, type or
 * place of the buffer) fails all of them with TD_EPEER before data is touched. */
td_status td_barrier(td_comm *comm, td_worker *worker);

/* Chunk c of count elements over p ranks is [count*c/p, count*(c+1)/p): sizes differ by at most
 * one, and count < p gives empty chunks. */
static inline int64_t td_chunk_first(int64_t count, int64_t c, int64_t p) {
    return count * c / p;
}

/* One row of collectives.inc: how one algorithm of one operation is called, costed and named. All
 * work in place:
 *   allreduce       buffer[count] -> the sum over ranks, in every rank
 *   reduce_scatter  buffer[count] -> own chunk holds the sum, the rest is undefined
 *   allgather       own chunk of buffer[count] -> all chunks, in every rank
 *   barrier         no buffer
 * busbw factor as in nccl-tests: allreduce 2(p-1)/p, reduce_scatter and allgather (p-1)/p. */
typedef td_status td_collective_fn(td_comm *comm, td_worker *worker, void *buffer, int64_t count,
                                   td_dtype dtype);

typedef struct td_collective {
    const char *operation, *algorithm;
    td_collective_fn *run;
    double (*busbw_factor)(int ranks);
    /* Bytes that all ranks together load and store in one call, for the roof. Lines fetched only to
     * be overwritten are not counted. */
    double (*memory_bytes)(int ranks, int64_t count, td_dtype dtype);
    /* "tree": the sum is the balanced binary tree over ranks, ((0+1)+(2+3)).., and for other counts
     * than powers of two the tree whose left side is the largest power of two below; "ring": chunk
     * c is the chain c+1, c+2, .., c; "none": nothing is summed. */
    const char *order;
    const char *doc;
} td_collective;

const td_collective *td_collectives(int *count);
const td_collective *td_collective_find(const char *operation,
                                        const char *algorithm); /* NULL when unknown */

#endif
