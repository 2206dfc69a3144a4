/* SPDX-License-Identifier: Apache-2.0
 * What Tandem and the ranks of an MPI library say to each other: a block of shared memory. Tandem
 * writes a command and counts `command` up; every MPI rank carries it out and counts `done` up.
 * Both sleep meanwhile, so that the one is not disturbed by the other's waiting.
 */
#ifndef TD_BENCH_MPI_LINK_H
#define TD_BENCH_MPI_LINK_H

#include "bench/coll_round.h"
#include "threads/mpi_module.h"

/* MADE_FOR is another number, and no number of ranks, whenever this block or coll_round.c changes:
 * a driver of before would measure another way. */
enum { TD_MPI_TEXT = 128, TD_MPI_MADE_FOR = 7004 };

/* The buffer of each rank has count f32 numbers, a multiple of the number of ranks where the
 * operation deals in even blocks. f32 sums; root 0. */
typedef struct td_mpi_command {
    td_mpi_operation operation;
    td_coll_mode mode;
    td_coll_state state;
    bool in_place, end, check; /* check: one call on written numbers, compared */
    bool uneven;               /* in the counted blocks of coll_blocks.h */
    int64_t count, calls;
} td_mpi_command;

typedef struct td_mpi_link {
    _Alignas(64) _Atomic uint32_t command; /* a futex */
    _Alignas(64) _Atomic uint32_t done;    /* a futex: ranks, over all commands */
    td_mpi_command what;
    int made_for, ranks, pu[TD_COLL_RANKS]; /* pu: where each is to run */
    bool shares_cpus;
    double ticks_per_ns;
    char version[TD_MPI_TEXT];
    _Atomic int failed; /* error of a call, or a wrong element: see text */
    char text[TD_MPI_TEXT];
    td_coll_board board;
} td_mpi_link;

#endif
