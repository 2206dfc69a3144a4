/* SPDX-License-Identifier: Apache-2.0
 * Every kind of lock of the ladder, by the workers of a layout, alone and beside processes that use
 * every CPU: what a turn costs, beside the C library's adaptive mutex in turn, and who waits how
 * long for it; in turn with that, how long a worker is without a CPU when there is no lock.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/aligned.h"
#include "base/clock.h"
#include "base/memory.h"
#include "bench/case.h"
#include "bench/load.h"
#include "bench/stats.h"
#include "threads/lock.h"

/* WINDOWS of each of the two locks in alternation, then WATCHED of the one in which waits are
 * timed, which costs too much to be done in the others. */
enum { WINDOWS = 16, WATCHED = 4, WINDOW_NS = 20000000, MOST_WORKERS = 256 };
static const double STARVED_NS = 1e8;

typedef struct lock_seat {
    _Alignas(128) int64_t turns, watched_turns;
    double longest_ns, off_cpu_ns;
} lock_seat;

typedef struct lock_state {
    td_lock lock;
    _Alignas(128) int64_t value; /* plain: only the lock keeps it whole */
    _Alignas(128) _Atomic int64_t end_ns;
    const td_lock_kind *kind;
    bool watched;
    td_bench *bench;
    lock_seat seats[MOST_WORKERS];
} lock_state;

static int adaptive_kind(void) {
    int n;
    const td_lock_kind *kinds = td_lock_kinds(&n);
    int found = 0;
    for (int i = 0; i < n; i++) {
        found = strcmp(kinds[i].name, "pthread_adaptive") == 0 ? i : found;
    }
    return found;
}

static td_status list_locks(const td_workload *self, td_case_list *list) {
    int n;
    const td_lock_kind *kinds = td_lock_kinds(&n);
    for (int hogs = 0; hogs < 2; hogs++) {
        for (int i = 0; i < n; i++) {
            td_case *added = td_case_add(list, self, "threads/lock/%s/%s", kinds[i].name,
                                         hogs ? "hogs" : "alone");
            added->param[0] = i;
            added->param[1] = hogs;
            added->seconds = 0.8;
        }
    }
    return TD_OK;
}

static bool fits_locks(const td_case *subject, const td_layout *layout) {
    return td_case_fits_one_rank(subject, layout) && layout->workers <= MOST_WORKERS;
}

static td_status setup_lock(td_bench *bench) {
    lock_state *s = td_alloc_aligned(_Alignof(lock_state), sizeof *s);
    if (s == NULL) {
        return td_fail(TD_ENOMEM, "a lock");
    }
    s->bench = bench;
    bench->state = s;
    return TD_OK;
}

static void teardown_lock(td_bench *bench) {
    td_free(bench->state);
}

/* Asked at every turn, looked at in some. */
static bool window_is_over(const lock_state *s, int64_t turn) {
    return turn % 32 == 0 && td_now_ns() >= atomic_load_explicit(&s->end_ns, memory_order_relaxed);
}

/* How long it took. */
static double run_window(lock_state *s, td_region_fn *work) {
    int64_t start = td_now_ns();
    atomic_store(&s->end_ns, start + WINDOW_NS);
    td_team_run(s->bench->team, work, s);
    return (double)(td_now_ns() - start);
}

static void take_turns(void *arg, td_worker *worker) {
    lock_state *s = arg;
    lock_seat *seat = &s->seats[worker->id];
    td_lock_node node;
    double ns = 1e9 / td_tsc_hz();
    for (int64_t i = 1; !window_is_over(s, i); i++) {
        uint64_t asked = s->watched ? td_tsc() : 0;
        s->kind->acquire(&s->lock, &node);
        s->value++;
        s->kind->release(&s->lock, &node);
        seat->turns++;
        if (s->watched) {
            double waited = (double)(td_tsc() - asked) * ns;
            seat->longest_ns = waited > seat->longest_ns ? waited : seat->longest_ns;
            seat->watched_turns++;
        }
    }
}

