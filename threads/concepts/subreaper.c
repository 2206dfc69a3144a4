/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sys/prctl.h>
#include <unistd.h>

typedef struct family {
    _Atomic int grandchild, orphaned, parent_after;
} family;

static void be_grandchild(family *f, pid_t father) {
    f->grandchild = getpid();
    while (getppid() == father) {
    }
    f->parent_after = getppid();
    f->orphaned = 1;
    _exit(0);
}

static void be_father(td_lab *lab, void *arg) {
    family *f = arg;
    pid_t father = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        be_grandchild(f, father);
    }
    td_lab_must(lab, pid > 0 && td_lab_await(&f->grandchild, 1), "fork");
}

void td_concept_subreaper(td_lab *lab) {
    family *f = td_lab_shared(lab, sizeof *f);
    if (!lab->mutant) {
        td_lab_must(lab, prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "become a subreaper");
    }
    td_lab_wait(lab, td_lab_fork(lab, be_father, f));
    td_lab_must(lab, td_lab_await(&f->orphaned, 1), "orphan a process");
    td_lab_check(lab, f->parent_after == getpid(),
                 "a process whose parent ended has the parent %d; this process is %d",
                 f->parent_after, (int)getpid());
}
