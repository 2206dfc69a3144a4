/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/runner.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/mpi_ranks.h"
#include "threads/procfs.h"

/* A sample shorter than this would measure the clock; one longer costs samples. */
static const int64_t SAMPLE_NS = 400000;
enum { MIN_SAMPLES = 5, MIN_ALTERNATIONS = 9, MAX_REPEAT = 1 << 16, TICK_NS = 50000000 };
_Static_assert(offsetof(td_outcome, state) == 0, "an outcome starts the shared block");

/* What the process of a case and its parent share. */
typedef struct shared {
    td_outcome outcome;
    /* Rank 0's decisions, agreed at a rank barrier: alternate slots, so that the next decision is
     * never written over one that a slow rank has yet to read. */
    _Atomic int64_t repeat[2]; /* steps of the next sample; 0: stop */
    _Atomic int failed;        /* some rank's check failed */
    bool finished;             /* the process of the case came to its own end */
    int status;                /* of the group */
    char error[TD_OUTCOME_TEXT];
} shared;

typedef struct cell {
    const td_case *subject;
    const td_layout *layout;
    const td_runner_options *options;
    const char *expected_sha256;
    shared *shared;
} cell;

typedef struct noise {
    td_proc_ticks ticks;
    int64_t switches;
} noise;

static noise read_noise(void) {
    noise now = {.ticks = td_proc_ticks_read()};
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    now.switches = usage.ru_nivcsw;
    return now;
}

/* One sample: `repeat` steps, timed by worker 0 between two barriers. */
typedef struct sample {
    td_bench *bench;
    int64_t repeat, start_ns, end_ns;
} sample;

static void sample_region(void *arg, td_worker *worker) {
    sample *s = arg;
    const td_workload *workload = s->bench->subject->workload;
    td_team_barrier(worker);
    if (worker->id == 0) {
        s->start_ns = td_now_ns();
    }
    for (int64_t i = 0; i < s->repeat; i++) {
        workload->region(s->bench, worker);
        td_team_barrier(worker);
    }
    if (worker->id == 0) {
        s->end_ns = td_now_ns();
    }
}

static void spin(double ns) {
    int64_t until = td_now_ns() + (int64_t)ns;
    while (td_now_ns() < until) {
    }
}

static td_status take_sample(cell *c, td_bench *bench, int64_t repeat, double *ns) {
    sample s = {.bench = bench, .repeat = repeat};
    const td_workload *workload = bench->subject->workload;
    if (workload->region) {
        td_team_run(bench->team, sample_region, &s);
    } else {
        s.start_ns = td_now_ns();
        for (int64_t i = 0; i < repeat; i++) {
            TD_TRY(workload->step(bench));
        }
        s.end_ns = td_now_ns();
    }
    if (c->options->inject.kind == TD_INJECT_SLOW) {
        spin((double)(s.end_ns - s.start_ns) * c->options->inject.share);
        s.end_ns = td_now_ns();
    }
    *ns = (double)(s.end_ns - s.start_ns) / (double)repeat;
    return TD_OK;
}

/* Rank 0's value reaches all ranks. */
static td_status agree(cell *c, td_rank *rank, int64_t round, int64_t mine, int64_t *out) {
    if (rank->kind == TD_RANK_MPI) {
        int64_t all[TD_MAX_RANKS];
        TD_TRY(td_mpi_exchange(&mine, all, sizeof mine));
        *out = all[0];
        return TD_OK;
    }
    _Atomic int64_t *slot = &c->shared->repeat[round & 1];
    if (rank->rank == 0) {
        atomic_store_explicit(slot, mine, memory_order_relaxed);
    }
    /* The barrier orders the store before the loads of the other ranks. */
    if (rank->count > 1) {
        TD_TRY(td_rank_barrier(rank));
    }
    *out = atomic_load_explicit(slot, memory_order_relaxed);
    return TD_OK;
}

static bool is_compared(const td_outcome *out) {
    for (int i = 0; i < out->n_companions; i++) {
        if (!out->companions[i].probe) {
            return true;
        }
    }
    return false;
}

static bool enough(const cell *c, const td_outcome *out, int64_t spent_ns) {
    const td_runner_options *options = c->options;
    int64_t most = out->n_companions > 0 ? TD_COMPANION_SAMPLES : TD_OUTCOME_SAMPLES;
    if (td_interrupted() || out->n_samples >= most) {
        return true;
    }
    if (options->samples) {
        return out->n_samples >= options->samples;
    }
    /* Slow steps: three samples when five would take more than four budgets. */
    int64_t least = is_compared(out)                      ? MIN_ALTERNATIONS
                    : spent_ns > 4 * options->min_time_ns ? 3
                                                          : MIN_SAMPLES;
    return out->n_samples >= least && spent_ns >= options->min_time_ns;
}

