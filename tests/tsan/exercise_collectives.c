/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/comm.h"
#include "tests/tsan/exercises.h"

enum { COUNT = 5000, RANKS = 3, WORKERS = 2, ROUNDS = 10 };

typedef struct job {
    td_comm *comm;
    float *buffer;
    td_status status; /* written by worker 0 */
    int errors[WORKERS];
} job;

/* The sum of what prepare() gives all ranks. */
static float sum_at(int64_t i) {
    return (float)(RANKS * (i % 7) + RANKS * (RANKS - 1) / 2);
}

static void reduce_often(void *arg, td_worker *worker) {
    job *j = arg;
    int rows;
    const td_collective *table = td_collectives(&rows);
    for (int round = 0; round < ROUNDS * rows; round++) {
        const td_collective *row = &table[round % rows];
        bool is_sum = row->id == TD_COLL_allreduce && row->fits(RANKS);
        int64_t first, last;
        td_worker_share(worker, COUNT, &first, &last);
        for (int64_t i = first; i < last; i++) {
            j->buffer[i] = (float)(i % 7 + td_comm_rank(j->comm));
        }
        td_status status = TD_OK;
        if (row->fits(RANKS)) {
            status = td_collective_in_place(row, j->comm, worker, j->buffer, COUNT, TD_F32);
        }
        for (int64_t i = first; i < last && is_sum; i++) {
            j->errors[worker->id] += j->buffer[COUNT - 1 - i] != sum_at(COUNT - 1 - i);
        }
        td_team_barrier(worker);
        if (worker->id == 0) {
            j->status = status;
        }
    }
}

/* As much as any row needs: alltoall has a vector of RANKS * COUNT. */
static int64_t staging_bytes(int ranks) {
    return td_comm_bytes(ranks, COUNT, TD_F32) + 3 * (RANKS * COUNT * 4 + 64);
}

static td_status in_each_rank(td_rank *rank, void *arg) {
    (void)arg;
    int64_t staging = staging_bytes(rank->count);
    job j = {.buffer = (float *)(rank->segment + staging)};
    td_team_options options = {
        .workers = rank->workers, .pu = rank->pu, .shares_cpus = rank->shares_cpus};
    td_team *team = NULL;
    TD_TRY(td_comm_create(rank, rank->segment, staging, &j.comm));
    TD_TRY(td_team_create(&options, &team));
    td_team_run(team, reduce_often, &j);
    td_team_destroy(team);
    td_comm_destroy(j.comm);
    TD_TRY(j.status);
    int errors = j.errors[0] + j.errors[1];
    return errors == 0 ? TD_OK : td_fail(TD_ECHECK, "%d wrong sums", errors);
}

td_status td_exercise_collectives(void) {
    td_group_options options = {.segment_bytes = (size_t)staging_bytes(RANKS) + RANKS * COUNT * 4,
                                .deadline_ns = INT64_C(60000000000)};
    options.layout = (td_layout){.ranks = RANKS,
                                 .workers = WORKERS,
                                 .kind = TD_RANK_THREAD,
                                 .scope = "machine",
                                 .unit = "pu",
                                 .order = "close",
                                 .smt = 1,
                                 .over = true};
    return td_group_run(&options, in_each_rank, NULL);
}
