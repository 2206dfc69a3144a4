/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

typedef struct orphan {
    td_lab *lab;
    pid_t pid;
    _Atomic int forked, stay;
    int ready[2];
} orphan;

/* Forks a child that asks to be killed with its parent, and ends; the process goes on. */
static void *fork_and_end(void *arg) {
    orphan *o = arg;
    o->pid = fork();
    if (o->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (write(o->ready[1], "x", 1) != 1) {
            _exit(1);
        }
        close(o->ready[1]);
        close(o->ready[0]);
        pause();
        _exit(0);
    }
    char byte; /* the child has asked: only now may this thread end */
    atomic_store(&o->forked, read(o->ready[0], &byte, 1) == 1 ? 1 : 0);
    if (o->lab->mutant) {
        td_lab_await(&o->stay, 1);
    }
    return NULL;
}

void td_concept_death_signal(td_lab *lab) {
    orphan o = {.lab = lab};
    td_lab_must(lab, pipe(o.ready) == 0, "a pipe");
    pthread_t thread = td_lab_thread(lab, fork_and_end, &o);
    td_lab_must(lab, td_lab_await(&o.forked, 1) && o.pid > 0, "fork in a thread");
    if (!lab->mutant) {
        pthread_join(thread, NULL);
    } else {
        kill(o.pid, SIGKILL); /* nothing else ends it */
    }
    int how = td_lab_wait(lab, o.pid);
    td_lab_check(lab, (how & 127) == SIGTERM,
                 "the thread that forked it ended, the process lives; the child died of %s",
                 strsignal(how & 127));
    atomic_store(&o.stay, 1);
}