/* One sample of every companion, another one first each time. */
static td_status sample_companions(td_bench *bench, int64_t repeat) {
    td_outcome *out = bench->outcome;
    for (int i = 0; i < out->n_companions; i++) {
        int which = (int)((out->n_samples + i) % out->n_companions);
        td_companion *companion = &out->companions[which];
        const td_workload *workload = bench->subject->workload;
        if (companion->state == TD_OUTCOME_OK) {
            TD_TRY(workload->beside(bench, which, repeat, &companion->samples_ns[companion->n]));
            companion->n += workload->rounds ? repeat : 1;
        }
    }
    return TD_OK;
}

/* Samples of a workload that times itself, a few calls at a time: as many as a sample's time has
 * room for. The first round is the warm-up. */
static td_status sample_rounds(cell *c, td_bench *bench) {
    td_rank *rank = bench->rank;
    td_outcome *out = bench->outcome;
    int64_t calls = 1, next,
            most = out->n_companions > 0 ? TD_COMPANION_SAMPLES : TD_OUTCOME_SAMPLES;
    int64_t rounds = out->n_companions > 0 ? MIN_ALTERNATIONS : MIN_SAMPLES;
    int64_t start = td_now_ns();
    double ns[TD_ROUND_CALLS];
    for (int64_t round = 0;; round++) {
        bool done = round > rounds && enough(c, out, td_now_ns() - start);
        int64_t left = (c->options->samples ? c->options->samples : most) - out->n_samples;
        calls = calls < left ? calls : left;
        TD_TRY(agree(c, rank, round, td_interrupted() || done || calls < 1 ? 0 : calls, &next));
        if (next == 0) {
            return TD_OK;
        }
        TD_TRY(bench->subject->workload->rounds(bench, next, ns));
        if (rank->rank == 0 && round > 0) {
            memcpy(&out->samples_ns[out->n_samples], ns, (size_t)next * sizeof *ns);
            TD_TRY(sample_companions(bench, next));
            out->n_samples += next;
        }
        double fit = (double)SAMPLE_NS / (ns[0] > 1 ? ns[0] : 1);
        calls = fit < 1 ? 1 : fit > TD_ROUND_CALLS ? TD_ROUND_CALLS : (int64_t)fit;
        start = round == 0 ? td_now_ns() : start;
    }
}

static td_status sample_steps(cell *c, td_bench *bench) {
    td_rank *rank = bench->rank;
    td_outcome *out = bench->outcome;
    int64_t round = 0, repeat = 1, next;
    double ns;
    /* Calibration is the warm-up as well: the last round is as long as a sample. */
    for (;; round++) {
        TD_TRY(agree(c, rank, round, repeat, &next));
        TD_TRY(take_sample(c, bench, next, &ns));
        double took = ns * (double)next;
        bool done = took >= (double)SAMPLE_NS / 2 || next >= MAX_REPEAT || td_interrupted();
        int64_t more = took > (double)SAMPLE_NS / 16 ? 2 * next : 4 * next;
        TD_TRY(agree(c, rank, ++round, done ? 0 : more, &repeat));
        if (repeat == 0) {
            repeat = next;
            break;
        }
    }
    if (bench->subject->workload->begin) {
        bench->subject->workload->begin(bench);
    }
    int64_t start = td_now_ns();
    for (round++;; round++) {
        int64_t go = rank->rank == 0 && enough(c, out, td_now_ns() - start) ? 0 : repeat;
        TD_TRY(agree(c, rank, round, go, &next));
        if (next == 0) {
            break;
        }
        TD_TRY(take_sample(c, bench, next, &ns));
        if (rank->rank == 0) {
            out->samples_ns[out->n_samples++] = ns;
            TD_TRY(sample_companions(bench, repeat));
        }
    }
    if (rank->rank == 0) {
        out->repeat = repeat;
    }
    return TD_OK;
}

static td_status sample_all(cell *c, td_bench *bench) {
    td_rank *rank = bench->rank;
    td_outcome *out = bench->outcome;
    noise before = read_noise();
    if (rank->rank == 0) {
        out->repeat = 1;
    }
    TD_TRY((bench->subject->workload->rounds ? sample_rounds : sample_steps)(c, bench));
    noise after = read_noise();
    if (rank->rank == 0) {
        int64_t passed = after.ticks.total - before.ticks.total;
        out->steal_pct =
            passed > 0 ? 100.0 * (double)(after.ticks.stolen - before.ticks.stolen) / (double)passed
                       : 0;
    }
    if (rank->rank == 0 || rank->kind != TD_RANK_THREAD) {
        atomic_fetch_add_explicit(&out->involuntary_switches, after.switches - before.switches,
                                  memory_order_relaxed);
    }
    if (bench->subject->workload->finish) {
        bench->subject->workload->finish(bench);
    }
    return TD_OK;
}

