/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { THREADS = 3, SIGNALS = 40 };

static _Atomic int caught_by[THREADS + 1], ready, stop;
static _Thread_local int self;

static void note(int signal) {
    (void)signal;
    atomic_fetch_add(&caught_by[self], 1);
}

typedef struct listener {
    int id;
    bool blocks;
} listener;

static void *listen(void *arg) {
    const listener *l = arg;
    self = l->id;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(l->blocks ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
    atomic_fetch_add(&ready, 1);
    td_lab_await(&stop, 1);
    return NULL;
}

void td_concept_signal_delivery(td_lab *lab) {
    listener listeners[THREADS];
    pthread_t threads[THREADS];
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGUSR1, note);
    for (int i = 0; i < THREADS; i++) {
        /* Thread 2 alone takes the signal; thread 1 does in the mutant. */
        listeners[i] = (listener){.id = i + 1, .blocks = i != (lab->mutant ? 0 : 1)};
        threads[i] = td_lab_thread(lab, listen, &listeners[i]);
    }
    td_lab_must(lab, td_lab_await(&ready, THREADS), "start the threads");
    for (int sent = 1; sent <= SIGNALS; sent++) {
        kill(getpid(), SIGUSR1);
        td_lab_must(lab, td_lab_await(&caught_by[lab->mutant ? 1 : 2], sent), "deliver a signal");
    }
    td_lab_check(lab, caught_by[2] == SIGNALS,
                 "of %d signals to the process the one thread that does not block it took %d",
                 SIGNALS, caught_by[2]);
    td_lab_check(lab, caught_by[0] + caught_by[1] + caught_by[3] == 0,
                 "the others, which share the handler, took %d",
                 caught_by[0] + caught_by[1] + caught_by[3]);
    if (!lab->mutant) {
        errno = pthread_kill(threads[1], SIGUSR1);
        td_lab_check(lab, errno == 0 && td_lab_await(&caught_by[2], SIGNALS + 1),
                     "a signal to one thread is taken by that thread");
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}
