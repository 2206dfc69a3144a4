/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sys/syscall.h>
#include <unistd.h>

typedef struct names {
    int pid, tid, waited;
    pid_t child;
} names;

static int cached_tid;

static void name(names *n) {
    n->pid = getpid();
    n->tid = (int)syscall(SYS_gettid);
}

static void *name_in_thread(void *arg) {
    names *n = arg;
    name(n);
    n->waited = n->child > 0;
    return NULL;
}

static void name_in_child(td_lab *lab, void *arg) {
    names *n = arg;
    name(n);
    if (lab->mutant) {
        n->tid = cached_tid;
    }
}

static td_lab *the_lab;
static void *wait_in_thread(void *arg) {
    names *n = arg;
    n->waited = td_lab_wait(the_lab, n->child) == 0;
    return NULL;
}

void td_concept_identity(td_lab *lab) {
    names *n = td_lab_shared(lab, 3 * sizeof *n);
    the_lab = lab;
    name(&n[0]);
    cached_tid = n[0].tid;
    pthread_join(td_lab_thread(lab, name_in_thread, &n[1]), NULL);
    td_lab_check(lab, n[0].pid == n[1].pid, "two threads have one process id, %d", n[0].pid);
    td_lab_check(lab, n[0].tid != n[1].tid, "and a thread id each");
    td_lab_check(lab, n[0].tid == n[0].pid, "the first thread's is the process id");
    n[2].child = td_lab_fork(lab, name_in_child, &n[2]);
    pthread_join(td_lab_thread(lab, wait_in_thread, &n[2]), NULL);
    td_lab_check(lab, n[2].waited, "a thread waited for the child that another forked");
    td_lab_check(lab, n[2].pid != n[0].pid && n[2].tid == n[2].pid,
                 "the child has a process id of its own, and that is its thread id");
}
