/* SPDX-License-Identifier: Apache-2.0
 * Whether a team ever does harm: work of every length, after every pause, by a region of tiles and
 * by one thread in turn.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/case.h"
#include "bench/load.h"
#include "bench/stats.h"

enum { TILES = 16, LEAST = 15, MOST = 200, LIMIT_NS = 250000000, WARM = 8 };

static const struct {
    const char *name;
    int64_t units; /* of about 1 ns, in all */
} works[] = {{"500ns", 500},    {"5us", 5000},    {"50us", 50000},
             {"200us", 200000}, {"1ms", 1000000}, {"10ms", 10000000}};

static const struct {
    const char *name;
    int64_t ns;
} pauses[] = {{"hot", 0}, {"gap-20us", 20000}, {"gap-1ms", 1000000}, {"gap-5ms", 5000000}};

typedef struct harm_state {
    int64_t units; /* of a tile */
    unsigned sums[TILES], expected[TILES];
    td_site site;
} harm_state;

static td_status list_harm(const td_workload *self, td_case_list *list) {
    for (int hogs = 0; hogs < 2; hogs++) {
        for (size_t work = 0; work < sizeof works / sizeof works[0]; work++) {
            for (size_t gap = 0; gap < sizeof pauses / sizeof pauses[0]; gap++) {
                td_case *added = td_case_add(list, self, "threads/harm/%s/%s%s", works[work].name,
                                             pauses[gap].name, hogs ? "-hogs" : "");
                added->param[0] = (int64_t)work;
                added->param[1] = (int64_t)gap;
                added->param[2] = hogs;
                added->seconds = 0.5;
            }
        }
    }
    return TD_OK;
}

static td_status setup_harm(td_bench *bench) {
    harm_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (s == NULL) {
        return td_fail(TD_ENOMEM, "work for a team");
    }
    s->units = works[bench->subject->param[0]].units / TILES;
    for (unsigned i = 0; i < TILES; i++) {
        s->expected[i] = td_load_work(i, s->units);
    }
    return TD_OK;
}

static void teardown_harm(td_bench *bench) {
    td_free(bench->state);
}

static td_status run_tiles(void *arg, int64_t first, int64_t last, td_worker *worker) {
    (void)worker;
    harm_state *s = arg;
    for (int64_t i = first; i < last; i++) {
        s->sums[i] = td_load_work((unsigned)i, s->units);
    }
    return TD_OK;
}

static void pause_for(int64_t ns) {
    if (ns >= 1000000) {
        struct timespec nap = {.tv_nsec = ns};
        nanosleep(&nap, NULL);
        return;
    }
    for (int64_t end = td_now_ns() + ns; td_now_ns() < end;) {
    }
}

/* Nanoseconds of the work, by the team or by this thread alone. */
static td_status play(td_bench *bench, bool by_team, double *ns) {
    harm_state *s = bench->state;
    memset(s->sums, 0, sizeof s->sums);
    pause_for(pauses[bench->subject->param[1]].ns);
    int64_t start = td_now_ns();
    if (by_team) {
        TD_TRY(td_team_tiles(bench->team, &s->site, TILES, 1, run_tiles, s));
    } else {
        run_tiles(s, 0, TILES, NULL);
    }
    *ns = (double)(td_now_ns() - start);
    return memcmp(s->sums, s->expected, sizeof s->sums) == 0
               ? TD_OK
               : td_fail(TD_ECHECK, "a tile was not run, or run wrong");
}

static td_status sample_harm(td_bench *bench, double *alone_ns) {
    td_outcome *out = bench->outcome;
    double ignored;
    for (int i = 0; i < WARM; i++) { /* the call site learns */
        TD_TRY(play(bench, true, &ignored));
    }
    int64_t end = td_now_ns() + LIMIT_NS;
    for (int64_t i = 0; i < MOST && !td_interrupted() && (i < LEAST || td_now_ns() < end); i++) {
        TD_TRY(play(bench, false, &alone_ns[i]));
        TD_TRY(play(bench, true, &out->samples_ns[i]));
        out->n_samples = i + 1;
    }
    return TD_OK;
}

static td_status verify_harm(td_bench *bench) {
    td_outcome *out = bench->outcome;
    double alone_ns[MOST];
    td_hogs hogs = {.count = 0};
    if (bench->subject->param[2]) {
        TD_TRY(td_hogs_start(bench->rank, &hogs));
    }
    td_status status = sample_harm(bench, alone_ns);
    td_hogs_end(&hogs);
    TD_TRY(status);
    double alone = td_stats_median_of(alone_ns, out->n_samples);
    double team = td_stats_median_of(out->samples_ns, out->n_samples);
    out->repeat = 1;
    td_outcome_number(out, "alone_us", alone * 1e-3);
    td_outcome_number(out, "speed_up", alone / team);
    td_outcome_number(out, "times_harmless", team / (1.1 * alone + 1000));
    snprintf(out->method, sizeof out->method, "every tile as one thread computes it");
    return TD_OK;
}

static void cost_harm(const td_bench *bench, td_cost *out) {
    (void)bench;
    *out = (td_cost){.value = TD_VALUE_TIME};
}

const td_workload td_workload_harm = {
    .name = "harm",
    .observes = true,
    .list = list_harm,
    .fits = td_case_fits_one_rank,
    .setup = setup_harm,
    .verify = verify_harm,
    .cost = cost_harm,
    .teardown = teardown_harm,
};
