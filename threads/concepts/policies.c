/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* An ordinary thread and an idle one on one CPU, until both together have had ENOUGH_MS. An idle
 * one weighs 3 where an ordinary one weighs 1,024. */
enum { ENOUGH_MS = 100, LIMIT_S = 60, NOBODY = 65534 };

typedef struct runner {
    td_lab *lab;
    bool idle;
    _Atomic int policy, started;
    _Atomic int *stop;
    _Atomic int64_t ran_ns;
} runner;

static void *run(void *arg) {
    runner *r = arg;
    struct sched_param none = {.sched_priority = 0};
    td_lab_pin(r->lab, r->lab->cpu[0]);
    if (r->idle) {
        td_lab_must(r->lab, sched_setscheduler(0, SCHED_IDLE, &none) == 0, "be an idle thread");
    }
    r->policy = sched_getscheduler(0);
    r->started = 1;
    while (!*r->stop) {
        r->ran_ns = td_thread_cpu_ns();
    }
    return NULL;
}

static void compete(td_lab *lab, runner pair[2], double ms[2]) {
    pthread_t threads[2];
    double begin[2];
    for (int i = 0; i < 2; i++) {
        threads[i] = td_lab_thread(lab, run, &pair[i]);
        td_lab_must(lab, td_lab_await(&pair[i].started, 1), "start a thread");
    }
    for (int i = 0; i < 2; i++) {
        begin[i] = (double)pair[i].ran_ns * 1e-6;
    }
    int64_t limit = td_now_ns() + LIMIT_S * INT64_C(1000000000);
    do {
        td_lab_must(lab, td_now_ns() < limit, "have the CPU for a while");
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        for (int i = 0; i < 2; i++) {
            ms[i] = (double)pair[i].ran_ns * 1e-6 - begin[i];
        }
    } while (ms[0] + ms[1] < ENOUGH_MS);
    *pair[0].stop = 1;
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

/* What a user without rights is told who asks for real-time priority. */
static void ask_for_real_time(td_lab *lab, void *arg) {
    (void)lab;
    struct sched_param urgent = {.sched_priority = 1};
    if (geteuid() == 0 && syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY) != 0) {
        *(_Atomic int *)arg = -1;
        return;
    }
    *(_Atomic int *)arg = sched_setscheduler(0, SCHED_FIFO, &urgent) == 0 ? 0 : errno;
}

void td_concept_policies(td_lab *lab) {
    _Atomic int stop = 0, *answer = td_lab_shared(lab, sizeof *answer);
    runner pair[2] = {{.lab = lab, .stop = &stop},
                      {.lab = lab, .stop = &stop, .idle = !lab->mutant}};
    double ms[2];
    td_lab_needs_binding(lab);
    td_lab_be_ordinary(lab);
    compete(lab, pair, ms);
    td_lab_check(lab, pair[0].policy == SCHED_OTHER && pair[1].policy == SCHED_IDLE,
                 "of two threads of one process one was ordinary, the other %s",
                 pair[1].policy == SCHED_IDLE ? "idle" : "too");
    td_lab_check(lab, ms[1] < ms[0] / 4,
                 "both busy on one CPU, the ordinary one had %.0f ms of it and the other %.0f",
                 ms[0], ms[1]);
    td_lab_number(lab, "idle_share_pct", 100 * ms[1] / (ms[0] + ms[1]));
    td_lab_wait(lab, td_lab_fork(lab, ask_for_real_time, (void *)answer));
    if (*answer == EPERM) {
        td_lab_saw(lab, "a user without rights may not ask for real-time priority: %s",
                   strerror(*answer));
    }
}
