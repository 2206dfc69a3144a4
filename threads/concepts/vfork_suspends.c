/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>

static int order[2];
static int written, next;

static int run_first(void *arg) {
    (void)arg;
    for (int i = 0; i < 20; i++) {
        sched_yield(); /* the parent could run now, and must not */
    }
    order[next++] = 1;
    written = 42;
    return 0;
}

void td_concept_vfork_suspends(td_lab *lab) {
    int flags = lab->mutant ? 0 : CLONE_VM | CLONE_VFORK;
    pid_t pid = td_lab_clone(lab, flags, run_first, NULL);
    order[next++] = 2;
    td_lab_must(lab, pid > 0, "clone");
    td_lab_check(lab, order[0] == 1 && order[1] == 2,
                 "the child ran to its end before the parent went on");
    td_lab_check(lab, written == 42, "and in the parent's memory: it wrote %d", written);
    td_lab_wait(lab, pid);
}
