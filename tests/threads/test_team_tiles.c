/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rng.h"
#include "threads/concepts/lab.h"
#include "threads/queue.h"
#include "threads/team_state.h"

enum { TILES = 1009 };

static td_team *make_team(int workers) {
    td_team *team = NULL;
    cr_assert_eq(td_team_create(&(td_team_options){.workers = workers, .shares_cpus = workers > 2},
                                &team),
                 TD_OK, "%s", td_error());
    return team;
}

static td_status note_worker(void *arg, int64_t first, int64_t last, td_worker *worker) {
    atomic_fetch_add(&((_Atomic int64_t *)arg)[worker->id], last - first);
    /* Long enough for whoever is told of it to come. */
    for (int64_t end = td_now_ns() + 100000; td_now_ns() < end;) {
    }
    return worker->count == 3 && worker->scratch != NULL
               ? TD_OK
               : td_fail(TD_ECHECK, "not a worker of the team");
}

static void be_awake(void *arg, td_worker *worker) {
    (void)arg;
    (void)worker;
}

/* Whether workers help is decided by what the call site has learned, here dictated: tiles of no
 * length are the caller's, long ones are offered to sleepers too. */
Test(team_tiles, too_short_a_work_is_left_to_the_caller) {
    td_team *team = NULL;
    td_team_options options = {.workers = 3, .scratch_bytes = 4096};
    cr_assert_eq(td_team_create(&options, &team), TD_OK, "%s", td_error());
    _Atomic int64_t tiles[3] = {0};
    td_worker_stats stats[3];
    for (int round = 1; round <= 50; round++) {
        td_site site = {.tile_ns = 0.5, .runs = 9};
        td_team_run(team, be_awake, NULL);
        cr_assert_eq(td_team_tiles(team, &site, 16, 1, note_worker, tiles), TD_OK, "%s",
                     td_error());
        cr_assert_eq(tiles[0], 16 * round, "round %d", round);
        cr_assert_eq(site.runs, 10, "it learns all the same");
        cr_assert_neq(site.tile_ns, 0.5);
    }
    td_team_stats(team, stats, true);
    cr_assert_eq(stats[0].tiles, 16 * 50);
    cr_assert_eq(stats[1].joined + stats[2].joined, 0);
    /* They come when they get a CPU. */
    for (int64_t end = td_now_ns() + 60000000000; tiles[1] + tiles[2] == 0 && td_now_ns() < end;) {
        td_site site = {.tile_ns = 1e9, .runs = 9};
        cr_assert_eq(td_team_tiles(team, &site, 16, 1, note_worker, tiles), TD_OK);
    }
    cr_assert_gt(tiles[1] + tiles[2], 0, "nobody helped with what was said to be long");
    td_team_destroy(team);
}

/* 3 wake-ups are 3000 ns; 8 chunks and the workers are met in 200 + 8 * 25 = 400. */
typedef struct choice {
    double work_ns;
    bool awake;
    td_way way;
} choice;

