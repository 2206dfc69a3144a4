/* SPDX-License-Identifier: Apache-2.0
 * What it costs to run a parallel region, in a team and in other libraries' pools: one after the
 * other, after a pause, with work, and beside processes that use every CPU. The threads that took
 * part are counted, because a pool may be quick by leaving workers out.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/aligned.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "bench/case.h"
#include "bench/load.h"
#include "bench/stats.h"
#include "bench/wake_floor.h"
#include "threads/bind.h"
#include "threads/pool_peer.h"
#include "threads/wait.h"

/* gap_ns: between regions; below 3 us a random wait up to it. units: of work of each part, about
 * 1 ns. samples: of one region each. In turn: hogs rest in every other window, so that what is left
 * beside them is told from what there is. */
typedef enum neighbours { ALONE, HOGS, HOGS_IN_TURN } neighbours;
static const struct {
    const char *name;
    int64_t gap_ns;
    int units, samples;
    neighbours beside;
} scenes[] = {{"hot", 2000, 0, 2000, ALONE},
              {"gap-200us", 200000, 0, 300, ALONE},
              {"gap-5ms", 5000000, 0, 60, ALONE},
              {"work-100us", 2000, 100000, 500, ALONE},
              {"work-100us-hogs", 2000, 100000, 2000, HOGS},
              {"work-200us-in-turn", 2000, 200000, 2000, HOGS_IN_TURN}};
enum { N_SCENES = sizeof scenes / sizeof scenes[0], MOST_PARTS = 256 };
enum { LEAST = 10, LIMIT_NS = 1000000000 }; /* regions, and the time of their samples */
enum { WINDOWS = 4, WINDOW_NS = 500000000 };
enum { NAP_NS = 1000000 }; /* a gap that long is slept, and workers sleep in it too */

/* Who runs it. TEAM_ALL and TEAM_OPEN are this program's; then each peer, bound and as shipped. */
enum { TEAM_ALL, TEAM_OPEN, PEERS };

typedef struct part {
    _Alignas(64) int tid, sum;
} part;

typedef struct region_state {
    part parts[MOST_PARTS];
    td_bench *bench;
    const td_pool_peer *peer; /* NULL: the team */
    bool open_join, bind;
    int units;
    td_site site;
    td_wait_costs costs; /* measured beside */
    td_wake_floor *floor; /* of a gap in which workers sleep; else NULL */
    double floor_ns[TD_OUTCOME_SAMPLES], floor_call_ns[TD_OUTCOME_SAMPLES];
} region_state;

static void add(td_case_list *list, const td_workload *self, const char *join, const char *bound,
                int scene, const char *provider, int who) {
    td_case *added =
        td_case_add(list, self, "threads/region/%s-%s/%s", join, bound, scenes[scene].name);
    snprintf(added->provider, sizeof added->provider, "%s", provider);
    added->param[0] = who;
    added->param[1] = scene;
    added->quick = scene < 2 || scene == 4;
    added->seconds = 0.5;
}

static td_status list_regions(const td_workload *self, td_case_list *list) {
    int n;
    const td_pool_peer *peers = td_pool_peers(&n);
    for (int scene = 0; scene < N_SCENES; scene++) {
        add(list, self, "all", "bound", scene, "tandem", TEAM_ALL);
        for (int i = 0; i < n; i++) {
            if (!peers[i].open_join) {
                add(list, self, "all", "bound", scene, peers[i].name, PEERS + 2 * i);
                add(list, self, "all", "shipped", scene, peers[i].name, PEERS + 2 * i + 1);
            }
        }
        add(list, self, "open", "bound", scene, "tandem", TEAM_OPEN);
        for (int i = 0; i < n; i++) {
            if (peers[i].open_join) {
                add(list, self, "open", "bound", scene, peers[i].name, PEERS + 2 * i);
                add(list, self, "open", "shipped", scene, peers[i].name, PEERS + 2 * i + 1);
            }
        }
    }
    return TD_OK;
}

static bool fits_workers(const td_case *subject, const td_layout *layout) {
    (void)subject;
    return layout->ranks == 1 && layout->workers > 1 && layout->workers <= MOST_PARTS;
}

/* On the CPUs of the layout, before anybody is bound to one of them. */
static td_status measure_costs(const td_rank *rank, td_wait_costs *out) {
    td_cpu_mask before;
    td_bind_get(&before);
    td_bind_pus(rank->pu, rank->workers);
    td_status status = td_wait_measure(out);
    td_bind_set(&before);
    return status;
}

