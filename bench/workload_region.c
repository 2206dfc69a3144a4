/* SPDX-License-Identifier: Apache-2.0
 * What it costs to run a parallel region, in a team and in other libraries' pools: one after the
 * other, after a pause, with work, and beside processes that use every CPU. The threads that took
 * part are counted, because a pool may be quick by leaving workers out.
 */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"
#include "bench/case.h"
#include "threads/bind.h"
#include "threads/pool_peer.h"

/* gap_ns: between regions; below 3 us a random wait up to it. units: of work of each part, about
 * 1 ns. samples: of one region each. */
static const struct {
    const char *name;
    int64_t gap_ns;
    int units, samples;
    bool hogs;
} scenes[] = {{"hot", 2000, 0, 2000, false},
              {"gap-200us", 200000, 0, 300, false},
              {"gap-5ms", 5000000, 0, 60, false},
              {"work-100us", 2000, 100000, 500, false},
              {"work-100us-hogs", 2000, 100000, 2000, true}};
enum { N_SCENES = sizeof scenes / sizeof scenes[0], MOST_PARTS = 256, MOST_HOGS = 64 };
enum { LEAST = 10, LIMIT_NS = 1000000000 }; /* regions, and the time of their samples */

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
    void *block;
} region_state;

static void add(td_case_list *list, const td_workload *self, const char *join, const char *bound,
                int scene, const char *provider, int who) {
    td_case *added = td_case_add(list, self, "threads/region/%s-%s/%s", join, bound,
                                 scenes[scene].name);
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

static td_status setup_region(td_bench *bench) {
    size_t align = _Alignof(region_state);
    unsigned char *block = td_alloc_zero(sizeof(region_state) + align);
    if (block == NULL) {
        return td_fail(TD_ENOMEM, "a region");
    }
    region_state *s = (region_state *)(block + (align - (uintptr_t)block % align) % align);
    int64_t who = bench->subject->param[0];
    s->block = block;
    s->bench = bench;
    s->units = scenes[bench->subject->param[1]].units;
    s->open_join = who == TEAM_OPEN;
    bench->state = s;
    if (who >= PEERS) {
        int n;
        s->peer = &td_pool_peers(&n)[(who - PEERS) / 2];
        s->bind = (who - PEERS) % 2 == 0;
        return td_pool_peer_load(s->peer);
    }
    return td_team_create(&(td_team_options){.workers = bench->rank->workers,
                                             .pu = bench->rank->pu,
                                             .shares_cpus = bench->rank->shares_cpus},
                          &bench->team);
}

static void teardown_region(td_bench *bench) {
    td_free(((region_state *)bench->state)->block);
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
    unsigned x = (unsigned)id;
    for (int i = 0; i < s->units; i++) {
        x = x * 1664525U + 1013904223U;
        __asm__ __volatile__("" : "+r"(x));
    }
    p->sum = (int)(x | 1U);
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
    if (ns > 1000000) {
        struct timespec nap = {.tv_nsec = ns};
        nanosleep(&nap, NULL);
        return;
    }
    int64_t wait = ns < 3000 ? (int64_t)td_rng_below(rng, (uint64_t)ns) : ns;
    for (int64_t end = td_now_ns() + wait; td_now_ns() < end;) {
    }
}

static int start_hogs(const td_bench *bench, pid_t *hogs) {
    int count = 0, n = bench->rank->workers < MOST_HOGS ? bench->rank->workers : MOST_HOGS;
    for (int i = 0; i < n; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            td_bind_pu(bench->rank->pu[i]);
            for (;;) {
                __asm__ __volatile__("");
            }
        }
        if (pid > 0) {
            hogs[count++] = pid;
        }
    }
    return count;
}

/* The check and the samples are one: whoever took part is counted in each region. */
static td_status sample_regions(region_state *s, int samples, int64_t gap_ns, int64_t *joined) {
    td_outcome *out = s->bench->outcome;
    td_rng rng = td_rng_make(5, TD_PURPOSE_TEST, 0);
    int workers = s->bench->rank->workers;
    bool all = !s->open_join && (s->peer == NULL || !s->peer->open_join);
    int64_t end = td_now_ns() + LIMIT_NS;
    for (int i = 0; i < samples && !td_interrupted() && (i < LEAST || td_now_ns() < end); i++) {
        pause_for(gap_ns, &rng);
        int64_t start = td_now_ns();
        TD_TRY(run_region(s));
        out->samples_ns[out->n_samples++] = (double)(td_now_ns() - start);
        int threads = count_threads(s);
        if (threads < 0 || (all && threads != workers)) {
            return td_fail(TD_ECHECK, "region %d: %d of %d workers took part", i, threads, workers);
        }
        *joined += threads;
    }
    return TD_OK;
}

static td_status verify_region(td_bench *bench) {
    region_state *s = bench->state;
    td_outcome *out = bench->outcome;
    int64_t scene = bench->subject->param[1], joined = 0;
    pid_t hogs[MOST_HOGS];
    for (int i = 0; i < LEAST; i++) {
        TD_TRY(run_region(s));
    }
    count_threads(s);
    int n_hogs = scenes[scene].hogs ? start_hogs(bench, hogs) : 0;
    double cpu = cpu_seconds();
    int64_t start = td_now_ns();
    td_status status = sample_regions(s, scenes[scene].samples, scenes[scene].gap_ns, &joined);
    double wall = (double)(td_now_ns() - start) * 1e-9;
    double burn = (cpu_seconds() - cpu) / wall;
    for (int i = 0; i < n_hogs; i++) {
        kill(hogs[i], SIGKILL);
        waitpid(hogs[i], NULL, 0);
    }
    TD_TRY(status);
    out->repeat = 1;
    td_outcome_number(out, "threads_per_region", (double)joined / (double)out->n_samples);
    td_outcome_number(out, "cpus_used", burn);
    td_outcome_number(out, "regions_per_s", (double)out->n_samples / wall);
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
