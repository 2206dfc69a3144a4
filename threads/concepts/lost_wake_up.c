/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <time.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static bool happened;

typedef struct waiter {
    bool looks; /* at the condition, under the mutex, before it sleeps */
    int timed_out;
    _Atomic int *go;
} waiter;

static void *wait_for_it(void *arg) {
    waiter *w = arg;
    struct timespec until;
    td_lab_await(w->go, 1);
    clock_gettime(CLOCK_REALTIME, &until);
    /* Only a waiter that has missed its signal gets here: nobody signals any more. */
    until.tv_sec += w->looks ? 20 : 0;
    until.tv_nsec += 50000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&mutex);
    int error = 0;
    while (error == 0 && !(w->looks && happened)) {
        error = pthread_cond_timedwait(&condition, &mutex, &until);
    }
    w->timed_out = error == ETIMEDOUT;
    pthread_mutex_unlock(&mutex);
    return NULL;
}

void td_concept_lost_wake_up(td_lab *lab) {
    _Atomic int go = 0;
    waiter late = {.looks = !lab->mutant, .go = &go};
    pthread_t thread = td_lab_thread(lab, wait_for_it, &late);
    pthread_mutex_lock(&mutex);
    happened = true;
    pthread_cond_signal(&condition); /* nobody is waiting yet */
    pthread_mutex_unlock(&mutex);
    atomic_store(&go, 1);
    pthread_join(thread, NULL);
    td_lab_check(lab, !late.timed_out,
                 "signalled before it waited, a thread that looks first does not sleep: it %s",
                 late.timed_out ? "slept" : "went on");
    waiter blind = {.looks = false, .go = &go};
    pthread_join(td_lab_thread(lab, wait_for_it, &blind), NULL);
    td_lab_check(lab, blind.timed_out,
                 "one that does not look waits for a signal that was already given");
}