static td_status setup_region(td_bench *bench) {
    region_state *s = td_alloc_aligned(_Alignof(region_state), sizeof *s);
    if (s == NULL) {
        return td_fail(TD_ENOMEM, "a region");
    }
    int64_t who = bench->subject->param[0];
    s->bench = bench;
    s->units = scenes[bench->subject->param[1]].units;
    s->open_join = who == TEAM_OPEN;
    bench->state = s;
    TD_TRY(measure_costs(bench->rank, &s->costs));
    if (who >= PEERS) {
        int n;
        s->peer = &td_pool_peers(&n)[(who - PEERS) / 2];
        s->bind = (who - PEERS) % 2 == 0;
        return td_pool_peer_load(s->peer);
    }
    if (scenes[bench->subject->param[1]].gap_ns >= NAP_NS) {
        TD_TRY(td_wake_floor_start(bench->rank->pu[bench->rank->workers - 1], &s->floor));
    }
    return td_team_create(&(td_team_options){.workers = bench->rank->workers,
                                             .pu = bench->rank->pu,
                                             .shares_cpus = bench->rank->shares_cpus},
                          &bench->team);
}

static void teardown_region(td_bench *bench) {
    td_wake_floor_end(((region_state *)bench->state)->floor);
    td_free(bench->state);
}

static void run_part(void *arg, int id) {
    region_state *s = arg;
    part *p = &s->parts[id];
    static _Thread_local int tid;
    static _Thread_local bool bound;
    if (tid == 0) {
        tid = (int)syscall(SYS_gettid);
    }
    if (s->bind && !bound) {
        /* A thread of a peer stays where it first took part. */
        td_bind_pu(s->bench->rank->pu[id]);
        bound = true;
    }
    p->sum = (int)td_load_work((unsigned)id, s->units);
    p->tid = tid;
}

static void run_worker(void *arg, td_worker *worker) {
    run_part(arg, worker->id);
}

static td_status run_tile(void *arg, int64_t first, int64_t last, td_worker *worker) {
    (void)worker;
    for (int64_t i = first; i < last; i++) {
        run_part(arg, (int)i);
    }
    return TD_OK;
}

static td_status run_region(region_state *s) {
    int workers = s->bench->rank->workers;
    if (s->peer != NULL) {
        td_pool_peer_run(s->peer, workers, run_part, s);
        return TD_OK;
    }
    if (s->open_join) {
        return td_team_tiles(s->bench->team, &s->site, workers, 1, run_tile, s);
    }
    td_team_run(s->bench->team, run_worker, s);
    return TD_OK;
}

