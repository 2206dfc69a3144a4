/* SPDX-License-Identifier: Apache-2.0
 * MPI libraries as peers of the collectives: each a folder with `driver` and `launch`, which
 * tools/peers/mpi.sh makes. Its ranks are started for one case, sleep between commands, and run
 * where our ranks run.
 */
#ifndef TD_BENCH_MPI_PEER_H
#define TD_BENCH_MPI_PEER_H

#include "base/status.h"
#include "bench/mpi_link.h"
#include "threads/group.h"

enum { TD_MPI_NAME = 20, TD_MPI_PEERS = 8 };

/* The names of the libraries in a directory, sorted; at most TD_MPI_PEERS. TD_EUSAGE when there is
 * none. */
td_status td_mpi_peers(const char *directory, char (*names)[TD_MPI_NAME], int *count);

typedef struct td_mpi_peer td_mpi_peer; /* opaque */

/* Starts as many ranks as the group of `rank` has, from one thread. TD_ESKIP with the library's
 * last words when it does not start. */
td_status td_mpi_peer_start(const char *directory, const char *name, const td_rank *rank,
                            td_mpi_peer **out);
void td_mpi_peer_end(td_mpi_peer *peer);

/* Version and settings. */
const char *td_mpi_peer_version(const td_mpi_peer *peer);

/* Carries out a command; ns: of each of its calls, NULL for a check. TD_ECHECK: a call failed or a
 * result was wrong; TD_ESKIP: it died or did not answer. */
td_status td_mpi_peer_run(td_mpi_peer *peer, const td_mpi_command *what, double *ns);

/* The operation of ours as the library's; TD_MPI_OPERATIONS: it has none. */
td_mpi_operation td_mpi_operation_find(const char *name);

#endif
