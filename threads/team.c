/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/team.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/aligned.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "threads/create.h"
#include "threads/layout.h"
#include "threads/numa.h"
#include "threads/stack.h"
#include "threads/team_state.h"

static uint64_t ticks_between(uint64_t from, uint64_t to) {
    return to > from ? to - from : 0;
}

/* The wait between this worker's end of its last region and the end of that region itself. */
static uint64_t tail_ticks(uint64_t closed_tsc, const td_member *self) {
    return self->regions == 0 ? 0 : ticks_between(self->end_tsc, closed_tsc);
}

static void run_region(td_team *team, td_member *self) {
    uint64_t begin = td_tsc(), tail = tail_ticks(team->door.closed_before, self);
    uint64_t late = ticks_between(team->door.open_tsc, begin);
    const td_team *outer = td_team_inside;
    td_team_inside = team;
    td_mode_take(team->door.mode);
    team->door.fn(team->door.arg, &self->worker);
    td_team_inside = outer;
    self->cpu = sched_getcpu();
    self->regions++;
    self->end_tsc = td_tsc();
    self->open_ticks += ticks_between(begin, self->end_tsc) + late + tail;
    self->wait_ticks += late + tail;
}

static void bind_member(td_member *self) {
    if (self->pu >= 0) {
        self->bind_error = td_bind_pu(self->pu);
        self->bound = self->bind_error == 0;
    }
    self->cpu = sched_getcpu();
    self->tid = gettid();
}

static void set_up_member(td_member *self) {
    td_cpu_flush_denormals();
    bind_member(self);
    self->status = td_arena_create((size_t)self->worker.scratch_bytes, &self->scratch);
    if (self->status == TD_OK && self->worker.scratch_bytes > 0) {
        self->worker.scratch = self->scratch.base;
        self->status = td_numa_first_touch(self->scratch.base, self->scratch.bytes);
    }
    if (self->status != TD_OK) {
        snprintf(self->message, sizeof self->message, "%s", td_error());
    }
}

static void *worker_main(void *arg) {
    td_member *self = arg;
    td_team *team = self->worker.team;
    set_up_member(self);
    if (td_meeting_arrive(&team->join, self->worker.id, team->count)) {
        td_event_advance(&team->join.line.passed, &team->rule);
    }
    for (uint32_t seen = 0;;) {
        /* Counted apart and added inside the region, where the caller does not read them. */
        td_wait_counts waits = {0};
        td_event_wait(&team->door.start, seen + 1, &team->rule, 0, &waits);
        /* acquire pairs with the release in td_team_publish: the region is what it says. Perhaps a
         * later one than was waited for: regions of tiles do not wait for late workers. */
        uint64_t state = atomic_load_explicit(&team->door.state, memory_order_acquire);
        seen = (uint32_t)(state >> 32);
        if (!(state & TD_TEAM_ALL)) {
            td_team_join_tiles(team, self, state);
            continue;
        }
        if (team->door.fn == NULL) {
            return NULL;
        }
        self->waits.parks += waits.parks;
        self->waits.yields += waits.yields;
        self->waits.foreign += waits.foreign;
        run_region(team, self);
        if (td_meeting_arrive(&team->join, self->worker.id, team->count)) {
            td_event_advance(&team->join.line.passed, &team->rule);
        }
    }
}

/* Worker 0's side of the join: the caller alone waits there. woke: it had to wake workers, which
 * will be here soon. */
static void join_region(td_team *team, bool woke) {
    td_member *self = &team->members[0];
    uint32_t target = atomic_load_explicit(&team->join.line.passed.value, memory_order_relaxed) + 1;
    if (td_meeting_arrive(&team->join, 0, team->count)) {
        td_event_advance(&team->join.line.passed, &team->rule);
    } else {
        td_event_wait(&team->join.line.passed, target, woke ? &team->rule_woken : &team->rule, 0,
                      &self->waits);
    }
}