/* Different threads that ran a part; clears the marks. -1 when a part was not run. */
static int count_threads(region_state *s) {
    int workers = s->bench->rank->workers, found = 0;
    for (int i = 0; i < workers; i++) {
        bool first = true;
        if (s->parts[i].sum == 0) {
            return -1;
        }
        for (int k = 0; k < i; k++) {
            first = first && s->parts[k].tid != s->parts[i].tid;
        }
        found += first;
    }
    for (int i = 0; i < workers; i++) {
        s->parts[i].sum = 0;
    }
    return found;
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static void pause_for(int64_t ns, td_rng *rng) {
    if (ns >= NAP_NS) {
        struct timespec nap = {.tv_nsec = ns};
        nanosleep(&nap, NULL);
        return;
    }
    int64_t wait = ns < 3000 ? (int64_t)td_rng_below(rng, (uint64_t)ns) : ns;
    for (int64_t end = td_now_ns() + wait; td_now_ns() < end;) {
    }
}

/* The check and the samples are one: whoever took part is counted in each region. One region; its
 * time goes to *ns. */
static td_status sample_region(region_state *s, int64_t number, double *ns, int64_t *joined) {
    int workers = s->bench->rank->workers;
    bool all = !s->open_join && (s->peer == NULL || !s->peer->open_join);
    int64_t start = td_now_ns();
    TD_TRY(run_region(s));
    *ns = (double)(td_now_ns() - start);
    int threads = count_threads(s);
    if (threads < 0 || (all && threads != workers)) {
        return td_fail(TD_ECHECK, "region %lld: %d of %d workers took part", (long long)number,
                       threads, workers);
    }
    *joined += threads;
    return TD_OK;
}

static td_status sample_regions(region_state *s, int scene, int64_t *joined) {
    td_outcome *out = s->bench->outcome;
    td_rng rng = td_rng_make(5, TD_PURPOSE_TEST, 0);
    int64_t end = td_now_ns() + LIMIT_NS;
    for (int i = 0;
         i < scenes[scene].samples && !td_interrupted() && (i < LEAST || td_now_ns() < end); i++) {
        int64_t n = out->n_samples++;
        if (s->floor != NULL) {
            pause_for(scenes[scene].gap_ns, &rng);
            td_wake_floor_sample(s->floor, &s->floor_call_ns[n], &s->floor_ns[n]);
        }
        pause_for(scenes[scene].gap_ns, &rng);
        TD_TRY(sample_region(s, i, &out->samples_ns[n], joined));
    }
    return TD_OK;
}

/* Regions in windows of wall time, the hogs resting in every other. Samples are of those beside
 * them. */
static td_status sample_in_turn(region_state *s, int scene, const td_hogs *hogs, int64_t *joined) {
    td_outcome *out = s->bench->outcome;
    td_rng rng = td_rng_make(5, TD_PURPOSE_TEST, 0);
    double regions[2] = {0}, seconds[2] = {0}, ns;
    for (int window = 0; window < 2 * WINDOWS && !td_interrupted(); window++) {
        bool beside = window % 2 == 1;
        td_hogs_rest(hogs, !beside);
        int64_t start = td_now_ns(), now = start, ignored = 0;
        for (; now - start < WINDOW_NS; now = td_now_ns()) {
            pause_for(scenes[scene].gap_ns, &rng);
            TD_TRY(sample_region(s, window, &ns, beside ? joined : &ignored));
            regions[beside]++;
            if (beside && out->n_samples < TD_OUTCOME_SAMPLES) {
                out->samples_ns[out->n_samples++] = ns;
            }
        }
        seconds[beside] += (double)(now - start) * 1e-9;
    }
    *joined = (int64_t)((double)*joined * (double)out->n_samples / regions[1]);
    double idle = regions[0] / seconds[0];
    td_outcome_number(out, "idle_regions_per_s", idle);
    td_outcome_number(out, "share_of_idle", regions[1] / seconds[1] / idle);
    return TD_OK;
}

/* Against what one wake-up took after such a gap, in turn with the regions. */
static void compare_floor(region_state *s) {
    td_outcome *out = s->bench->outcome;
    if (s->floor != NULL) {
        double region = td_stats_median_of(out->samples_ns, out->n_samples);
        double run = td_stats_median_of(s->floor_ns, out->n_samples);
        double call = td_stats_median_of(s->floor_call_ns, out->n_samples);
        td_outcome_number(out, "wake_floor_us", run * 1e-3);
        td_outcome_number(out, "wake_call_floor_us", call * 1e-3);
        td_outcome_number(out, "times_floor", region / (s->open_join ? call : run));
    }
}

static td_status verify_region(td_bench *bench) {
    region_state *s = bench->state;
    td_outcome *out = bench->outcome;
    int scene = (int)bench->subject->param[1];
    int64_t joined = 0;
    for (int i = 0; i < LEAST; i++) {
        TD_TRY(run_region(s));
    }
    count_threads(s);
    td_hogs hogs = {.count = 0};
    if (scenes[scene].beside != ALONE) {
        TD_TRY(td_hogs_start(bench->rank, &hogs));
    }
    double cpu = cpu_seconds();
    int64_t start = td_now_ns();
    td_status status = scenes[scene].beside == HOGS_IN_TURN
                           ? sample_in_turn(s, scene, &hogs, &joined)
                           : sample_regions(s, scene, &joined);
    double wall = (double)(td_now_ns() - start) * 1e-9;
    double burn = (cpu_seconds() - cpu) / wall;
    td_hogs_end(&hogs);
    TD_TRY(status);
    out->repeat = 1;
    td_outcome_number(out, "threads_per_region", (double)joined / (double)out->n_samples);
    td_outcome_number(out, "cpus_used", burn);
    td_outcome_number(out, "regions_per_s", (double)out->n_samples / wall);
    td_outcome_number(out, "line_round_trip_ns", (double)s->costs.line_ns);
    td_outcome_number(out, "wake_us", (double)s->costs.wake_ns * 1e-3);
    td_outcome_number(out, "wake_call_us", (double)s->costs.wake_call_ns * 1e-3);
    compare_floor(s);
    snprintf(out->method, sizeof out->method, "every part run, threads counted");
    return TD_OK;
}

static void cost_region(const td_bench *bench, td_cost *out) {
    (void)bench;
    *out = (td_cost){.value = TD_VALUE_TIME};
}

const td_workload td_workload_region = {
    .name = "region",
    .own_team = true,
    .observes = true,
    .list = list_regions,
    .fits = fits_workers,
    .setup = setup_region,
    .verify = verify_region,
    .cost = cost_region,
    .teardown = teardown_region,
};
