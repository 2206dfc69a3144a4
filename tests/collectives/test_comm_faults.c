/* SPDX-License-Identifier: Apache-2.0
 * What becomes of a collective when a rank dies, stops, returns or calls something else.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xmmintrin.h>

#include "base/clock.h"
#include "collectives/comm_state.h"
#include "tests/collectives/trials.h"

enum { COUNT = 50000, RANKS = 3, WORKERS = 2 };
#define MS INT64_C(1000000)

static td_group_options options_for(td_rank_kind kind, int ranks, int64_t deadline_ns) {
    td_group_options options = {.segment_bytes = (size_t)td_comm_bytes(ranks, COUNT, TD_F32) +
                                                 COUNT * sizeof(float),
                                .deadline_ns = deadline_ns};
    options.layout = td_trial_layout(kind, ranks, WORKERS);
    return options;
}

/* Runs `region` with a communicator and a team in every rank. */
typedef struct session {
    td_region_fn *region;
    td_comm *comm;
    td_rank *rank;
    const td_collective *row;
    float *buffer;
    void *shared; /* seen by all ranks and the test */
    _Atomic int status, differ;
} session;

static td_status run_session(td_rank *rank, void *arg) {
    session s = *(session *)arg;
    td_team_options options = {
        .workers = rank->workers, .pu = rank->pu, .shares_cpus = rank->shares_cpus};
    td_team *team = NULL;
    int64_t staging = td_comm_bytes(rank->count, COUNT, TD_F32);
    s.rank = rank;
    s.buffer = (float *)(rank->segment + staging);
    TD_TRY(td_comm_create(rank, rank->segment, staging, &s.comm));
    TD_TRY(td_team_create(&options, &team));
    td_team_run(team, s.region, &s);
    td_team_destroy(team);
    td_comm_destroy(s.comm);
    return s.status == TD_OK ? TD_OK : td_fail((td_status)s.status, "a collective failed");
}

static void repeat_for_ever(void *arg, td_worker *worker) {
    session *s = arg;
    td_status status = TD_OK;
    while (status == TD_OK) {
        status = td_collective_in_place(s->row, s->comm, worker, s->buffer, COUNT, TD_F32);
    }
    s->status = (int)status;
}

typedef struct strike {
    int number; /* signal */
    int64_t delay_ns;
    _Atomic int pids[RANKS];
} strike;

/* Somewhere inside the calls: whatever the instruction, the outcome must be the same. */
static void *strike_later(void *arg) {
    const strike *plan = arg;
    for (int64_t until = td_now_ns() + plan->delay_ns; td_now_ns() < until;) {
        _mm_pause();
    }
    kill(getpid(), plan->number);
    return NULL;
}

static td_status be_struck(td_rank *rank, void *arg) {
    strike *plan = ((session *)arg)->shared;
    plan->pids[rank->rank] = getpid();
    if (rank->rank == 1) {
        pthread_t striker;
        if (pthread_create(&striker, NULL, strike_later, plan) != 0) {
            return td_fail(TD_ESYS, "no thread");
        }
    }
    return run_session(rank, arg);
}

static const char *const row_names[][2] = {
    {"allreduce", "tree"}, {"allreduce", "ring"}, {"barrier", "dissemination"}};
/* Every row killed at some delays, and stopped at fewer, because that takes the deadline. */
enum { N_ROW_NAMES = 3, N_KILLS = 6, N_STOPS = 2, N_STRIKES = N_ROW_NAMES * (N_KILLS + N_STOPS) };

ParameterizedTestParameters(comm_faults, a_rank_dies_or_stops_inside) {
    static int cases[N_STRIKES];
    for (int i = 0; i < N_STRIKES; i++) {
        cases[i] = i;
    }
    return cr_make_param_array(int, cases, N_STRIKES);
}

