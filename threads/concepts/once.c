/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

enum { THREADS = 6 };

static _Atomic int calls, at_the_door;
static pthread_once_t control = PTHREAD_ONCE_INIT;
static _Atomic bool plain_flag;
static bool use_flag;

/* Ends after everybody has come to the door, those who look at the flag with a look at it. */
static void initialise(void) {
    td_lab_await(&at_the_door, THREADS);
    atomic_fetch_add(&calls, 1);
}

static void *come_in(void *arg) {
    bool done = use_flag && plain_flag;
    atomic_fetch_add(&at_the_door, 1);
    if (!use_flag) {
        pthread_once(&control, initialise);
    } else if (!done) {
        initialise();
        plain_flag = true;
    }
    *(int *)arg = calls;
    return NULL;
}

void td_concept_once(td_lab *lab) {
    pthread_t threads[THREADS];
    int seen[THREADS], ready_for = 0;
    use_flag = lab->mutant;
    for (int i = 0; i < THREADS; i++) {
        threads[i] = td_lab_thread(lab, come_in, &seen[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        ready_for += seen[i] == 1;
    }
    td_lab_check(lab, calls == 1, "%d threads came at once, the work was done %d time", THREADS,
                 calls);
    td_lab_check(lab, ready_for == THREADS, "and was done when each of them went on");
}
