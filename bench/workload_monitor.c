/* SPDX-License-Identifier: Apache-2.0
 * What it costs to watch threads: a lock with the monitoring of contention off, against the same
 * lock without it and with it on; 64 threads listed; 64 threads watched for deadlocks, by the
 * look; and 64 stacks of this process read, against the least that any signal to each of them
 * costs.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/aligned.h"
#include "base/clock.h"
#include "base/memory.h"
#include "bench/case.h"
#include "bench/plain_lock.h"
#include "bench/step_count.h"
#include "bench/ways.h"
#include "threads/lock.h"
#include "threads/monitor.h"
#include "threads/stack.h"
#include "threads/wait.h"
#include "threads/watch.h"

enum { LOCK, LIST, STACKS, WATCH, KINDS };
enum { PLAIN, MONITORED }; /* companions of the lock */
enum { PAIRS = 1000, THREADS = 64, FRAMES = 64, LOOKS = 64 };

static const char *const names[KINDS] = {"lock", "list", "stacks", "watch"};

/* Each lock in a line of its own: which other words lie beside it is not to matter. */
typedef struct monitor_state {
    _Alignas(128) td_mutex mutex;
    _Alignas(128) td_plain_lock plain;
    _Alignas(128) pthread_t thread[THREADS];
    _Atomic int tid[THREADS], started;
    int created;
    sem_t end;
    td_stacks *stacks;
    td_watch *watch;
    td_frame frame[FRAMES];
    int64_t stopped_ns, reads;
} monitor_state;

static td_status list_monitor(const td_workload *self, td_case_list *list) {
    for (int i = 0; i < KINDS; i++) {
        td_case *added = td_case_add(list, self, "threads/monitor/%s", names[i]);
        added->param[0] = i;
        added->quick = true;
        added->seconds = 0.3;
    }
    return TD_OK;
}

static bool fits_monitor(const td_case *subject, const td_layout *layout) {
    (void)subject;
    return layout->ranks == 1 && layout->workers == 1;
}

static void *sleep_until_the_end(void *arg) {
    monitor_state *s = arg;
    s->tid[atomic_fetch_add(&s->started, 1)] = (int)syscall(SYS_gettid);
    while (sem_wait(&s->end) != 0 && errno == EINTR) {
    }
    return NULL;
}

static td_status start_sleepers(monitor_state *s) {
    for (; s->created < THREADS; s->created++) {
        if (pthread_create(&s->thread[s->created], NULL, sleep_until_the_end, s) != 0) {
            return td_fail(TD_ESYS, "thread %d of %d", s->created, THREADS);
        }
    }
    for (int i = 0, turns = 0; i < THREADS; i++) {
        while (s->tid[i] == 0) {
            td_wait_turn(&turns);
        }
    }
    return TD_OK;
}

static td_status setup_monitor(td_bench *bench) {
    monitor_state *s = td_alloc_aligned(_Alignof(monitor_state), sizeof *s);
    if (s == NULL) {
        return td_fail(TD_ENOMEM, "a monitor case");
    }
    bench->state = s;
    sem_init(&s->end, 0, 0);
    if (bench->subject->param[0] == LOCK) {
        td_way_beside(bench, &(td_way){.name = "plain"});
        td_way_beside(bench, &(td_way){.name = "monitored"});
        return TD_OK;
    }
    TD_TRY(start_sleepers(s));
    if (bench->subject->param[0] == WATCH) {
        int pid = (int)getpid();
        return td_watch_open(&pid, 1, &s->watch);
    }
    if (bench->subject->param[0] == STACKS) {
        TD_TRY(td_stacks_open((int)getpid(), &s->stacks));
        td_way_beside(bench, &(td_way){.name = "signal"});
    }
    return TD_OK;
}

static void teardown_monitor(td_bench *bench) {
    monitor_state *s = bench->state;
    for (int i = 0; i < s->created; i++) {
        sem_post(&s->end);
    }
    for (int i = 0; i < s->created; i++) {
        pthread_join(s->thread[i], NULL);
    }
    td_stacks_close(s->stacks);
    td_watch_close(s->watch);
    td_free(s);
}

static td_status list_threads(const monitor_state *s) {
    td_thread_list list;
    int pid = (int)getpid();
    TD_TRY(td_monitor_list(&pid, 1, &list));
    int count = list.count;
    td_thread_list_destroy(&list);
    return count > s->created ? TD_OK : td_fail(TD_ECHECK, "%d threads are listed", count);
}

static td_status watch_threads(const monitor_state *s) {
    td_thread_list found;
    TD_TRY(td_watch_run(s->watch, LOOKS, 0, &found));
    int deadlocks = found.deadlocks;
    td_thread_list_destroy(&found);
    return deadlocks == 0 && td_watch_count(s->watch).threads > s->created
               ? TD_OK
               : td_fail(TD_ECHECK, "%d threads are watched, %d deadlocks seen",
                         td_watch_count(s->watch).threads, deadlocks);
}

