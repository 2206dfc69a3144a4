/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "threads/team.h"

enum { PHASES = 4, MOST = 17 };

static td_team *make_team(int workers) {
    td_team *team = NULL;
    td_team_options options = {.workers = workers, .shares_cpus = workers > 1};
    cr_assert_eq(td_team_create(&options, &team), TD_OK, "%s", td_error());
    return team;
}

/* Each worker writes its phase and finds everybody's after each meeting; some fail in a phase. */
typedef struct phases {
    int fails_in[MOST]; /* phase, -1: never; PHASES: after the last meeting */
    int seen[MOST];     /* plain memory: only meetings order it */
    int passed[MOST];   /* meetings that let it go on */
    _Atomic int wrong;
    uint64_t seed;
} phases;

static td_status go_through(void *arg, td_worker *worker) {
    phases *p = arg;
    int me = worker->id;
    td_rng rng = td_rng_make(p->seed, TD_PURPOSE_TEST, (uint64_t)me);
    for (int phase = 0; phase <= PHASES; phase++) {
        for (uint64_t i = td_rng_below(&rng, 3); i > 0; i--) {
            sched_yield();
        }
        if (p->fails_in[me] == phase) {
            return td_fail(TD_EINPUT, "phase %d", phase);
        }
        if (phase == PHASES) {
            break;
        }
        p->seen[me] = phase + 1;
        if (!td_worker_meet(worker)) {
            return TD_OK;
        }
        for (int i = 0; i < worker->count; i++) {
            p->wrong += p->seen[i] < phase + 1;
        }
        p->passed[me]++;
    }
    return TD_OK;
}

ParameterizedTestParameters(team_try, the_lowest_of_the_first_failures_is_told) {
    static int workers[] = {1, 2, 3, 8, 9, 17};
    return cr_make_param_array(int, workers, sizeof workers / sizeof workers[0]);
}

ParameterizedTest(int *workers, team_try, the_lowest_of_the_first_failures_is_told) {
    int w = *workers;
    td_team *team = make_team(w);
    for (int round = 0; round < 300; round++) {
        phases p = {.seed = (uint64_t)round};
        td_rng rng = td_rng_make(1, TD_PURPOSE_TEST, (uint64_t)(w * 1000 + round));
        int first = PHASES + 1, lowest = -1;
        for (int i = 0; i < w; i++) {
            p.fails_in[i] = td_rng_below(&rng, 4) == 0 ? (int)td_rng_below(&rng, PHASES + 1) : -1;
            if (p.fails_in[i] >= 0 && p.fails_in[i] < first) {
                first = p.fails_in[i];
                lowest = i;
            }
        }
        td_status status = td_team_try(team, go_through, &p);
        cr_assert_eq(p.wrong, 0, "W %d, round %d", w, round);
        if (lowest < 0) {
            cr_assert_eq(status, TD_OK, "W %d, round %d: %s", w, round, td_error());
        } else {
            char expected[64];
            snprintf(expected, sizeof expected, "worker %d: phase %d", lowest, first);
            cr_assert_eq(status, TD_EINPUT);
            cr_assert_str_eq(td_error(), expected, "W %d, round %d: %s", w, round, td_error());
        }
        for (int i = 0; i < w; i++) { /* nobody goes past the meeting that somebody missed */
            cr_assert_eq(p.passed[i], first > PHASES ? PHASES : first, "W %d, round %d, worker %d",
                         w, round, i);
        }
    }
    td_team_destroy(team);
}

static void meet_plainly(void *arg, td_worker *worker) {
    _Atomic int *arrivals = arg;
    for (int round = 1; round <= 20; round++) {
        ++*arrivals;
        td_team_barrier(worker);
        if (*arrivals != round * worker->count) {
            *arrivals = -1000000;
        }
        td_team_barrier(worker);
    }
}

Test(team_try, a_team_that_failed_is_whole) {
    static const int sizes[] = {2, 9};
    for (int s = 0; s < 2; s++) {
        td_team *team = make_team(sizes[s]);
        for (int round = 0; round < 100; round++) {
            phases p = {.seed = (uint64_t)round};
            memset(p.fails_in, -1, sizeof p.fails_in);
            p.fails_in[round % sizes[s]] = round % (PHASES + 1);
            cr_assert_eq(td_team_try(team, go_through, &p), TD_EINPUT);
            _Atomic int arrivals = 0;
            td_team_run(team, meet_plainly, &arrivals);
            cr_assert_eq(arrivals, 20 * sizes[s], "round %d", round);
        }
        td_team_destroy(team);
    }
}

typedef struct endless {
    td_team *team;
    _Atomic int inside;
    bool meets;
    _Atomic int64_t tiles;
} endless;

static td_status work_without_end(void *arg, td_worker *worker) {
    endless *e = arg;
    e->inside++;
    while (e->meets && worker->id % 2 == 0 ? td_worker_meet(worker)
                                           : !td_worker_cancelled(worker)) {
        if (e->meets && worker->id % 2 != 0 && !td_worker_meet(worker)) {
            break;
        }
    }
    return TD_OK;
}

static void *cancel_later(void *arg) {
    endless *e = arg;
    while (e->inside < 3) {
        sched_yield();
    }
    td_team_cancel(e->team);
    return NULL;
}

Test(team_try, another_thread_can_cancel) {
    td_team *team = make_team(3);
    for (int round = 0; round < 60; round++) {
        endless e = {.team = team, .meets = round % 2 == 0};
        pthread_t thread;
        pthread_create(&thread, NULL, cancel_later, &e);
        cr_assert_eq(td_team_try(team, work_without_end, &e), TD_EINTERRUPTED);
        cr_assert_str_eq(td_error(), "the region was cancelled");
        pthread_join(thread, NULL);
    }
    phases p = {0};
    memset(p.fails_in, -1, sizeof p.fails_in);
    cr_assert_eq(td_team_try(team, go_through, &p), TD_OK, "the next region is not affected");
    td_team_destroy(team);
}

static td_status cancel_at_tile_9(void *arg, int64_t first, int64_t last, td_worker *worker) {
    endless *e = arg;
    (void)worker;
    e->tiles += last - first;
    if (first <= 9 && 9 < last) {
        td_team_cancel(e->team);
    }
    return TD_OK;
}

Test(team_try, tiles_are_not_handed_out_after_a_cancellation) {
    static const int sizes[] = {1, 2, 4};
    for (int s = 0; s < 3; s++) {
        td_site site = {0};
        endless e = {.team = make_team(sizes[s])};
        for (int round = 0; round < 50; round++) {
            e.tiles = 0;
            cr_assert_eq(td_team_tiles(e.team, &site, 100000, 1, cancel_at_tile_9, &e),
                         TD_EINTERRUPTED);
            cr_assert_lt(e.tiles, 90000, "%ld tiles were run", (long)e.tiles);
        }
        td_team_destroy(e.team);
    }
}
