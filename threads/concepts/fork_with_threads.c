/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <unistd.h>

#include "base/memory.h"
#include "threads/procfs.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int held, done;

static void *hold(void *arg) {
    (void)arg;
    pthread_mutex_lock(&mutex);
    atomic_store(&held, 1);
    td_lab_await(&done, 1);
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void renew(void) {
    mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

typedef struct child_view {
    int tasks, lock, allocated;
} child_view;

static void look(td_lab *lab, void *arg) {
    (void)lab;
    child_view *v = arg;
    int tid[16];
    v->tasks = td_proc_tasks(getpid(), tid, 16);
    v->lock = pthread_mutex_trylock(&mutex);
    void *block = td_alloc(1000);
    v->allocated = block != NULL;
    td_free(block);
}

void td_concept_fork_with_threads(td_lab *lab) {
    child_view *v = td_lab_shared(lab, sizeof *v);
    if (lab->mutant) {
        pthread_atfork(NULL, NULL, renew);
    }
    pthread_t thread = td_lab_thread(lab, hold, NULL);
    td_lab_must(lab, td_lab_await(&held, 1), "take the mutex");
    int tid[16];
    int before = td_proc_tasks(getpid(), tid, 16);
    td_lab_wait(lab, td_lab_fork(lab, look, v));
    atomic_store(&done, 1);
    pthread_join(thread, NULL);
    td_lab_check(lab, before >= 2 && v->tasks == 1,
                 "of %d threads the child has %d: the one that forked", before, v->tasks);
    td_lab_check(lab, v->lock == EBUSY,
                 "the mutex that the other thread held is held in the child by nobody, for ever");
    td_lab_check(lab, v->allocated, "memory can be had: the C library renews its own locks");
    td_lab_check(lab, pthread_mutex_trylock(&mutex) == 0, "in the parent it was released");
}
