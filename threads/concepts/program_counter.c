/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

enum { THREADS = 3 };

typedef struct context {
    uintptr_t pc, sp, low, high;
    _Atomic int running, caught;
} context;

static context contexts[THREADS];
static _Thread_local context *own;
static _Atomic int stop;
static bool share_context;

static void catch_signal(int signal, siginfo_t *info, void *user) {
    (void)signal;
    (void)info;
    const ucontext_t *saved = user;
    context *to = share_context ? &contexts[0] : own;
    to->pc = (uintptr_t)saved->uc_mcontext.gregs[REG_RIP];
    to->sp = (uintptr_t)saved->uc_mcontext.gregs[REG_RSP];
    atomic_store(&own->caught, 1);
}

/* Three loops, so that three threads are at three places of one function. */
static void loop_at(int place) {
    while (place == 0 && !atomic_load_explicit(&stop, memory_order_relaxed)) {
        __asm__ __volatile__("nop");
    }
    while (place == 1 && !atomic_load_explicit(&stop, memory_order_relaxed)) {
        __asm__ __volatile__("nop; nop");
    }
    while (place == 2 && !atomic_load_explicit(&stop, memory_order_relaxed)) {
        __asm__ __volatile__("nop; nop; nop");
    }
}

static void *run_thread(void *arg) {
    own = arg;
    pthread_attr_t attributes;
    void *base = NULL;
    size_t bytes = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstack(&attributes, &base, &bytes);
        pthread_attr_destroy(&attributes);
    }
    own->low = (uintptr_t)base;
    own->high = own->low + bytes;
    atomic_store(&own->running, 1);
    loop_at((int)(own - contexts));
    return NULL;
}

void td_concept_program_counter(td_lab *lab) {
    struct sigaction action = {.sa_sigaction = catch_signal, .sa_flags = SA_SIGINFO};
    pthread_t threads[THREADS];
    share_context = lab->mutant;
    td_lab_must(lab, sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
    for (int t = 0; t < THREADS; t++) {
        threads[t] = td_lab_thread(lab, run_thread, &contexts[t]);
        td_lab_must(lab, td_lab_await(&contexts[t].running, 1), "start a thread");
        errno = pthread_kill(threads[t], SIGUSR1);
        td_lab_must(lab, errno == 0 && td_lab_await(&contexts[t].caught, 1), "signal a thread");
    }
    atomic_store(&stop, 1);
    for (int t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
    }
    for (int t = 0; t < THREADS; t++) {
        const context *c = &contexts[t], *next = &contexts[(t + 1) % THREADS];
        td_lab_check(lab, c->pc != 0 && c->pc != next->pc,
                     "thread %d was stopped %+ld bytes from the begin of its function", t,
                     (long)(c->pc - (uintptr_t)run_thread));
        td_lab_check(lab, c->sp >= c->low && c->sp < c->high,
                     "its stack pointer lies in its own stack of %zu KiB",
                     (size_t)(c->high - c->low) / 1024);
    }
}