static td_status create_team(td_bench *bench) {
    td_rank *rank = bench->rank;
    TD_TRY(td_team_create(&(td_team_options){.workers = rank->workers,
                                             .pu = rank->pu,
                                             .scratch_bytes = bench->scratch_bytes,
                                             .shares_cpus = rank->shares_cpus},
                          &bench->team));
    return TD_OK;
}

/* Before the team ends: where its workers are bound now, after all that ran in between. */
static void read_bindings(td_bench *bench) {
    const td_rank *rank = bench->rank;
    td_outcome *out = bench->outcome;
    int *pu = out->binding + rank->rank * rank->workers;
    int bound = 0;
    for (int i = 0; rank->apart && i < rank->count * rank->workers; i++) {
        out->binding[i] = -1; /* those of other ranks are in their processes */
    }
    td_team_bindings(bench->team, pu);
    for (int i = 0; i < rank->workers; i++) {
        bound += pu[i] >= 0 && pu[i] == rank->pu[i];
    }
    atomic_fetch_add(&out->workers_bound, bound);
    atomic_fetch_add(&out->workers_read, rank->workers);
    if (rank->rank == 0 && rank->pu[0] >= 0 && td_team_note(bench->team)) {
        snprintf(out->binding_note, sizeof out->binding_note, "%s", td_team_note(bench->team));
    }
}

/* The check in every rank; one failure is everybody's. */
static td_status verify(cell *c, td_bench *bench, bool *good) {
    td_status status = bench->subject->workload->verify(bench);
    if (status == TD_OK && c->options->inject.kind == TD_INJECT_WRONG && bench->rank->rank == 0) {
        status = td_fail(TD_ECHECK, "a failed check was injected");
    }
    if (bench->rank->kind == TD_RANK_MPI && (status == TD_OK || status == TD_ECHECK)) {
        status = td_mpi_agree(status);
    }
    if (status == TD_ECHECK && !atomic_exchange(&c->shared->failed, 1)) {
        snprintf(bench->outcome->reason, sizeof bench->outcome->reason, "%s", td_error());
    } else if (status != TD_OK && status != TD_ECHECK) {
        return status;
    }
    if (bench->rank->count > 1) {
        TD_TRY(td_rank_barrier(bench->rank));
    }
    *good = !atomic_load(&c->shared->failed);
    return TD_OK;
}

static td_status measure(cell *c, td_bench *bench) {
    const td_workload *workload = bench->subject->workload;
    TD_TRY(workload->setup(bench));
    if (!workload->own_team) {
        TD_TRY(create_team(bench));
    }
    bool good;
    TD_TRY(verify(c, bench, &good));
    if (!good) {
        if (bench->rank->rank == 0) {
            bench->outcome->state = TD_OUTCOME_FAILED;
        }
        return TD_OK;
    }
    if (c->options->inject.kind == TD_INJECT_CRASH) {
        raise(SIGSEGV);
    }
    if (bench->rank->rank == 0) {
        workload->cost(bench, &bench->outcome->cost);
    }
    if (!workload->observes) {
        TD_TRY(sample_all(c, bench));
    }
    if (bench->rank->rank == 0 && bench->outcome->n_samples > 0) {
        bench->outcome->state = TD_OUTCOME_OK;
    }
    return TD_OK;
}

static td_status rank_main(td_rank *rank, void *arg) {
    cell *c = arg;
    td_bench bench = {.subject = c->subject,
                      .settings = c->options->settings,
                      .rank = rank,
                      .outcome = &c->shared->outcome,
                      .expected_sha256 = c->expected_sha256};
    td_status status = measure(c, &bench);
    if (status == TD_OK && bench.team) {
        read_bindings(&bench);
    }
    td_team_destroy(bench.team);
    if (bench.state) {
        c->subject->workload->teardown(&bench);
    }
    return status;
}

/* In the process of the case. */
static void run_cell(cell *c) {
    td_group_options group = {.layout = *c->layout, .topology = c->options->topology};
    int64_t segment = 0;
    td_status status = TD_OK;
    if (c->subject->workload->segment) {
        status = c->subject->workload->segment(c->subject, c->layout, &segment);
    }
    group.segment_bytes = (size_t)(segment > 0 ? segment : 4096);
    group.deadline_ns = c->options->limit_ns;
    if (status == TD_OK && c->layout->kind == TD_RANK_MPI && td_mpi_hosts() > 1 &&
        !c->subject->workload->apart) {
        status = td_fail(TD_ESKIP, "its ranks are on %d hosts; this works in memory in common",
                         td_mpi_hosts());
    }
    if (status == TD_OK) {
        status = td_group_run(&group, rank_main, c);
    }
    c->shared->finished = true;
    c->shared->status = (int)status;
    snprintf(c->shared->error, sizeof c->shared->error, "%s", status == TD_OK ? "" : td_error());
}

