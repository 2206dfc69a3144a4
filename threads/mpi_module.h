/* SPDX-License-Identifier: Apache-2.0
 * What a module of an MPI library offers. mpi_module.c is compiled once for each library and loaded
 * when ranks of kind mpi are asked for, so that Tandem itself needs none (mpi_ranks.h).
 * Functions return 0 or the library's error code; all are called by one thread.
 */
#ifndef TD_THREADS_MPI_MODULE_H
#define TD_THREADS_MPI_MODULE_H

#include <stddef.h>
#include <stdint.h>

enum { TD_MPI_MODULE_VERSION = 4, TD_MPI_LISTS = 4, TD_MPI_BLOCKS = 64 };

/* Collectives of the library; names as in collectives/operations.inc. */
#define TD_MPI_OPERATION_MAP(X)                                                                    \
    X(barrier)                                                                                     \
    X(broadcast)                                                                                   \
    X(reduce)                                                                                      \
    X(allreduce)                                                                                   \
    X(reduce_scatter) X(allgather) X(gather) X(scatter) X(alltoall) X(scan) X(exscan) X(shift)

#define TD_MPI_ENUM(name) TD_MPI_##name,
typedef enum td_mpi_operation {
    TD_MPI_OPERATION_MAP(TD_MPI_ENUM) TD_MPI_OPERATIONS
} td_mpi_operation;
#undef TD_MPI_ENUM

/* Counted blocks: the elements of each, of an alltoall those of this rank, as many as come for it,
 * and where they start. For at most TD_MPI_BLOCKS ranks. */
typedef struct td_mpi_blocks {
    int counts[TD_MPI_BLOCKS], firsts[TD_MPI_BLOCKS];
} td_mpi_blocks;

/* One of them, on our layout of blocks: count f32 numbers in the buffer of each rank, a multiple of
 * the ranks where the operation deals in blocks that are not counted; sums, root 0. in == out: in
 * place; the library then leaves the block of a reduce_scatter at the start of the buffer. */
typedef struct td_mpi_call {
    td_mpi_operation operation;
    const void *in;
    void *out;
    int64_t count;
    const td_mpi_blocks *blocks; /* NULL: even ones */
} td_mpi_call;

typedef struct td_mpi_module {
    int version;
    int (*start)(int *rank, int *ranks, char *library, size_t library_bytes);
    int (*finish)(void);
    void (*abandon)(int code); /* ends all ranks, does not return */
    /* Post a message on a list, and look whether all of a list are done, which empties it. Those of
     * one sender, receiver and tag arrive in the order in which they were posted; a receive may
     * have room for more than comes. */
    int (*send)(int list, const void *data, int64_t bytes, int to, int tag);
    int (*receive)(int list, void *data, int64_t bytes, int from, int tag);
    int (*test)(int list, int *done);
    int (*late)(int list);              /* the peer of one that is not done, -1: there is none */
    void (*drop)(void);                 /* forgets all that is not done */
    int (*arrived)(int tag, int *from); /* whose message waits to be received; -1: there is none */
    int (*collective)(const td_mpi_call *call);
    void (*explain)(int error, char *text, size_t text_bytes);
} td_mpi_module;

/* What a module exports, of functions of its own that have the names of the table. */
#define TD_MPI_MODULE_TABLE                                                                        \
    const td_mpi_module td_mpi_module_table = {                                                    \
        .version = TD_MPI_MODULE_VERSION,                                                          \
        .start = start,                                                                            \
        .finish = finish,                                                                          \
        .abandon = abandon,                                                                        \
        .send = send,                                                                              \
        .receive = receive,                                                                        \
        .test = test,                                                                              \
        .late = late,                                                                              \
        .drop = drop,                                                                              \
        .arrived = arrived,                                                                        \
        .collective = collective,                                                                  \
        .explain = explain,                                                                        \
    }
extern const td_mpi_module td_mpi_module_table;

#endif
