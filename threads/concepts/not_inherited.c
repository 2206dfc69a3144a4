/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

typedef struct child_view {
    long timer_us;
    int pending, blocked;
} child_view;

static void look(td_lab *lab, void *arg) {
    child_view *v = arg;
    struct itimerval timer = {.it_value = {.tv_sec = 500}};
    sigset_t set;
    if (lab->mutant) {
        setitimer(ITIMER_REAL, &timer, NULL);
    }
    getitimer(ITIMER_REAL, &timer);
    v->timer_us = timer.it_value.tv_sec * 1000000 + timer.it_value.tv_usec;
    sigpending(&set);
    v->pending = sigismember(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, NULL, &set);
    v->blocked = sigismember(&set, SIGUSR1);
}

void td_concept_not_inherited(td_lab *lab) {
    child_view *v = td_lab_shared(lab, sizeof *v);
    struct itimerval timer = {.it_value = {.tv_sec = 1000}};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    td_lab_must(lab, setitimer(ITIMER_REAL, &timer, NULL) == 0, "a timer");
    kill(getpid(), SIGUSR1);
    td_lab_wait(lab, td_lab_fork(lab, look, v));
    sigpending(&set);
    td_lab_check(lab, sigismember(&set, SIGUSR1) == 1 && v->pending == 0,
                 "a signal pending for the parent is not pending for the child");
    td_lab_check(lab, v->timer_us == 0, "the parent's timer runs; the child's has %ld us left",
                 v->timer_us);
    td_lab_check(lab, v->blocked == 1, "the mask of blocked signals is inherited");
}
