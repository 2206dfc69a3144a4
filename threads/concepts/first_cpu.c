/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>

#include "base/clock.h"

/* Two threads that never wait, created at once: when do they run on two CPUs? */
enum { TRIALS = 10, PATIENCE_NS = 30000000 };

typedef struct pair {
    _Atomic int first[2], now[2]; /* CPU + 1; 0: has not run yet */
    _Atomic int stop;
} pair;

typedef struct seat {
    pair *both;
    int id;
} seat;

static void *keep_busy(void *arg) {
    seat *s = arg;
    atomic_store(&s->both->first[s->id], sched_getcpu() + 1);
    while (!atomic_load_explicit(&s->both->stop, memory_order_relaxed)) {
        atomic_store_explicit(&s->both->now[s->id], sched_getcpu() + 1, memory_order_relaxed);
    }
    return NULL;
}

static pthread_t create_on(td_lab *lab, seat *s, int cpu) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (cpu >= 0) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((size_t)cpu, &one);
        pthread_attr_setaffinity_np(&attributes, sizeof one, &one);
    }
    pthread_t thread;
    int error = pthread_create(&thread, &attributes, keep_busy, s);
    pthread_attr_destroy(&attributes);
    if (cpu >= 0) {
        td_lab_may_bind(lab, error);
    }
    errno = error;
    td_lab_must(lab, error == 0, "create a thread");
    return thread;
}

/* Starts both and waits until they were seen on two CPUs, or for PATIENCE_NS after both have run.
 * Returns the nanoseconds it took. */
static double start_pair(td_lab *lab, pair *p, const int *cpu) {
    seat seats[2] = {{p, 0}, {p, 1}};
    pthread_t threads[2];
    int64_t start = td_now_ns();
    *p = (pair){0};
    for (int i = 0; i < 2; i++) {
        threads[i] = create_on(lab, &seats[i], cpu[i]);
    }
    for (int i = 0; i < 2; i++) {
        td_lab_must(lab, td_lab_await(&p->now[i], 1), "start two threads");
    }
    int64_t now = td_now_ns(), end = now + PATIENCE_NS;
    while (atomic_load(&p->now[0]) == atomic_load(&p->now[1]) && now < end) {
        td_lab_nap();
        now = td_now_ns();
    }
    atomic_store(&p->stop, 1);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    return (double)(now - start);
}

void td_concept_first_cpu(td_lab *lab) {
    pair p;
    const int bound[2] = {lab->cpu[0], lab->cpu[lab->mutant ? 0 : 1]}, anywhere[2] = {-1, -1};
    int right = 0, together = 0;
    double took[TRIALS];
    for (int trial = 0; trial < TRIALS; trial++) {
        start_pair(lab, &p, bound);
        right += p.first[0] == lab->cpu[0] + 1 && p.first[1] == lab->cpu[1] + 1;
        took[trial] = start_pair(lab, &p, anywhere);
        together += p.first[0] == p.first[1];
        td_lab_sample(lab, took[trial]);
    }
    td_lab_check(lab, right == TRIALS,
                 "created with a binding, each of two threads began on its CPU in %d of %d trials",
                 right, TRIALS);
    td_lab_saw(lab,
               "without one they began on the same CPU in %d of %d trials, and were apart "
               "after %.2f ms (median)",
               together, TRIALS, td_lab_median(took, TRIALS) * 1e-6);
    td_lab_number(lab, "began_together", together);
    td_lab_sampled(lab, "two new threads until they run on two CPUs");
}
