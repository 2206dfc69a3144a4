/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static _Atomic int reached;

static int fault(void *arg) {
    reached = 1;
    *(_Atomic int *)arg = 1;
    return 0;
}

typedef struct outcome {
    _Atomic int alive, signal, wrote;
} outcome;

/* In a process of its own, so that the mutant ends no more than this. */
static void share_memory_and_fault(td_lab *lab, void *arg) {
    outcome *o = arg;
    int flags = CLONE_VM | (lab->mutant ? CLONE_THREAD | CLONE_SIGHAND : 0);
    pid_t pid = td_lab_clone(lab, flags, fault, NULL);
    if (lab->mutant) {
        td_lab_await(&o->alive, 1); /* the fault ends this */
    }
    int how = td_lab_wait(lab, pid);
    o->signal = WIFSIGNALED(how) ? WTERMSIG(how) : 0;
    o->wrote = reached;
    o->alive = 1;
}

void td_concept_fault_of_a_sibling(td_lab *lab) {
    outcome *o = td_lab_shared(lab, sizeof *o);
    td_lab_wait(lab, td_lab_fork(lab, share_memory_and_fault, o));
    td_lab_check(lab, o->alive == 1, "a process whose sibling in the same memory faulted %s",
                 o->alive ? "lives" : "died");
    if (o->alive) {
        td_lab_check(lab, o->signal == SIGSEGV,
                     "the sibling died of signal %d (segmentation fault: %d)", o->signal,
                     SIGSEGV);
        td_lab_check(lab, o->wrote == 1, "they did share memory: its last write is there");
    }
}
