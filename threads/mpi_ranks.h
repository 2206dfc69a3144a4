/* SPDX-License-Identifier: Apache-2.0
 * This process as one rank of a program that mpirun or srun has started. The MPI library comes in a
 * module, a file tandem_mpi_<library>.so beside the program, which is loaded when ranks of kind mpi
 * are asked for: the launcher's environment says which, or TANDEM_MPI=FILE.
 *
 * Rank 0 speaks for the program: it prints, writes records and decides what is done next. All of
 * this is called by the main thread.
 */
#ifndef TD_THREADS_MPI_RANKS_H
#define TD_THREADS_MPI_RANKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "threads/bind.h"
#include "threads/mpi_module.h"

/* Whether a launcher has started this process as one of several ranks; which, and of how many. Asks
 * the environment only. */
bool td_mpi_launched(int *rank, int *ranks);

/* Launched, and not rank 0: its standard output is nobody's. */
bool td_mpi_is_follower(void);

/* Loads the module and starts MPI, once. TD_ESKIP says what is missing and how to get it. The
 * CPUs that the launcher bound this process to are kept for td_mpi_cpus; the process itself may
 * run anywhere from here on. */
td_status td_mpi_start(void);
bool td_mpi_started(void);
int td_mpi_rank(void);
int td_mpi_ranks(void);

/* TD_EUSAGE: another number of ranks than a layout has was started. Good where none was, or where
 * the layout has one rank, which needs no MPI. */
td_status td_mpi_fits(int ranks);
const char *td_mpi_library(void); /* its name and version; "" before the start */
const td_cpu_mask *td_mpi_cpus(void);

/* The hosts on which the ranks run, in the order of their first ranks: how many, that of a rank and
 * of all, and what it calls itself. A host is a name and a boot of its system; ranks of one have
 * memory in common. */
int td_mpi_hosts(void);
int td_mpi_host_of(int rank);
const int *td_mpi_host_map(void);
const char *td_mpi_host_name(int rank);

/* At the end of the program: all ranks leave together, or, when some are still elsewhere, end
 * here. Returns the exit code. */
int td_mpi_end(td_status status);

/* bytes from each rank, in order, in every rank. Asleep while it waits; TD_ETIMEDOUT names a rank
 * that does not come within a minute. */
td_status td_mpi_exchange(const void *mine, void *all, size_t bytes);

/* Rank 0 tells all others, who wait for it as long as it takes. */
td_status td_mpi_tell(const void *what, size_t bytes);
td_status td_mpi_hear(void *what, size_t bytes);

/* The first failure by rank becomes everybody's, with its message. */
td_status td_mpi_agree(td_status mine);

/* For messages of a group: the module, and tags that no earlier group has used, for what it works
 * on and for what its ranks tell each other about themselves. Lists of the module from
 * TD_MPI_NOTICES on are those of the latter. */
enum { TD_MPI_NOTICES = 2 };
const td_mpi_module *td_mpi_messages(void);
int td_mpi_tag(void);
int td_mpi_notice_tag(void);

/* Between two looks for a message that has not come for so long. */
void td_mpi_nap(int64_t waited_ns);

/* What an error of the module says. */
td_status td_mpi_failed(int error, const char *doing);

/* A group has ended. Messages of one that failed may still be on their way: they are given up. */
void td_mpi_next_group(bool failed);

#endif
