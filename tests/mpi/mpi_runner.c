/* SPDX-License-Identifier: Apache-2.0
 * One rank of a test under mpirun.
 *   mpirun -n P mpi_runner rows WORKERS | differ | stop | kill | quit | leave | direct, each with a
 *   MARK
 * rows: all rows, judged, and their hash; the others: a rank that calls something else, that stops,
 * that dies, that returns while others are in a collective or wait at a barrier; a row for common
 * memory. MARK is for who looks for them. Exit codes are Tandem's.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collectives/comm.h"
#include "threads/mpi_ranks.h"
#include "trials.h"

enum { COUNT = 4096, CALLS = 20 };
/* Hosts that are make-believe have the same CPUs, and do not know. */
static const int64_t DEADLINE_NS = INT64_C(1500000000), APART_NS = INT64_C(4000000000);

typedef struct play {
    const char *what;
    td_comm *comm;
    float *buffer;
    int rank;
    td_status status;
} play;

static void call_again(void *arg, td_worker *worker) {
    play *p = arg;
    const td_collective *ring = td_collective_find("allreduce", "ring");
    if (strcmp(p->what, "direct") == 0) {
        ring = td_collective_find("allreduce", "tree");
    }
    bool struck = p->rank == 1;
    for (int i = 0; i < CALLS && p->status == TD_OK; i++) {
        bool now = struck && i == CALLS / 2;
        if (now && strcmp(p->what, "quit") == 0) {
            return;
        }
        if (now && strcmp(p->what, "differ") != 0) {
            raise(strcmp(p->what, "stop") == 0 ? SIGSTOP : SIGKILL);
        }
        int64_t count = now && strcmp(p->what, "differ") == 0 ? COUNT / 2 : COUNT;
        p->status = td_collective_in_place(ring, p->comm, worker, p->buffer, count, TD_F32);
    }
}

static td_status play_rank(td_rank *rank, void *arg) {
    play p = {.what = arg, .rank = rank->rank};
    int64_t staging = td_comm_bytes(rank->count, COUNT, TD_F32);
    td_team *team;
    if (strcmp(p.what, "leave") == 0) {
        return rank->rank == 1 ? TD_OK : td_rank_barrier(rank);
    }
    p.buffer = (float *)(rank->segment + staging);
    TD_TRY(td_comm_create(rank, rank->segment, staging, &p.comm));
    TD_TRY(td_team_create(&(td_team_options){.workers = 1, .pu = rank->pu}, &team));
    td_team_run(team, call_again, &p);
    td_team_destroy(team);
    td_comm_destroy(p.comm);
    return p.status == TD_OK ? TD_OK : td_fail(p.status, "%s", td_error());
}

static td_status run(int argc, char **argv) {
    int rank, ranks;
    if (argc < 2 || !td_mpi_launched(&rank, &ranks)) {
        return td_fail(TD_EUSAGE, "usage: mpirun -n P mpi_runner rows WORKERS|"
                                  "differ|stop|kill|quit|leave|direct");
    }
    if (strcmp(argv[1], "rows") == 0 && argc == 3) {
        char sha256[TD_SHA256_HEX];
        td_layout layout = td_trial_layout(TD_RANK_MPI, ranks, (int)strtol(argv[2], NULL, 10));
        TD_TRY(td_mpi_start());
        TD_TRY(td_trial_rows(&layout, TD_TRIAL_MPI, td_mpi_hosts() == 1, sha256));
        if (rank == 0) {
            printf("%s\nsha256 %s\nhosts", td_mpi_library(), sha256);
            for (int i = 0; i < ranks; i++) {
                printf(" %d %s", td_mpi_host_of(i), td_mpi_host_name(i));
            }
            printf("\n");
        }
        return TD_OK;
    }
    TD_TRY(td_mpi_start());
    td_group_options options = {.layout = td_trial_layout(TD_RANK_MPI, ranks, 1),
                                .segment_bytes = (size_t)td_comm_bytes(ranks, COUNT, TD_F32) +
                                                 COUNT * sizeof(float),
                                .deadline_ns = td_mpi_hosts() > 1 ? APART_NS : DEADLINE_NS};
    return td_group_run(&options, play_rank, argv[1]);
}

int main(int argc, char **argv) {
    td_status status = run(argc, argv);
    if (status != TD_OK && !td_mpi_is_follower()) {
        fprintf(stderr, "%s\n", td_error());
    }
    fflush(stdout);
    return td_mpi_end(status);
}
