/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static _Atomic int waiting;

static void unlock(void *arg) {
    pthread_mutex_unlock(arg);
}

static void *wait_with_cleanup(void *arg) {
    (void)arg;
    pthread_mutex_lock(&mutex);
    atomic_store(&waiting, 1);
    pthread_cleanup_push(unlock, &mutex);
    pthread_cond_wait(&never, &mutex);
    pthread_cleanup_pop(1);
    return NULL;
}

static void *wait_without(void *arg) {
    (void)arg;
    pthread_mutex_lock(&mutex);
    atomic_store(&waiting, 1);
    pthread_cond_wait(&never, &mutex);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

void td_concept_cancellation(td_lab *lab) {
    void *result = NULL;
    pthread_t thread = td_lab_thread(lab, lab->mutant ? wait_without : wait_with_cleanup, NULL);
    td_lab_must(lab, td_lab_await(&waiting, 1), "wait in a thread");
    /* Holding the mutex here means that the thread is inside its wait. */
    pthread_mutex_lock(&mutex);
    pthread_cancel(thread);
    pthread_mutex_unlock(&mutex);
    pthread_join(thread, &result);
    td_lab_check(lab, result == PTHREAD_CANCELED, "a thread was ended in its wait");
    int locked = pthread_mutex_trylock(&mutex);
    td_lab_check(lab, locked == 0, "its mutex, taken again before it ended, is %s",
                 locked == 0 ? "free: the cleanup handler ran" : "held by nobody, for ever");
}
