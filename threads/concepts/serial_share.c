/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "threads/scaling.h"
#include "threads/team.h"

/* Arithmetic alone, a chain in which each step needs the last, so that two cores, or two threads of
 * one core, do twice as much. What is claimed is counted in chunks; times are told beside it, of
 * rounds in which nobody lost its CPU: no switch, and no two chunks further apart than GAP_NS. How
 * many rounds are played does not depend on what they show. */
enum { CHUNKS = 400, STEPS = 2000, GAP_NS = 30000, ENOUGH = 30, MOST = 300, SHARES = 4, P = 2 };

typedef struct job {
    td_event begun;    /* rounds whose serial part is done */
    td_wait_rule rule; /* spins longer than any serial part: a wake-up would be taken for one */
    uint32_t round;
    int serial;  /* chunks */
    bool shared; /* the mutant's: the other worker takes half of the serial part */
    struct {
        _Alignas(128) bool disturbed;
        uint64_t sum;
        int64_t before, after; /* chunks until the event, and behind it */
    } side[P];
} job;

/* False when the CPU was lost on the way. */
static bool run_chunks(int64_t chunks, uint64_t *sum) {
    uint64_t gap = (uint64_t)(td_tsc_hz() * 1e-9 * GAP_NS), last = td_tsc(), x = *sum;
    bool whole = true;
    for (int64_t i = 0; i < chunks; i++) {
        for (int k = 0; k < STEPS; k++) {
            x = x * 6364136223846793005U + 1442695040888963407U;
            __asm__ __volatile__("" : "+r"(x));
        }
        uint64_t now = td_tsc();
        whole = whole && now - last < gap;
        last = now;
    }
    *sum = x;
    return whole;
}

static void work(void *arg, td_worker *worker) {
    job *j = arg;
    int64_t before = td_lab_own_switches();
    int64_t other = j->shared ? j->serial / P : 0, first, last, alone;
    alone = worker->id == 0 ? j->serial - other : other;
    bool whole = run_chunks(alone, &j->side[worker->id].sum);
    if (worker->id == 0) {
        td_event_advance(&j->begun, &j->rule);
    } else {
        td_event_wait(&j->begun, j->round, &j->rule, 0, NULL);
    }
    td_worker_share(worker, CHUNKS - j->serial, &first, &last);
    whole = run_chunks(last - first, &j->side[worker->id].sum) && whole;
    j->side[worker->id].disturbed = !whole || td_lab_own_switches() != before;
    j->side[worker->id].before = alone;
    j->side[worker->id].after = last - first;
}

static void be_awake(void *arg, td_worker *worker) {
    (void)arg;
    (void)worker;
}

/* The fastest of the rounds that count: whatever else the machine does only makes them slower. */
typedef struct best {
    double alone_ns, team_ns;
    int n_alone, n_team;
} best;

static void keep(double *least, int *n, double ns) {
    *least = *n == 0 || ns < *least ? ns : *least;
    ++*n;
}

/* One round of each: alone by a plain loop, and by the team. */
static void play(job *j, td_team *team, best *b) {
    uint64_t sum = 1;
    int64_t before = td_lab_own_switches();
    double start = (double)td_now_ns();
    bool whole = run_chunks(CHUNKS, &sum);
    double took = (double)td_now_ns() - start;
    if (whole && td_lab_own_switches() == before) {
        keep(&b->alone_ns, &b->n_alone, took);
    }
    td_team_run(team, be_awake, NULL); /* the workers slept meanwhile */
    j->round++;
    start = (double)td_now_ns();
    td_team_run(team, work, j);
    took = (double)td_now_ns() - start;
    if (!j->side[0].disturbed && !j->side[1].disturbed) {
        keep(&b->team_ns, &b->n_team, took);
    }
}

typedef struct half {
    td_lab *lab;
    _Atomic int ready;
    int n;
    double ns;
} half;

