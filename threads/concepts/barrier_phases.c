/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include "base/clock.h"
#include "threads/barrier.h"

enum { THREADS = 5, PHASES = 1500, LEAST = 10, LIMIT_NS = 200000000 };

typedef struct hall {
    td_barrier *barrier;
    int stamp[THREADS][32]; /* plain, a line each: only the barrier orders them */
    _Atomic int early, stop, phases;
    int leave_out;
} hall;

typedef struct guest {
    hall *hall;
    int id;
} guest;

static void *attend(void *arg) {
    const guest *g = arg;
    hall *h = g->hall;
    int64_t end = td_now_ns() + LIMIT_NS;
    for (int phase = 1; phase <= PHASES && !h->stop; phase++) {
        __atomic_store_n(&h->stamp[g->id][0], phase, __ATOMIC_RELAXED);
        if (g->id < THREADS - h->leave_out) {
            td_barrier_wait(h->barrier, g->id);
        }
        /* Between two barriers, so that all read the same. */
        if (g->id == 0) {
            h->phases = phase;
            h->stop = phase >= LEAST && td_now_ns() > end;
        }
        for (int other = 0; other < THREADS; other++) {
            int seen = __atomic_load_n(&h->stamp[other][0], __ATOMIC_RELAXED);
            h->early += seen < phase;
        }
        if (g->id < THREADS - h->leave_out) {
            td_barrier_wait(h->barrier, g->id);
        }
    }
    return NULL;
}

void td_concept_barrier_phases(td_lab *lab) {
    int n;
    const td_barrier_kind *kinds = td_barrier_kinds(&n);
    for (int i = 0; i < n; i++) {
        hall h = {.leave_out = lab->mutant ? 1 : 0};
        guest guests[THREADS];
        pthread_t threads[THREADS];
        td_lab_must(lab, td_barrier_create(&kinds[i], THREADS - h.leave_out, &lab->rule,
                                           &h.barrier) == TD_OK, "a barrier");
        int64_t start = td_now_ns();
        /* In the mutant the last thread starts last, so that others pass without it. */
        for (int t = 0; t < THREADS; t++) {
            guests[t] = (guest){.hall = &h, .id = t};
            threads[t] = td_lab_thread(lab, attend, &guests[t]);
        }
        for (int t = 0; t < THREADS; t++) {
            pthread_join(threads[t], NULL);
        }
        double us = (double)(td_now_ns() - start) * 1e-3 / (2 * h.phases);
        td_lab_check(lab, h.early == 0,
                     "%-14s nobody of %d was early in %d phases (%d were); %.2f us", kinds[i].name,
                     THREADS, h.phases, h.early, us);
        td_lab_sample(lab, us * 1e3);
        td_barrier_destroy(h.barrier);
    }
    td_lab_sampled(lab, "a phase, over the kinds of barrier");
}