/* Waits for the process of a case; forwards one interrupt to it. */
static td_status wait_cell(pid_t pid, const td_runner_options *options, td_runner_tick *tick,
                           void *arg, int *how, bool *late) {
    int64_t start = td_now_ns();
    bool forwarded = false;
    *late = false;
    for (;;) {
        pid_t done = waitpid(pid, how, WNOHANG);
        if (done == pid) {
            return TD_OK;
        }
        if (done < 0 && errno != EINTR) {
            return td_fail(TD_ESYS, "wait for a case: %s", strerror(errno));
        }
        if (td_interrupted() && !forwarded) {
            forwarded = true;
            kill(pid, SIGINT);
        }
        if (options->limit_ns && td_now_ns() - start > options->limit_ns) {
            *late = true;
            kill(pid, SIGKILL);
        }
        if (tick) {
            tick(arg);
        }
        /* Short cases end soon; a long one needs no quick answer. */
        int64_t nap = td_now_ns() - start < 4 * TICK_NS ? TICK_NS / 20 : TICK_NS;
        nanosleep(&(struct timespec){.tv_nsec = nap}, NULL);
    }
}

/* Ranks that MPI has started are the processes of the case: nobody watches over them but MPI. */
static bool runs_here(const td_layout *layout) {
    return layout->kind == TD_RANK_MPI && layout->ranks > 1;
}

static void conclude(shared *all, int how, bool late, const td_runner_options *options) {
    td_outcome *out = &all->outcome;
    if (late) {
        out->state = TD_OUTCOME_FAILED;
        snprintf(out->reason, sizeof out->reason, "not done after %.0f s",
                 (double)options->limit_ns * 1e-9);
    } else if (WIFSIGNALED(how)) {
        out->state = td_interrupted() ? TD_OUTCOME_NONE : TD_OUTCOME_FAILED;
        snprintf(out->reason, sizeof out->reason, "died of %s", strsignal(WTERMSIG(how)));
    } else if (!all->finished) {
        out->state = TD_OUTCOME_FAILED;
        snprintf(out->reason, sizeof out->reason, "its process ended early with status %d",
                 WEXITSTATUS(how));
    } else if (all->status == TD_ESKIP) {
        out->state = TD_OUTCOME_SKIPPED;
        snprintf(out->reason, sizeof out->reason, "%s", all->error);
    } else if (all->status != TD_OK) {
        out->state = td_interrupted() ? TD_OUTCOME_NONE : TD_OUTCOME_FAILED;
        snprintf(out->reason, sizeof out->reason, "%s", all->error);
    }
    if (out->state == TD_OUTCOME_FAILED) {
        out->n_samples = 0;
    }
}

td_status td_runner_run(const td_case *subject, const td_layout *layout,
                        const td_runner_options *options, const char *expected_sha256,
                        td_runner_tick *tick, void *arg, td_outcome *out) {
    shared *all = (shared *)out;
    memset(all, 0, sizeof *all);
    out->max_ulp = -1;
    cell c = {.subject = subject,
              .layout = layout,
              .options = options,
              .expected_sha256 = expected_sha256,
              .shared = all};
    if (runs_here(layout)) {
        run_cell(&c);
        conclude(all, 0, false, options);
        return TD_OK;
    }
    fflush(NULL);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0) {
        return td_fail(TD_ESYS, "start a process for %s: %s", subject->id, strerror(errno));
    }
    if (pid == 0) {
        /* Its own process group: an interrupt of the terminal reaches it once, through us. */
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            run_cell(&c);
        }
        _exit(0);
    }
    int how;
    bool late;
    TD_TRY(wait_cell(pid, options, tick, arg, &how, &late));
    conclude(all, how, late, options);
    return TD_OK;
}

td_status td_runner_outcome_create(td_outcome **out) {
    void *memory =
        mmap(NULL, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return td_fail(TD_ENOMEM, "an outcome of %zu bytes", sizeof(shared));
    }
    *out = &((shared *)memory)->outcome;
    return TD_OK;
}

void td_runner_outcome_destroy(td_outcome *outcome) {
    if (outcome) {
        munmap(outcome, sizeof(shared));
    }
}