/* Ends workers 1 to created, whatever they have set up, and gives everything back. */
static void end_team(td_team *team, int created) {
    team->door.fn = NULL;
    if (team->forks == td_team_forks()) { /* else the threads are not in this process */
        td_team_publish(team, TD_TEAM_ALL, true);
        for (int i = 1; i <= created; i++) {
            pthread_join(team->members[i].thread, NULL);
        }
    }
    for (int i = 0; i < team->count; i++) {
        td_arena_destroy(&team->members[i].scratch);
    }
    td_bind_set(&team->caller_mask);
    td_free(team);
}

static int start_workers(td_team *team, int *created) {
    /* Signals go to the thread that owns the program, so that a wait in a worker is never cut
     * short. Faults of the worker itself, and what asks for its stack, stay deliverable. */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGPROF};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        sigdelset(&blocked, faults[i]);
    }
    sigdelset(&blocked, td_stack_signal());
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = 0;
    for (*created = 0; *created < team->count - 1 && error == 0;) {
        td_member *next = &team->members[*created + 1];
        error = pthread_create(&next->thread, NULL, worker_main, next);
        if (error == 0) {
            char name[16];
            snprintf(name, sizeof name, "worker-%d", next->worker.id);
            pthread_setname_np(next->thread, name);
            ++*created;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* One block: the team, its members, and the counters of its two meetings. */
static td_status allocate_team(int count, td_team **out) {
    size_t team_bytes = sizeof(td_team) + (size_t)count * sizeof(td_member);
    size_t bytes = team_bytes + 2 * td_meeting_counters(count) * sizeof(td_meeting_counter);
    unsigned char *base = td_alloc_aligned(_Alignof(td_team), bytes);
    if (base == NULL) {
        return td_fail(TD_ENOMEM, "a team of %d workers needs %zu bytes", count, bytes);
    }
    td_team *team = (td_team *)base;
    td_meeting_counter *next = (td_meeting_counter *)(base + team_bytes);
    td_meeting_init(&team->join, count, &next);
    td_meeting_init(&team->barrier, count, &next);
    team->count = count;
    *out = team;
    return TD_OK;
}

/* The first refused binding, as a sentence. */
static void note_bindings(td_team *team) {
    for (int i = team->count - 1; i >= 0; i--) {
        const td_member *self = &team->members[i];
        if (self->bind_error != 0) {
            snprintf(team->note, sizeof team->note, "worker %d is not bound to PU %d: %s", i,
                     self->pu,
                     self->bind_error == EXDEV ? "the system accepted it and did otherwise"
                                               : strerror(self->bind_error));
        }
    }
}

td_status td_team_create(const td_team_options *options, td_team **out) {
    int count = options->workers;
    if (count < 1 || count > TD_MAX_WORKERS) {
        return td_fail(TD_EUSAGE, "a team of %d workers; expected 1 to %d", count, TD_MAX_WORKERS);
    }
    td_team *team = NULL;
    TD_TRY(allocate_team(count, &team));
    team->rule = td_wait_rule_make(options->shares_cpus, false);
    team->rule_woken = td_wait_rule_woken(&team->rule);
    team->tsc_hz = td_tsc_hz();
    td_team_count_forks();
    team->forks = td_team_forks();
    td_bind_get(&team->caller_mask);
    for (int i = 0; i < count; i++) {
        td_member *self = &team->members[i];
        self->worker = (td_worker){
            .id = i, .count = count, .team = team, .scratch_bytes = options->scratch_bytes};
        self->pu = options->pu == NULL ? -1 : options->pu[i];
    }
    int created, error = start_workers(team, &created);
    if (error != 0) {
        end_team(team, created);
        return td_fail(TD_ESYS, "create thread %d of %d: %s", created + 1, count - 1,
                       td_create_error(error));
    }
    set_up_member(&team->members[0]);
    join_region(team, false);
    for (int i = 0; i < count; i++) {
        td_member *self = &team->members[i];
        if (self->status != TD_OK) {
            td_status status = td_fail(self->status, "worker %d: %s", i, self->message);
            end_team(team, created);
            return status;
        }
        self->waits = (td_wait_counts){0};
    }
    note_bindings(team);
    *out = team;
    return TD_OK;
}

void td_team_destroy(td_team *team) {
    if (team != NULL) {
        TD_ASSERT(!team->running);
        end_team(team, team->count - 1);
    }
}

int td_team_size(const td_team *team) {
    return team->count;
}

int td_team_bound(const td_team *team) {
    int bound = 0;
    for (int i = 0; i < team->count; i++) {
        bound += team->members[i].bound;
    }
    return bound;
}

void td_team_bindings(const td_team *team, int *pu) {
    for (int i = 0; i < team->count; i++) {
        td_cpu_mask mask;
        td_bind_get_of(team->members[i].tid, &mask);
        pu[i] = td_cpu_mask_only(&mask);
    }
}

const char *td_team_note(const td_team *team) {
    return team->note[0] == '\0' ? NULL : team->note;
}

void td_team_run(td_team *team, td_region_fn *fn, void *arg) {
    TD_ASSERT(fn != NULL && !team->running);
    team->running = true;
    team->door.fn = fn;
    team->door.arg = arg;
    team->door.closed_before = team->closed_tsc;
    team->door.open_tsc = td_tsc();
    team->door.mode = td_mode_now();
    bool woke = atomic_load_explicit(&team->door.start.parked, memory_order_relaxed) > 0;
    if (team->count > 1) {
        TD_ASSERT(team->forks == td_team_forks());
        td_team_publish(team, TD_TEAM_ALL, true);
    }
    run_region(team, &team->members[0]);
    join_region(team, woke);
    team->closed_tsc = td_tsc();
    team->running = false;
}

void td_team_let_pass(td_team *team, bool judge) {
    if (judge) {
        /* acquire pairs with the release of who failed; relaxed stores: `passed` releases them. A
         * verdict is written again two meetings later, when all have read it. */
        uint32_t meeting =
            atomic_load_explicit(&team->barrier.line.passed.value, memory_order_relaxed) + 1;
        int cancelled = atomic_load_explicit(&team->cancelled, memory_order_acquire);
        atomic_store_explicit(&team->verdict[meeting & 1], cancelled, memory_order_relaxed);
    }
    td_event_advance(&team->barrier.line.passed, &team->rule);
}

bool td_team_pass(td_worker *worker, bool judge) {
    td_team *team = worker->team;
    if (worker->count == 1) {
        return judge && atomic_load_explicit(&team->cancelled, memory_order_relaxed);
    }
    td_member *self = &team->members[worker->id];
    self->barriers++;
    uint32_t target =
        atomic_load_explicit(&team->barrier.line.passed.value, memory_order_relaxed) + 1;
    if (td_meeting_arrive(&team->barrier, worker->id, team->count)) {
        td_team_let_pass(team, judge);
    } else {
        uint64_t begin = td_tsc();
        td_event_wait(&team->barrier.line.passed, target, &team->rule, 0, &self->waits);
        self->wait_ticks += ticks_between(begin, td_tsc());
    }
    return judge && atomic_load_explicit(&team->verdict[target & 1], memory_order_relaxed);
}

void td_team_barrier(td_worker *worker) {
    td_team_pass(worker, false);
}

void td_team_stats(td_team *team, td_worker_stats *out, bool reset) {
    TD_ASSERT(!team->running);
    double ns_per_tick = 1e9 / team->tsc_hz;
    for (int i = 0; i < team->count; i++) {
        td_member *self = &team->members[i];
        uint64_t tail = tail_ticks(team->closed_tsc, self);
        out[i] = (td_worker_stats){
            .regions = self->regions,
            .barriers = self->barriers,
            .parks = self->waits.parks,
            .yields = self->waits.yields,
            .foreign = self->waits.foreign,
            .tiles = self->tiles,
            .joined = self->joined,
            .wait_ns = (int64_t)((double)(self->wait_ticks + tail) * ns_per_tick),
            .busy_ns = (int64_t)((double)(self->open_ticks - self->wait_ticks) * ns_per_tick),
            .cpu = self->cpu,
            .bound = self->bound,
        };
        if (reset) {
            self->regions = self->barriers = self->tiles = self->joined = 0;
            self->waits = (td_wait_counts){0};
            self->open_ticks = self->wait_ticks = 0;
        }
    }
}