static void run_halves(half *h, int cpu, double *least, int *n) {
    td_lab_pin(h->lab, cpu);
    atomic_fetch_add(&h->ready, 1);
    td_lab_await(&h->ready, P);
    uint64_t sum = 1;
    for (int i = 0; i < MOST && *n < 4 * ENOUGH && td_lab_patient(h->lab); i++) {
        int64_t before = td_lab_own_switches();
        double start = (double)td_now_ns();
        bool whole = run_chunks(CHUNKS / P, &sum);
        double took = (double)td_now_ns() - start;
        if (whole && td_lab_own_switches() == before) {
            keep(least, n, took);
        }
    }
}

static void run_other(td_lab *lab, void *arg) {
    half *h = arg;
    run_halves(h, lab->cpu[1], &h->ns, &h->n);
}

/* Nanoseconds that half the work takes each of two processes which have nothing to do with each
 * other. */
static double time_processes(td_lab *lab) {
    half *h = td_lab_shared(lab, sizeof *h);
    h->lab = lab;
    double own = 0;
    int n = 0;
    pid_t pid = td_lab_fork(lab, run_other, h);
    run_halves(h, lab->cpu[0], &own, &n);
    td_lab_wait(lab, pid);
    return n > 0 && h->n > 0 ? (own + h->ns) / P : NAN;
}

static int64_t most_of(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* The share that the chunks tell which two workers did one after the other. */
static double counted_share(const job *j) {
    int64_t path =
        most_of(j->side[0].before, j->side[1].before) + most_of(j->side[0].after, j->side[1].after);
    return td_karp_flatt((double)CHUNKS / (double)path, P);
}

static void play_rounds(td_lab *lab, job *j, td_team *team, best *b) {
    *b = (best){0};
    for (int i = 0; i < MOST && (b->n_alone < ENOUGH || b->n_team < ENOUGH); i++) {
        play(j, team, b);
        if (!td_lab_patient(lab)) {
            break;
        }
    }
}

static bool enough(const best *b) {
    return b->n_alone >= ENOUGH && b->n_team >= ENOUGH;
}

static void show_times(td_lab *lab, const best *b, double share) {
    if (!enough(b)) {
        td_lab_saw(lab,
                   "of rounds in which nobody lost a CPU there were %d of one and %d of two: too "
                   "few to tell by time",
                   b->n_alone, b->n_team);
        return;
    }
    char name[24];
    double timed = td_karp_flatt(b->alone_ns / b->team_ns, P);
    td_lab_saw(lab,
               "by the fastest of %d and %d rounds two are %.3f times as fast as one, which tells "
               "%.3f",
               b->n_alone, b->n_team, b->alone_ns / b->team_ns, timed);
    snprintf(name, sizeof name, "found_pct_at_%.0f", 100 * share);
    td_lab_number(lab, name, 100 * timed);
    td_lab_sample(lab, b->team_ns);
}

void td_concept_serial_share(td_lab *lab) {
    static const double shares[SHARES] = {0, 0.05, 0.2, 0.5};
    static job j;
    td_team *team = NULL;
    td_team_options options = {.workers = P, .pu = lab->cpu};
    td_lab_needs_binding(lab);
    td_lab_must(lab, td_team_create(&options, &team) == TD_OK && td_team_bound(team) == P,
                "a team of two bound workers");
    j.rule = td_wait_rule_make(false, false);
    j.rule.spin_ticks = (uint64_t)(td_tsc_hz() * 0.02);
    j.shared = lab->mutant;
    double halves = NAN;
    best b;
    for (int i = 0; i < SHARES; i++) {
        j.serial = (int)lround(shares[i] * CHUNKS);
        play_rounds(lab, &j, team, &b);
        double counted = counted_share(&j);
        td_lab_check(lab, fabs(counted - shares[i]) < 1e-9,
                     "%2.0f %% of the work is serial: what two did one after the other tells %.3f",
                     100 * shares[i], counted);
        show_times(lab, &b, shares[i]);
        halves = i == 0 && enough(&b) ? b.team_ns : halves;
    }
    double processes = time_processes(lab) / halves;
    if (isfinite(processes)) {
        td_lab_saw(lab, "nothing serial: two threads do %.3f times the work of two processes",
                   processes);
        td_lab_number(lab, "threads_over_processes", processes);
    }
    td_team_destroy(team);
    td_lab_sampled(lab, "the work by two, at each serial share");
}