ParameterizedTest(int *number, comm_faults, a_rank_dies_or_stops_inside) {
    int row = *number % N_ROW_NAMES, delay = *number / N_ROW_NAMES;
    bool stops = delay >= N_KILLS;
    int ranks = stops ? 2 : RANKS;
    strike *plan =
        mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(plan, MAP_FAILED);
    plan->number = stops ? SIGSTOP : SIGKILL;
    plan->delay_ns = delay * 7 * MS / 3;
    td_group_options options = options_for(TD_RANK_PROCESS, ranks, (stops ? 1500 : 100000) * MS);
    session s = {.region = repeat_for_ever,
                 .row = td_collective_find(row_names[row][0], row_names[row][1]),
                 .shared = plan};
    int64_t start_ns = td_now_ns();
    td_status status = td_group_run(&options, be_struck, &s);
    if (stops) {
        cr_expect_eq(status, TD_ETIMEDOUT);
        cr_expect_not_null(strstr(td_error(), "rank 1 "), "%s", td_error());
    } else {
        cr_expect_eq(status, TD_EPEER);
        cr_expect_str_eq(td_error(), "rank 1 was killed by signal 9 (SIGKILL)");
    }
    /* A watchdog, not a measurement: 2 s at most are expected, 100 s if nobody notices, and on a
     * machine with more urgent work whatever that takes. */
    cr_expect_lt(td_now_ns() - start_ns, 60000 * MS);
    for (int i = 0; i < ranks; i++) {
        /* 0: the rank was ended before it began. */
        cr_expect(plan->pids[i] == 0 || (kill(plan->pids[i], 0) != 0 && errno == ESRCH),
                  "rank %d is still there", i);
    }
}

/* Rank 1 leaves; the others must get one status in all workers, and again at every later call. */
static void meet_one_who_left(void *arg, td_worker *worker) {
    session *s = arg;
    if (s->rank->rank == 1) {
        return;
    }
    td_status first = td_collective_in_place(s->row, s->comm, worker, s->buffer, COUNT, TD_F32);
    char text[128];
    snprintf(text, sizeof text, "%s", td_error());
    for (int again = 0; again < 3; again++) {
        td_status status =
            again == 1 ? td_barrier(s->comm, worker)
                       : td_collective_in_place(s->row, s->comm, worker, s->buffer, 5, TD_BF16);
        s->differ += status != first || strcmp(text, td_error()) != 0;
    }
    s->differ += first != TD_EPEER || strcmp(text, "rank 1 returned while others wait for it") != 0;
    s->status = (int)(s->differ > 0 ? TD_ECHECK : first);
}

ParameterizedTestParameters(comm_faults, a_failure_is_final) {
    static td_rank_kind kinds[] = {TD_RANK_THREAD, TD_RANK_PROCESS};
    return cr_make_param_array(td_rank_kind, kinds, 2);
}

static _Atomic int *told_wrong;

static td_status count_good(td_rank *rank, void *arg) {
    td_status status = run_session(rank, arg);
    *told_wrong += status == TD_OK;
    return status;
}

static td_status watch_session(td_rank *rank, void *arg) {
    td_status status = run_session(rank, arg);
    *told_wrong += status == TD_ECHECK;
    return status;
}

