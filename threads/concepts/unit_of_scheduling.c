/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/procfs.h"

/* A process of three busy threads and one of one, on one CPU: in one session, and each in its own,
 * so that the system's grouping by session does not and does step in.
 *
 * A window ends when all four together have had their time: one that ended with a certain thread's
 * time would be short whenever that thread is charged for what a hypervisor took from it. The
 * middle one of some windows decides, after a while that does not count: what a new group weighs
 * follows the load its threads had on the CPU they came from, which fades by half every 32 ms. */
enum { THREADS = 3, SETTLE_MS = 100, WINDOW_MS = 160, WINDOWS = 3, LIMIT_S = 60 };

typedef struct contest {
    _Atomic int64_t ran_ns[THREADS + 1];
    _Atomic int started, stop;
    bool apart; /* each process is a session of its own */
    td_lab *lab;
} contest;

typedef struct seat {
    contest *all;
    int id;
    bool sleeps;
} seat;

static void burn(contest *c, int id, bool sleeps) {
    td_lab_pin(c->lab, c->lab->cpu[0]);
    atomic_fetch_add(&c->started, 1);
    while (!c->stop) {
        if (sleeps) {
            struct timespec nap = {.tv_nsec = 5000000};
            nanosleep(&nap, NULL);
        }
        c->ran_ns[id] = td_thread_cpu_ns();
    }
}

static void *burn_in_thread(void *arg) {
    seat *s = arg;
    burn(s->all, s->id, s->sleeps);
    return NULL;
}

static void leave_session(const contest *c) {
    if (c->apart) {
        setsid();
    }
}

static void be_three(td_lab *lab, void *arg) {
    leave_session(arg);
    seat seats[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        seats[i] = (seat){.all = arg, .id = i, .sleeps = lab->mutant && i == 2};
        threads[i] = td_lab_thread(lab, burn_in_thread, &seats[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void be_one(td_lab *lab, void *arg) {
    (void)lab;
    leave_session(arg);
    burn(arg, THREADS, false);
}

/* What each has had until now, in ms, and all of them. */
static double take_stock(const contest *c, double ms[THREADS + 1]) {
    double sum = 0;
    for (int i = 0; i <= THREADS; i++) {
        ms[i] = (double)c->ran_ns[i] * 1e-6;
        sum += ms[i];
    }
    return sum;
}

/* The CPU time of the three and of the one while all four together have `enough_ms`. */
static void watch(td_lab *lab, const contest *c, double enough_ms, double *three, double *one) {
    double begin[THREADS + 1], now[THREADS + 1];
    double start = take_stock(c, begin);
    int64_t limit = td_now_ns() + LIMIT_S * INT64_C(1000000000);
    while (take_stock(c, now) - start < enough_ms) {
        td_lab_must(lab, td_now_ns() < limit, "have the CPU for a while");
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    *one = now[THREADS] - begin[THREADS];
    *three = 0;
    for (int i = 0; i < THREADS; i++) {
        *three += now[i] - begin[i];
    }
}

/* The CPU time of the three over that of the one in the middle one of the windows. */
static double compete(td_lab *lab, contest *c) {
    pid_t processes[] = {td_lab_fork(lab, be_three, c), td_lab_fork(lab, be_one, c)};
    td_lab_must(lab, td_lab_await(&c->started, THREADS + 1), "start two processes");
    double three, one, ratios[WINDOWS];
    watch(lab, c, SETTLE_MS, &three, &one);
    for (int i = 0; i < WINDOWS; i++) {
        watch(lab, c, WINDOW_MS, &three, &one);
        ratios[i] = three / (one > 0 ? one : 1);
    }
    c->stop = 1;
    td_lab_wait(lab, processes[0]);
    td_lab_wait(lab, processes[1]);
    return td_lab_median(ratios, WINDOWS);
}

/* Linux can make each session a group that shares the CPU with the others as one; only where no
 * control group has done so already. */
static bool groups_by_session(void) {
    char on[16] = "", groups[4096] = "";
    if (td_proc_read(on, sizeof on, "/proc/sys/kernel/sched_autogroup_enabled") < 0 ||
        td_proc_read(groups, sizeof groups, "/proc/self/cgroup") < 0) {
        return false;
    }
    /* Of version 1 the group for "cpu", else the one of version 2: "NUMBER:CONTROLLERS:PATH". */
    const char *own = strstr(groups, ":cpu:");
    own = own != NULL ? own : strstr(groups, ":cpu,");
    own = own != NULL ? own : strstr(groups, "0::");
    const char *path = own != NULL ? strchr(own, '/') : NULL;
    return on[0] == '1' && (path == NULL || path[1] == '\n' || path[1] == '\0');
}

void td_concept_unit_of_scheduling(td_lab *lab) {
    contest *c = td_lab_shared(lab, sizeof *c);
    c->lab = lab;
    td_lab_needs_binding(lab);
    td_lab_be_ordinary(lab);
    double ratio = compete(lab, c);
    td_lab_number(lab, "share_ratio", ratio);
    td_lab_check(lab, ratio > 2.6 && ratio < 3.4,
                 "on one CPU the process of 3 threads had %.2f times the CPU time of the one of 1",
                 ratio);
    if (lab->mutant) {
        return; /* it is told by now */
    }
    if (!groups_by_session()) {
        td_lab_saw(lab, "sessions are not groups to the scheduler here");
        return;
    }
    *c = (contest){.lab = lab, .apart = true};
    ratio = compete(lab, c);
    td_lab_number(lab, "share_ratio_sessions", ratio);
    td_lab_check(lab, ratio > 0.8 && ratio < 1.25,
                 "each in a session of its own, which the system makes a group: %.2f times", ratio);
}
