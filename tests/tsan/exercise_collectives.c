/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <xmmintrin.h>

#include "collectives/comm_state.h"
#include "tests/tsan/exercises.h"

enum { COUNT = 5000, SMALL = 50, RANKS = 3, WORKERS = 2, ROUNDS = 10, SEEDS = 5 };

typedef struct job {
    td_comm *comm;
    float *buffer;
    int rounds;
    td_status status; /* written by worker 0 */
    int errors[WORKERS];
} job;

/* The sum of what reduce_often gives the ranks. */
static float sum_at(int ranks, int64_t i) {
    return (float)(ranks * (i % 7) + ranks * (ranks - 1) / 2);
}

static void reduce_often(void *arg, td_worker *worker) {
    job *j = arg;
    int rows, ranks = td_comm_size(j->comm);
    const td_collective *table = td_collectives(&rows);
    for (int round = 0; round < j->rounds * rows; round++) {
        const td_collective *row = &table[round % rows];
        bool is_sum = row->id == TD_COLL_allreduce && row->fits(ranks);
        int64_t first, last, count = round / rows % 2 == 0 ? COUNT : SMALL; /* in place, by cells */
        td_worker_share(worker, count, &first, &last);
        for (int64_t i = first; i < last; i++) {
            j->buffer[i] = (float)(i % 7 + td_comm_rank(j->comm));
        }
        td_status status = TD_OK;
        if (row->fits(ranks)) {
            status = td_collective_in_place(row, j->comm, worker, j->buffer, count, TD_F32);
        }
        for (int64_t i = first; i < last && is_sum; i++) {
            j->errors[worker->id] += j->buffer[count - 1 - i] != sum_at(ranks, count - 1 - i);
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
    int64_t staging = staging_bytes(rank->count);
    job j = {.buffer = (float *)(rank->segment + staging), .rounds = *(int *)arg};
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

/* Delays at waits and signals: each thread has its own sequence, from the seed and its number. */
static _Atomic uint64_t seed_in_use, threads_seen;

#ifdef __SANITIZE_THREAD__
static void delay(void) {
    static _Thread_local uint64_t seed, state;
    uint64_t now = atomic_load_explicit(&seed_in_use, memory_order_relaxed);
    if (seed != now) {
        uint64_t number = atomic_fetch_add_explicit(&threads_seen, 1, memory_order_relaxed);
        seed = now;
        state = (now * UINT64_C(0x9E3779B97F4A7C15)) ^ (number * UINT64_C(0xBF58476D1CE4E5B9));
    }
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    if (state >> 62 == 0) {
        sched_yield();
    }
    for (uint64_t pauses = state >> 62 == 1 ? state >> 52 & 1023 : 0; pauses > 0; pauses--) {
        _mm_pause();
    }
}

static void set_delay(bool on) {
    td_comm_delay = on ? delay : NULL;
}
#else
static void set_delay(bool on) {
    (void)on;
}
#endif

/* TANDEM_SEEDS=N: so many instead of SEEDS, each over all algorithms. */
static int seeds(void) {
    const char *text = getenv("TANDEM_SEEDS");
    long n = text == NULL ? SEEDS : strtol(text, NULL, 10);
    return n > 0 && n <= 100000 ? (int)n : SEEDS;
}

static td_status run_seeds(const td_group_options *options) {
    int once = 2; /* rounds: large and small */
    td_status status = TD_OK;
    set_delay(true);
    for (int seed = 1; seed <= seeds() && status == TD_OK; seed++) {
        atomic_store_explicit(&seed_in_use, (uint64_t)seed, memory_order_relaxed);
        atomic_store_explicit(&threads_seen, 1, memory_order_relaxed);
        status = td_group_run(options, in_each_rank, &once);
    }
    set_delay(false);
    return status;
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
    int rounds = ROUNDS;
    TD_TRY(td_group_run(&options, in_each_rank, &rounds));
    TD_TRY(run_seeds(&options));
    /* With a CPU each, where there are two, ranks take other turns through their cells. */
    options.layout.ranks = 2;
    options.layout.workers = 1;
    TD_TRY(td_group_run(&options, in_each_rank, &rounds));
    return run_seeds(&options);
}