/* What a worker would wait for a lock that cost nothing. */
static void look_at_the_clock(void *arg, td_worker *worker) {
    lock_state *s = arg;
    lock_seat *seat = &s->seats[worker->id];
    double ns = 1e9 / td_tsc_hz();
    uint64_t last = td_tsc();
    for (int64_t i = 1; !window_is_over(s, i); i++) {
        uint64_t now = td_tsc();
        double gap = (double)(now - last) * ns;
        seat->off_cpu_ns = gap > seat->off_cpu_ns ? gap : seat->off_cpu_ns;
        last = now;
    }
}

/* Nanoseconds a turn of all workers together. */
static td_status play(lock_state *s, const td_lock_kind *kind, double *ns) {
    int64_t before = 0, turns = 0;
    int workers = s->bench->rank->workers;
    for (int i = 0; i < workers; i++) {
        before += s->seats[i].turns;
    }
    memset((void *)&s->lock, 0, sizeof s->lock);
    kind->init(&s->lock);
    s->kind = kind;
    s->value = 0;
    double took = run_window(s, take_turns);
    for (int i = 0; i < workers; i++) {
        turns += s->seats[i].turns;
    }
    turns -= before;
    *ns = took / (double)turns;
    return s->value == turns ? TD_OK
                             : td_fail(TD_ECHECK, "%lld turns counted %lld under %s",
                                       (long long)turns, (long long)s->value, kind->name);
}

static td_status sample_locks(lock_state *s, const td_lock_kind *kind, double *adaptive_ns) {
    td_outcome *out = s->bench->outcome;
    int n;
    const td_lock_kind *adaptive = &td_lock_kinds(&n)[adaptive_kind()];
    for (int i = 0; i < WINDOWS && !td_interrupted(); i++) {
        TD_TRY(play(s, kind, &out->samples_ns[out->n_samples++]));
        TD_TRY(play(s, adaptive, &adaptive_ns[i]));
    }
    s->watched = true;
    double ignored;
    for (int i = 0; i < WATCHED; i++) {
        TD_TRY(play(s, kind, &ignored));
        run_window(s, look_at_the_clock);
    }
    return TD_OK;
}

static td_status verify_lock(td_bench *bench) {
    lock_state *s = bench->state;
    td_outcome *out = bench->outcome;
    int n, workers = bench->rank->workers;
    const td_lock_kind *kind = &td_lock_kinds(&n)[bench->subject->param[0]];
    double adaptive_ns[WINDOWS] = {0}, longest = 0, off_cpu = 0, least = 0, most = 0;
    td_hogs hogs = {.count = 0};
    if (bench->subject->param[1]) {
        TD_TRY(td_hogs_start(bench->rank, &hogs));
    }
    td_status status = sample_locks(s, kind, adaptive_ns);
    td_hogs_end(&hogs);
    TD_TRY(status);
    for (int i = 0; i < workers; i++) {
        double turns = (double)s->seats[i].watched_turns;
        longest = s->seats[i].longest_ns > longest ? s->seats[i].longest_ns : longest;
        off_cpu = s->seats[i].off_cpu_ns > off_cpu ? s->seats[i].off_cpu_ns : off_cpu;
        least = i == 0 || turns < least ? turns : least;
        most = turns > most ? turns : most;
    }
    out->repeat = 1;
    td_outcome_number(out, "times_adaptive",
                      td_stats_median_of(adaptive_ns, out->n_samples) /
                          td_stats_median_of(out->samples_ns, out->n_samples));
    td_outcome_number(out, "longest_wait_us", longest * 1e-3);
    td_outcome_number(out, "longest_off_cpu_us", off_cpu * 1e-3);
    td_outcome_number(out, "least_over_most", least / most);
    td_outcome_number(out, "starved", longest > STARVED_NS);
    snprintf(out->method, sizeof out->method, "every turn counted under the lock");
    return TD_OK;
}

static void cost_lock(const td_bench *bench, td_cost *out) {
    (void)bench;
    *out = (td_cost){.value = TD_VALUE_TIME};
}

const td_workload td_workload_lock = {
    .name = "lock",
    .observes = true,
    .list = list_locks,
    .fits = fits_locks,
    .setup = setup_lock,
    .verify = verify_lock,
    .cost = cost_lock,
    .teardown = teardown_lock,
};