ParameterizedTest(td_rank_kind *kind, comm_faults, a_failure_is_final) {
    td_group_options options = options_for(*kind, RANKS, 20000 * MS);
    session s = {.region = meet_one_who_left, .row = td_collective_find("allreduce", "ring")};
    told_wrong = mmap(NULL, 64, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(told_wrong, MAP_FAILED);
    cr_assert_eq(td_group_run(&options, watch_session, &s), TD_EPEER);
    cr_assert_str_eq(td_error(), "rank 1 returned while others wait for it");
    cr_assert_eq(*told_wrong, 0);
}

/* Ring steps by hand: rank 0 is through with all, rank 1 does none, so 2 and 3 wait for it, 3 by
 * way of 2. Whoever speaks up first must name rank 1. */
static void stand_still(void *arg, td_worker *worker) {
    session *s = arg;
    int rank = s->rank->rank;
    td_status status = TD_OK;
    if (rank >= 2) {
        status = td_collective_in_place(s->row, s->comm, worker, s->buffer, COUNT, TD_F32);
    } else {
        td_call call = {.in = s->buffer, .out = s->buffer, .count = COUNT, .dtype = TD_F32};
        td_comm_turn turn;
        td_comm_begin(s->comm, worker, s->row, &call, &turn);
        for (int round = 0; round < 4 && rank == 0; round++) {
            td_comm_signal(&turn, round);
        }
        while (!td_rank_failed(s->rank)) {
            sched_yield();
        }
    }
    s->status = (int)status;
}

Test(comm_faults, a_late_rank_is_named_through_others, .timeout = 60) {
    td_group_options options = options_for(TD_RANK_THREAD, 4, 1500 * MS);
    session s = {.region = stand_still, .row = td_collective_find("reduce_scatter", "ring")};
    cr_assert_eq(td_group_run(&options, run_session, &s), TD_ETIMEDOUT);
    cr_assert_not_null(strstr(td_error(), ": rank 1 made no progress in reduce_scatter/ring"), "%s",
                       td_error());
}

/* Rank 1 makes another call than the others. */
static void call_something_else(void *arg, td_worker *worker) {
    session *s = arg;
    int64_t count = s->rank->rank == 1 ? 11 : 10;
    s->status = (int)td_collective_in_place(s->row, s->comm, worker, s->buffer, count, TD_F32);
}

static void call_another_algorithm(void *arg, td_worker *worker) {
    session *s = arg;
    const char *algorithm = s->rank->rank == 1 ? "ring" : "tree";
    s->status = (int)td_collective_in_place(td_collective_find("allreduce", algorithm), s->comm,
                                            worker, s->buffer, 10, TD_F32);
}

Test(comm_faults, different_calls_are_noticed) {
    td_group_options options = options_for(TD_RANK_THREAD, 2, 20000 * MS);
    session s = {.region = call_something_else, .row = td_collective_find("allreduce", "tree")};
    cr_assert_eq(td_group_run(&options, run_session, &s), TD_EPEER);
    cr_assert_not_null(strstr(td_error(), "calls allreduce/tree of 1"), "%s", td_error());
    cr_assert_not_null(strstr(td_error(), "of 10 f32 sum"), "%s", td_error());
    s.region = call_another_algorithm;
    cr_assert_eq(td_group_run(&options, run_session, &s), TD_EPEER);
    cr_assert_not_null(strstr(td_error(), "calls allreduce/tree of 10 f32 sum"), "%s", td_error());
    cr_assert_not_null(strstr(td_error(), "calls allreduce/ring of 10 f32 sum"), "%s", td_error());
}

/* The root of a small broadcast does not wait for those who read it: the next call tells it. */
static void call_after_broadcast(void *arg, td_worker *worker) {
    session *s = arg;
    int64_t count = s->rank->rank == 1 ? 11 : 10;
    td_status status = td_collective_in_place(s->row, s->comm, worker, s->buffer, count, TD_F32);
    s->status = (int)(status == TD_OK ? td_barrier(s->comm, worker) : status);
}

Test(comm_faults, a_root_that_left_is_told) {
    td_group_options options = options_for(TD_RANK_THREAD, RANKS, 20000 * MS);
    session s = {.region = call_after_broadcast, .row = td_collective_find("broadcast", "direct")};
    told_wrong = mmap(NULL, 64, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(told_wrong, MAP_FAILED);
    cr_assert_eq(td_group_run(&options, count_good, &s), TD_EPEER);
    cr_assert_not_null(strstr(td_error(), "calls broadcast/direct of 1"), "%s", td_error());
    cr_assert_eq(*told_wrong, 0, "%d ranks were not told", *told_wrong);
}

static td_status too_little_staging(td_rank *rank, void *arg) {
    (void)arg;
    td_comm *comm;
    return td_comm_create(rank, rank->segment, 1024, &comm);
}

Test(comm_faults, staging_must_suffice) {
    td_group_options options = options_for(TD_RANK_THREAD, 1, 0);
    cr_assert_eq(td_group_run(&options, too_little_staging, NULL), TD_ENOMEM);
}
