/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct vault {
    pthread_mutex_t mutex;
    _Atomic int held;
} vault;

static void hold_and_die(td_lab *lab, void *arg) {
    vault *v = arg;
    td_lab_must(lab, pthread_mutex_lock(&v->mutex) == 0, "lock");
    atomic_store(&v->held, 1);
    pause();
}

/* The owner is dead, so the answer does not depend on how long this waits. */
static int lock_or_give_up(vault *v) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 50000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_mutex_timedlock(&v->mutex, &until);
}

static int lock_after_death(td_lab *lab, vault *v, bool lasting) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (lasting) {
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    }
    pthread_mutex_init(&v->mutex, &attributes);
    pid_t pid = td_lab_fork(lab, hold_and_die, v);
    td_lab_must(lab, td_lab_await(&v->held, 1), "take the lock in a child");
    kill(pid, SIGKILL);
    td_lab_wait(lab, pid);
    return lock_or_give_up(v);
}

void td_concept_dead_owner(td_lab *lab) {
    vault *v = td_lab_shared(lab, 3 * sizeof *v);
    int plain = lock_after_death(lab, &v[0], false);
    td_lab_check(lab, plain == ETIMEDOUT,
                 "whoever wants a plain mutex of a killed process waits in vain: %s",
                 strerror(plain));
    int told = lock_after_death(lab, &v[1], !lab->mutant);
    td_lab_check(lab, told == EOWNERDEAD,
                 "one made to survive its owner tells who locks it next: %s",
                 strerror(told));
    if (told == EOWNERDEAD) {
        pthread_mutex_consistent(&v[1].mutex);
        pthread_mutex_unlock(&v[1].mutex);
        td_lab_check(lab, pthread_mutex_trylock(&v[1].mutex) == 0,
                     "declared consistent, it goes on");
        lock_after_death(lab, &v[2], true);
        pthread_mutex_unlock(&v[2].mutex);
        td_lab_check(lab, pthread_mutex_trylock(&v[2].mutex) == ENOTRECOVERABLE,
                     "released without that, it is lost for good");
    }
}
