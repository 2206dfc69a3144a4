/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void survive(int signal) {
    (void)signal;
    pthread_exit(NULL);
}

static void *fault(void *arg) {
    *(_Atomic int *)arg = 1;
    return NULL;
}

static void fault_in_thread(td_lab *lab, void *arg) {
    (void)arg;
    if (lab->mutant) {
        signal(SIGSEGV, survive);
    }
    pthread_join(td_lab_thread(lab, fault, NULL), NULL);
    _exit(0);
}

void td_concept_fault_of_a_thread(td_lab *lab) {
    int how = td_lab_wait(lab, td_lab_fork(lab, fault_in_thread, NULL));
    td_lab_check(lab, WIFSIGNALED(how) && WTERMSIG(how) == SIGSEGV,
                 "a thread wrote to address 0; the whole process %s%s",
                 WIFSIGNALED(how) ? "died of: " : "went on",
                 WIFSIGNALED(how) ? strsignal(WTERMSIG(how)) : "");
    td_lab_saw(lab, "its parent, a process beside it, goes on");
}
