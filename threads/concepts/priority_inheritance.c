/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "threads/procfs.h"

/* The waiter has real-time priority 10 and sleeps: it burns no CPU. The holder's priority in /proc
 * tells whether it was lent. */
enum { PRIORITY = 10 };

static pthread_mutex_t mutex;
static _Atomic int tid;

static void *wait_urgently(void *arg) {
    td_lab *lab = arg;
    struct sched_param urgent = {.sched_priority = PRIORITY};
    tid = (int)syscall(SYS_gettid);
    td_lab_must(lab, sched_setscheduler(0, SCHED_FIFO, &urgent) == 0, "a real-time thread");
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static int priority_of_self(void) {
    td_proc_stat stat;
    return td_proc_stat_read(getpid(), (int)syscall(SYS_gettid), &stat) ? stat.priority : 1000;
}

void td_concept_priority_inheritance(td_lab *lab) {
    pthread_mutexattr_t attributes;
    td_lab_be_ordinary(lab);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes,
                                  lab->mutant ? PTHREAD_PRIO_NONE : PTHREAD_PRIO_INHERIT);
    td_lab_must(lab, pthread_mutex_init(&mutex, &attributes) == 0, "a mutex");
    pthread_mutex_lock(&mutex);
    int before = priority_of_self();
    pthread_t thread = td_lab_thread(lab, wait_urgently, lab);
    td_lab_must(lab, td_lab_await(&tid, 1) && td_lab_await_blocked(getpid(), tid, SYS_futex),
                "wait for the mutex");
    int during = priority_of_self();
    pthread_mutex_unlock(&mutex);
    pthread_join(thread, NULL);
    int after = priority_of_self();
    td_lab_check(lab, during == -1 - PRIORITY,
                 "while an urgent thread waits, the holder has its priority: %d (before: %d)",
                 during, before);
    td_lab_check(lab, after == before, "after the release it has its own again: %d", after);
}
