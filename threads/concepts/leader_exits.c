/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/procfs.h"

typedef struct view {
    _Atomic int tid, seen;
    char state;
    int tasks;
} view;

static td_lab *the_lab;

static void *go_on(void *arg) {
    view *v = arg;
    td_proc_stat stat;
    int tid[8];
    /* The leader ends in truth and blocks in the mutant. On its way out it may sleep for a moment,
     * and its file may not be readable. */
    char expected = the_lab->mutant ? 'S' : 'Z';
    int64_t end = td_now_ns() + INT64_C(20000000000);
    while (!(td_proc_stat_read(getpid(), getpid(), &stat) && stat.state == expected) &&
           td_now_ns() < end) {
        td_lab_nap();
    }
    v->state = stat.state;
    v->tasks = td_proc_tasks(getpid(), tid, 8);
    atomic_store(&v->seen, 1);
    _exit(3);
}

static void leave(td_lab *lab, void *arg) {
    td_lab_thread(lab, go_on, arg);
    if (lab->mutant) {
        pause();
    }
    /* Not pthread_exit: it unwinds the stack, and a caller written in C++ may not be unwound so. */
    syscall(SYS_exit, 0);
}

void td_concept_leader_exits(td_lab *lab) {
    view *v = td_lab_shared(lab, sizeof *v);
    the_lab = lab;
    int how = td_lab_wait(lab, td_lab_fork(lab, leave, v));
    td_lab_check(lab, v->state == 'Z',
                 "the first thread has ended; by its line in /proc the process is '%c' (Z: dead)",
                 v->state);
    td_lab_check(lab, v->tasks == 2, "yet %d tasks are there and one of them runs", v->tasks);
    td_lab_check(lab, how >> 8 == 3, "the process ended with that thread's status %d", how >> 8);
}