ParameterizedTestParameters(team_tiles, who_runs_them_follows_from_costs) {
    static choice rows[] = {
        {0, true, TD_WAY_CALLER},     {799, true, TD_WAY_CALLER},  {800, true, TD_WAY_AWAKE},
        {3000, true, TD_WAY_AWAKE},   {3001, true, TD_WAY_ALL},    {800, false, TD_WAY_CALLER},
        {3000, false, TD_WAY_CALLER}, {3001, false, TD_WAY_ALL},
    };
    return cr_make_param_array(choice, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(choice *row, team_tiles, who_runs_them_follows_from_costs) {
    const td_team_costs costs = {.wake = 1000, .meet = 200, .ticket = 25};
    cr_assert_eq(td_team_way(&costs, row->work_ns, 8, row->awake), row->way, "%g ns, %d",
                 row->work_ns, row->awake);
}

enum { OFFERED = 8, SHORT_ROUNDS = 50 };

typedef struct offer {
    td_team *team;
    uint32_t before; /* regions published */
    bool for_workers; /* the caller waits in its first tile until one has come */
    _Atomic int tiles[3], elsewhere;
} offer;

static uint32_t published(const td_team *team) {
    return atomic_load(&team->door.start.value);
}

static td_status see_who_runs(void *arg, int64_t first, int64_t last, td_worker *worker) {
    offer *o = arg;
    (void)first;
    atomic_fetch_add(&o->tiles[worker->id], (int)(last - first));
    if (worker->id != 0) {
        atomic_store(&o->elsewhere, 1);
    } else if (o->for_workers) {
        td_lab_await(&o->elsewhere, 1);
    }
    return TD_OK;
}

/* Runs OFFERED tiles that are said to take so long; returns how many the caller ran. */
static int run_said_to_take(offer *o, double tile_ns, bool for_workers) {
    td_site site = {.tile_ns = tile_ns, .runs = 9};
    o->for_workers = for_workers;
    atomic_store(&o->tiles[0], 0);
    atomic_store(&o->elsewhere, 0);
    o->before = published(o->team);
    cr_assert_eq(td_team_tiles(o->team, &site, OFFERED, 1, see_who_runs, o), TD_OK, "%s",
                 td_error());
    return atomic_load(&o->tiles[0]);
}

static int64_t joined_by_workers(td_team *team) {
    td_worker_stats stats[3];
    td_team_stats(team, stats, true);
    return stats[1].joined + stats[2].joined;
}

/* Before a barrier, after which the others wait by it: for minutes, and whoever took the CPU away
 * for less than hours is no stranger. */
static void never_sleep(void *arg, td_worker *worker) {
    (void)arg;
    if (worker->id == 0) {
        worker->team->rule.spin_ticks = INT64_C(1000000000000);
        worker->team->rule.ticks_per_us = 1e12;
    }
    td_team_barrier(worker);
}

/* Everybody is awake and half of the work is worth less than meeting them. */
Test(team_tiles, awake_workers_are_left_alone_with_less_than_meeting_them) {
    offer o = {.team = make_team(3)};
    td_team_run(o.team, never_sleep, NULL);
    cr_assert_eq(atomic_load(&o.team->door.start.parked), 0);
    o.team->costs = (td_team_costs){.wake = 1e9, .meet = 200, .ticket = 25};
    joined_by_workers(o.team);
    for (int round = 0; round < SHORT_ROUNDS; round++) {
        cr_assert_eq(run_said_to_take(&o, 99, false), OFFERED, "round %d", round);
        cr_assert_eq(published(o.team), o.before, "workers were told of it");
    }
    cr_assert_eq(joined_by_workers(o.team), 0);
    cr_assert_lt(run_said_to_take(&o, 101, true), OFFERED, "more than it is shared");
    cr_assert_geq(joined_by_workers(o.team), 1);
    td_team_destroy(o.team);
}

/* Everybody sleeps and the work is not worth a wake-up. */
Test(team_tiles, sleeping_workers_are_not_told_of_less_than_a_wake_up) {
    offer o = {.team = make_team(3)};
    o.team->costs = (td_team_costs){.wake = 1e6, .meet = 200, .ticket = 25};
    joined_by_workers(o.team);
    for (int round = 0; round < SHORT_ROUNDS; round++) {
        cr_assert(td_lab_await((const _Atomic int *)&o.team->door.start.parked, 2));
        cr_assert_eq(run_said_to_take(&o, 3e6 / OFFERED - 1, false), OFFERED, "round %d", round);
        cr_assert_eq(published(o.team), o.before, "workers were told of it");
    }
    cr_assert_eq(joined_by_workers(o.team), 0);
    cr_assert_lt(run_said_to_take(&o, 3e6 / OFFERED + 1, true), OFFERED, "more wakes them");
    cr_assert_geq(joined_by_workers(o.team), 1);
    td_team_destroy(o.team);
}

typedef struct job {
    _Atomic int hits[TILES];
    int64_t fail_from;
    td_team *team;
    td_site inner;
    _Atomic int64_t inner_tiles;
} job;

static td_status hit(void *arg, int64_t first, int64_t last, td_worker *worker) {
    job *j = arg;
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        atomic_fetch_add(&j->hits[i], 1);
        if (i >= j->fail_from) {
            return td_fail(TD_EINPUT, "this is tile %lld", (long long)i);
        }
    }
    return TD_OK;
}

Test(team_tiles, each_is_run_once) {
    static const int workers[] = {1, 2, 3, 8};
    static const int64_t counts[] = {0, 1, 2, 7, 64, TILES}, chunks[] = {1, 3, 64, 5000};
    static job j;
    for (size_t w = 0; w < 4; w++) {
        td_team *team = make_team(workers[w]);
        td_site site = {0};
        for (int round = 0; round < 96; round++) {
            int64_t n = counts[round % 6], chunk = chunks[round / 6 % 4];
            memset((void *)&j, 0, sizeof j);
            j.fail_from = TILES;
            cr_assert_eq(td_team_tiles(team, &site, n, chunk, hit, &j), TD_OK);
            for (int64_t i = 0; i < TILES; i++) {
                cr_assert_eq(j.hits[i], i < n, "W %d, n %ld, chunk %ld, tile %ld: %d",
                             workers[w], (long)n, (long)chunk, (long)i, j.hits[i]);
            }
        }
        td_team_destroy(team);
    }
}

Test(team_tiles, the_lowest_failure_is_told) {
    static job j;
    td_team *team = make_team(4);
    td_site site = {0};
    for (int round = 0; round < 200; round++) {
        memset((void *)&j, 0, sizeof j);
        j.fail_from = 17 + round % 50;
        char expected[64];
        snprintf(expected, sizeof expected, "tile %d: this is tile %d", 17 + round % 50,
                 17 + round % 50);
        cr_assert_eq(td_team_tiles(team, &site, TILES, 1, hit, &j), TD_EINPUT);
        cr_assert_str_eq(td_error(), expected);
        int later = 0;
        for (int i = 17 + round % 50 + 8; i < TILES; i++) {
            later += j.hits[i];
        }
        cr_assert_lt(later, TILES - 80, "%d tiles were handed out after a failure", later);
    }
    j.fail_from = TILES;
    cr_assert_eq(td_team_tiles(team, &site, TILES, 1, hit, &j), TD_OK, "the team is whole after");
    td_team_destroy(team);
}

static td_status count_inner(void *arg, int64_t first, int64_t last, td_worker *worker) {
    atomic_fetch_add(&((job *)arg)->inner_tiles, last - first);
    (void)worker;
    return TD_OK;
}

static td_status nest(void *arg, int64_t first, int64_t last, td_worker *worker) {
    job *j = arg;
    (void)first;
    (void)last;
    (void)worker;
    td_site site = {0};
    return td_team_tiles(j->team, &site, 10, 3, count_inner, j);
}

Test(team_tiles, nested_calls_run_inline) {
    static job j;
    j.team = make_team(3);
    td_site site = {0};
    cr_assert_eq(td_team_tiles(j.team, &site, 50, 1, nest, &j), TD_OK);
    cr_assert_eq(j.inner_tiles, 500);
    td_team_destroy(j.team);
}

static void add_to_hits(void *arg, td_worker *worker) {
    atomic_fetch_add(&((job *)arg)->hits[worker->id], 1);
}

Test(team_tiles, both_kinds_of_region_alternate) {
    static job j;
    td_team *team = make_team(4);
    td_site site = {0};
    j.fail_from = TILES;
    for (int round = 1; round <= 3000; round++) {
        td_team_run(team, add_to_hits, &j);
        for (int w = 0; w < 4; w++) {
            cr_assert_eq(j.hits[w], round + (round - 1), "worker %d in round %d", w, round);
        }
        cr_assert_eq(td_team_tiles(team, &site, 4, 1, hit, &j), TD_OK);
    }
    td_worker_stats stats[4];
    td_team_stats(team, stats, true);
    int64_t tiles = 0;
    for (int w = 0; w < 4; w++) {
        tiles += stats[w].tiles;
        cr_assert_eq(stats[w].regions, 3000);
    }
    cr_assert_eq(tiles, 12000);
    td_team_destroy(team);
}

Test(team_tiles, a_forked_copy_runs_inline) {
    static job j;
    td_team *team = make_team(3);
    td_site site = {0};
    td_team_run(team, add_to_hits, &j);
    pid_t pid = fork();
    if (pid == 0) {
        j.fail_from = TILES;
        memset((void *)j.hits, 0, sizeof j.hits);
        bool good = td_team_tiles(team, &site, TILES, 7, hit, &j) == TD_OK && j.hits[TILES - 1];
        td_team_destroy(team);
        _exit(good ? 0 : 1);
    }
    int how;
    waitpid(pid, &how, 0);
    cr_assert_eq(how, 0, "wait status %d", how);
    td_team_destroy(team);
}

static td_status sum_tile(void *arg, int64_t first, int64_t last, td_worker *worker) {
    float *partials = arg;
    (void)worker;
    for (int64_t tile = first; tile < last; tile++) {
        td_rng rng = td_rng_make(1, TD_PURPOSE_TEST, (uint64_t)tile);
        for (int i = 0; i < 100; i++) {
            partials[tile] += (float)td_rng_normal(&rng);
        }
    }
    return TD_OK;
}

static void add_float(void *into, const void *from) {
    *(float *)into += *(const float *)from;
}

/* One hash over workers and chunk sizes; another when one input is one bit off. */
Test(team_tiles, a_sum_has_the_same_bits_whoever_ran_what) {
    static const int workers[] = {1, 2, 3, 4, 7, 8};
    float first = 0;
    for (int w = 0; w < 6; w++) {
        td_team *team = make_team(workers[w]);
        for (int64_t chunk = 1; chunk < 300; chunk = chunk * 3 + 1) {
            static float partials[TILES];
            memset(partials, 0, sizeof partials);
            td_site site = {0};
            cr_assert_eq(td_team_tiles(team, &site, TILES, chunk, sum_tile, partials), TD_OK);
            td_tree_combine(partials, TILES, sizeof(float), add_float);
            first = w == 0 && chunk == 1 ? partials[0] : first;
            cr_assert(memcmp(&first, &partials[0], sizeof first) == 0, "W %d, chunk %ld",
                      workers[w], (long)chunk);
        }
        td_team_destroy(team);
    }
    float order = 0, *partials = (float[4]){1e8F, 1, -1e8F, 1};
    for (int i = 0; i < 4; i++) {
        order += partials[i];
    }
    td_tree_combine(partials, 4, sizeof(float), add_float);
    cr_assert_neq(partials[0], order, "the tree is not the sequence");
}

Test(queues, a_bad_capacity_is_refused) {
    td_ring *ring;
    td_queue *queue;
    cr_assert_eq(td_ring_create(3, &ring), TD_EUSAGE);
    cr_assert_eq(td_queue_create(1, &queue), TD_EUSAGE);
    cr_assert(strstr(td_error(), "power of two"));
}
