/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sched.h>

#include "base/clock.h"
#include "threads/bind.h"

/* The same two threads answer each other on one CPU, on two, and wherever they are put; both note
 * their CPU in every turn. */
enum { TURNS = 400, ANYWHERE = -1 };

typedef struct rally {
    td_event ping, pong;
    td_wait_rule rule; /* zero: sleep at once */
    td_lab *lab;
    int cpu; /* of the other side */
    _Atomic int where;
    int together, as_told; /* turns on one CPU; turns on the CPUs asked for */
} rally;

static void *answer(void *arg) {
    rally *r = arg;
    if (!r->lab->mutant) {
        td_lab_pin(r->lab, r->cpu);
    }
    for (uint32_t i = 1; i <= TURNS; i++) {
        td_event_wait(&r->ping, i, &r->rule, 0, NULL);
        atomic_store_explicit(&r->where, sched_getcpu(), memory_order_relaxed);
        td_event_advance(&r->pong, &r->rule);
    }
    return NULL;
}

/* Microseconds of a round trip. */
static double play(td_lab *lab, rally *r, int cpu, int other) {
    *r = (rally){.lab = lab, .cpu = other};
    td_lab_pin(lab, cpu);
    pthread_t thread = td_lab_thread(lab, answer, r);
    int64_t start = td_now_ns();
    for (uint32_t i = 1; i <= TURNS; i++) {
        td_event_advance(&r->ping, &r->rule);
        td_event_wait(&r->pong, i, &r->rule, 0, NULL);
        int own = sched_getcpu(), theirs = atomic_load_explicit(&r->where, memory_order_relaxed);
        r->together += own == theirs;
        r->as_told += own == cpu && theirs == other;
    }
    double us = (double)(td_now_ns() - start) / TURNS * 1e-3;
    pthread_join(thread, NULL);
    td_lab_sample(lab, us * 1e3);
    return us;
}

void td_concept_placement(td_lab *lab) {
    static rally r;
    td_cpu_mask all;
    td_bind_get(&all);
    double free_us = play(lab, &r, ANYWHERE, ANYWHERE);
    int met = r.together;
    double one_us = play(lab, &r, lab->cpu[0], lab->cpu[0]);
    td_lab_check(lab, r.as_told == TURNS && r.together == TURNS,
                 "bound to CPU %d, both were there in %d of %d turns", lab->cpu[0], r.as_told,
                 TURNS);
    /* A thread inherits the binding of its creator: the other side starts on CPU 0 here. */
    double two_us = play(lab, &r, lab->cpu[0], lab->cpu[1]);
    td_lab_check(lab, r.as_told == TURNS && r.together == 0,
                 "bound to CPUs %d and %d, each was on its own in %d of %d turns", lab->cpu[0],
                 lab->cpu[1], r.as_told, TURNS);
    td_bind_set(&all);
    td_lab_saw(lab,
               "a round trip: %.1f us on one CPU, %.1f us on two; not bound %.1f us, together "
               "in %d of %d turns",
               one_us, two_us, free_us, met, TURNS);
    td_lab_number(lab, "one_cpu_us", one_us);
    td_lab_number(lab, "two_cpus_us", two_us);
    td_lab_number(lab, "not_bound_us", free_us);
    td_lab_number(lab, "not_bound_together_pct", 100.0 * met / TURNS);
    td_lab_sampled(lab, "a round trip: not bound, on one CPU, on two");
}