/* Every stack must lead to where the thread sleeps. */
static td_status read_stacks(monitor_state *s) {
    for (int i = 0; i < THREADS; i++) {
        int count;
        int64_t stopped_ns;
        bool found = false;
        TD_TRY(td_stacks_read(s->stacks, s->tid[i], s->frame, FRAMES, &count, &stopped_ns));
        for (int k = 0; k < count && !found; k++) {
            found = strcmp(s->frame[k].function, "sleep_until_the_end") == 0;
        }
        if (!found) {
            return td_fail(TD_ECHECK, "a stack of %d frames does not show its thread", count);
        }
        s->stopped_ns += stopped_ns;
        s->reads++;
    }
    return TD_OK;
}

static void lock_often(td_mutex *mutex) {
    for (int i = 0; i < PAIRS; i++) {
        td_mutex_lock(mutex);
        td_mutex_unlock(mutex);
    }
}

static td_status step_monitor(td_bench *bench) {
    monitor_state *s = bench->state;
    switch (bench->subject->param[0]) {
    case LIST:
        return list_threads(s);
    case STACKS:
        return read_stacks(s);
    case WATCH:
        return watch_threads(s);
    default:
        lock_often(&s->mutex);
        return TD_OK;
    }
}

static td_status verify_monitor(td_bench *bench) {
    monitor_state *s = bench->state;
    td_mutex_monitor(true);
    lock_often(&s->mutex);
    td_mutex_monitor(false);
    snprintf(bench->outcome->method, sizeof bench->outcome->method,
             "counted locks, listed threads, named frames");
    return s->mutex.acquired == PAIRS
               ? step_monitor(bench)
               : td_fail(TD_ECHECK, "%lld locks were counted", (long long)s->mutex.acquired);
}

static _Atomic int answers;

static void answer(int signal) {
    (void)signal;
    atomic_fetch_add_explicit(&answers, 1, memory_order_release);
}

static void signal_each(const monitor_state *s) {
    for (int i = 0; i < THREADS; i++) {
        int before = atomic_load(&answers), turns = 0;
        syscall(SYS_tgkill, getpid(), s->tid[i], td_stack_signal() + 1);
        while (atomic_load_explicit(&answers, memory_order_acquire) == before) {
            td_wait_turn(&turns); /* it may need this CPU to answer */
        }
    }
}

static void run_beside(monitor_state *s, bool lock, int companion) {
    if (!lock) {
        signal_each(s);
    } else if (companion == MONITORED) {
        td_mutex_monitor(true);
        lock_often(&s->mutex);
        td_mutex_monitor(false);
    } else {
        for (int i = 0; i < PAIRS; i++) {
            td_plain_take(&s->plain);
            td_plain_give(&s->plain);
        }
    }
}

static td_status beside_monitor(td_bench *bench, int companion, int64_t repeat, double *ns) {
    signal(td_stack_signal() + 1, answer);
    int64_t start = td_now_ns();
    for (int64_t i = 0; i < repeat; i++) {
        run_beside(bench->state, bench->subject->param[0] == LOCK, companion);
    }
    *ns = (double)(td_now_ns() - start) / (double)repeat;
    return TD_OK;
}

static void watched_turn(void *mutex) {
    td_mutex_lock(mutex);
    td_mutex_unlock(mutex);
}

static void plain_turn(void *lock) {
    td_plain_take(lock);
    td_plain_give(lock);
}

/* What times cannot show: two copies of one code differ by more. */
static void count_instructions(monitor_state *s, td_outcome *out) {
    int64_t off = td_step_count(watched_turn, &s->mutex);
    int64_t plain = td_step_count(plain_turn, &s->plain);
    td_mutex_monitor(true);
    int64_t on = td_step_count(watched_turn, &s->mutex);
    td_mutex_monitor(false);
    if (off > 0 && plain > 0 && on > 0) {
        td_outcome_number(out, "instructions", (double)off);
        td_outcome_number(out, "instructions_plain", (double)plain);
        td_outcome_number(out, "instructions_monitored", (double)on);
    }
}

static void finish_monitor(td_bench *bench) {
    monitor_state *s = bench->state;
    if (bench->subject->param[0] == LOCK) {
        td_way_compare(bench->outcome, PLAIN, true, "over_plain");
        td_way_compare(bench->outcome, MONITORED, false, "times_monitored");
        count_instructions(s, bench->outcome);
    } else if (bench->subject->param[0] == STACKS) {
        td_way_compare(bench->outcome, 0, true, "over_signal");
        td_outcome_number(bench->outcome, "stood_still_ns",
                          (double)s->stopped_ns / (double)s->reads);
    }
}

static void cost_monitor(const td_bench *bench, td_cost *out) {
    int64_t kind = bench->subject->param[0];
    *out = (td_cost){.value = TD_VALUE_TIME,
                     .items = kind == LOCK    ? PAIRS
                              : kind == WATCH ? LOOKS
                                              : THREADS};
}

const td_workload td_workload_monitor = {
    .name = "monitor",
    .list = list_monitor,
    .fits = fits_monitor,
    .setup = setup_monitor,
    .verify = verify_monitor,
    .step = step_monitor,
    .beside = beside_monitor,
    .cost = cost_monitor,
    .finish = finish_monitor,
    .teardown = teardown_monitor,
};
