/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/procfs.h"

/* A process of three busy threads and one of one, on one CPU: in one session, and each in its own,
 * so that the system's grouping by session does not and does step in. */
enum { THREADS = 3, ENOUGH_MS = 100, LIMIT_S = 30 };

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

/* The CPU time of the three over that of the one, from when all run until the one has had its
 * share. */
static double compete(td_lab *lab, contest *c, double *of_three, double *of_one) {
    pid_t three = td_lab_fork(lab, be_three, c), one = td_lab_fork(lab, be_one, c);
    td_lab_must(lab, td_lab_await(&c->started, THREADS + 1), "start two processes");
    int64_t begin[THREADS + 1], limit = td_now_ns() + LIMIT_S * INT64_C(1000000000);
    for (int i = 0; i <= THREADS; i++) {
        begin[i] = c->ran_ns[i];
    }
    while (c->ran_ns[THREADS] - begin[THREADS] < ENOUGH_MS * INT64_C(1000000) &&
           td_now_ns() < limit) {
        struct timespec nap = {.tv_nsec = 2000000};
        nanosleep(&nap, NULL);
    }
    *of_three = 0;
    *of_one = (double)(c->ran_ns[THREADS] - begin[THREADS]) * 1e-6;
    for (int i = 0; i < THREADS; i++) {
        *of_three += (double)(c->ran_ns[i] - begin[i]) * 1e-6;
    }
    c->stop = 1;
    td_lab_wait(lab, three);
    td_lab_wait(lab, one);
    return *of_one > 0 ? *of_three / *of_one : 0;
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
    double of_three, of_one;
    c->lab = lab;
    td_lab_needs_binding(lab);
    double ratio = compete(lab, c, &of_three, &of_one);
    td_lab_number(lab, "share_ratio", ratio);
    td_lab_check(lab, ratio > 2.5 && ratio < 3.6,
                 "the process of 3 threads had %.0f ms of CPU, the one of 1 had %.0f: %.2f to 1",
                 of_three, of_one, ratio);
    if (!groups_by_session()) {
        td_lab_saw(lab, "sessions are not groups to the scheduler here");
        return;
    }
    *c = (contest){.lab = lab, .apart = true};
    ratio = compete(lab, c, &of_three, &of_one);
    td_lab_number(lab, "share_ratio_sessions", ratio);
    /* Nearer to 1 than to 3: a new group's weight takes a while to settle beside other programs. */
    td_lab_check(lab, ratio > 0.5 && ratio < 1.8,
                 "each in a session of its own, which the system makes a group: %.0f ms and %.0f "
                 "ms, %.2f to 1",
                 of_three, of_one, ratio);
}
