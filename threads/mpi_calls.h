/* SPDX-License-Identifier: Apache-2.0
 * The collectives of an MPI library, as the module and the driver of peers call them; both are
 * compiled against its mpi.h.
 */
#ifndef TD_THREADS_MPI_CALLS_H
#define TD_THREADS_MPI_CALLS_H

#include <mpi.h>
#include <stdbool.h>
#include <string.h>

#include "threads/mpi_module.h"

/* Those that have a call for counted blocks. */
static inline int td_mpi_carry_out_counted(const td_mpi_call *call, MPI_Comm all, int rank) {
    const int *counts = call->blocks->counts, *firsts = call->blocks->firsts;
    bool here = call->in == call->out;
    const float *from = call->in;
    float *to = call->out;
    switch (call->operation) {
    case TD_MPI_reduce_scatter:
        return MPI_Reduce_scatter(here ? MPI_IN_PLACE : from, here ? to : to + firsts[rank], counts,
                                  MPI_FLOAT, MPI_SUM, all);
    case TD_MPI_allgather:
        return MPI_Allgatherv(here ? MPI_IN_PLACE : from + firsts[rank], counts[rank], MPI_FLOAT,
                              to, counts, firsts, MPI_FLOAT, all);
    case TD_MPI_alltoall:
        return MPI_Alltoallv(here ? MPI_IN_PLACE : from, counts, firsts, MPI_FLOAT, to, counts,
                             firsts, MPI_FLOAT, all);
    default:
        return MPI_ERR_OP;
    }
}

static inline int td_mpi_carry_out(const td_mpi_call *call, MPI_Comm all, int rank, int ranks) {
    if (call->blocks != NULL) {
        return td_mpi_carry_out_counted(call, all, rank);
    }
    int n = (int)call->count, block = n / ranks;
    bool here = call->in == call->out;
    const float *from = call->in, *own_in = from + rank * block;
    float *to = call->out, *own_out = to + rank * block;
    int next = (rank + 1) % ranks, last = (rank + ranks - 1) % ranks;
    switch (call->operation) {
    case TD_MPI_barrier:
        return MPI_Barrier(all);
    case TD_MPI_broadcast:
        if (!here && rank == 0) {
            memcpy(to, from, (size_t)n * sizeof *to);
        }
        return MPI_Bcast(to, n, MPI_FLOAT, 0, all);
    case TD_MPI_reduce:
        return MPI_Reduce(here && rank == 0 ? MPI_IN_PLACE : from, to, n, MPI_FLOAT, MPI_SUM, 0,
                          all);
    case TD_MPI_allreduce:
        return MPI_Allreduce(here ? MPI_IN_PLACE : from, to, n, MPI_FLOAT, MPI_SUM, all);
    case TD_MPI_reduce_scatter:
        return here ? MPI_Reduce_scatter_block(MPI_IN_PLACE, to, block, MPI_FLOAT, MPI_SUM, all)
                    : MPI_Reduce_scatter_block(from, own_out, block, MPI_FLOAT, MPI_SUM, all);
    case TD_MPI_allgather:
        return MPI_Allgather(here ? MPI_IN_PLACE : own_in, block, MPI_FLOAT, to, block, MPI_FLOAT,
                             all);
    case TD_MPI_gather:
        return MPI_Gather(here && rank == 0 ? MPI_IN_PLACE : own_in, block, MPI_FLOAT, to, block,
                          MPI_FLOAT, 0, all);
    case TD_MPI_scatter:
        return MPI_Scatter(from, block, MPI_FLOAT, here && rank == 0 ? MPI_IN_PLACE : own_out,
                           block, MPI_FLOAT, 0, all);
    case TD_MPI_alltoall:
        return MPI_Alltoall(here ? MPI_IN_PLACE : from, block, MPI_FLOAT, to, block, MPI_FLOAT,
                            all);
    case TD_MPI_scan:
        return MPI_Scan(here ? MPI_IN_PLACE : from, to, n, MPI_FLOAT, MPI_SUM, all);
    case TD_MPI_exscan:
        return MPI_Exscan(here ? MPI_IN_PLACE : from, to, n, MPI_FLOAT, MPI_SUM, all);
    case TD_MPI_shift:
        return here ? MPI_Sendrecv_replace(to, n, MPI_FLOAT, next, 0, last, 0, all,
                                           MPI_STATUS_IGNORE)
                    : MPI_Sendrecv(from, n, MPI_FLOAT, next, 0, to, n, MPI_FLOAT, last, 0, all,
                                   MPI_STATUS_IGNORE);
    default:
        return MPI_ERR_OP;
    }
}

#endif
