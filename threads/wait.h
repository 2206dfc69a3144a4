/* SPDX-License-Identifier: Apache-2.0
 * Waiting: a counter that only grows, and a ladder to climb until it has reached a value: spin for
 * a bounded time, yield a few times, then sleep in a futex. No wait of Tandem spins without bound,
 * because one that does costs a whole time slice (8 ms were measured) whenever the thread it waits
 * for needs the same CPU.
 */
#ifndef TD_THREADS_WAIT_H
#define TD_THREADS_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* Zero to start. May lie in memory that processes share. Values wrap around: only differences below
 * 2^31 count. */
typedef struct td_event {
    _Alignas(64) _Atomic uint32_t value; /* the futex word */
    _Atomic uint32_t parked;             /* threads in the futex, or about to be */
} td_event;
_Static_assert(sizeof(td_event) == 64, "one event, one cache line");

/* How to wait; made once, read often. */
typedef struct td_wait_rule {
    uint64_t spin_ticks; /* of the time stamp counter */
    int yields;
    bool between_processes;
    double ticks_per_us;
} td_wait_rule;

/* What sleeping costs, in ns, as the median of some wake-ups: the call that wakes, and the time
 * from it until the sleeper runs on another CPU (on this one where there is no other); a yield that
 * finds nobody; how long waiting threads spin because of it; and beside, the way of a word to
 * another CPU and back, the fastest of some (0: one CPU). */
typedef struct td_wait_costs {
    bool measured;
    int64_t wake_call_ns, wake_ns, yield_ns, spin_ns, line_ns;
} td_wait_costs;

/* Measures with a helper thread, in about 4 ms. The affinity of the caller is as before. */
td_status td_wait_measure(td_wait_costs *out);

/* Measures once in the life of a program and its children: rules made later spin as long as
 * sleeping costs here. A program that does not call it has a rule for machines nobody measured. */
td_status td_wait_calibrate(void);

/* What rules are made by; not `measured` before td_wait_calibrate. */
td_wait_costs td_wait_calibrated(void);

/* shares_cpus: the thread waited for may need the waiter's CPU, so spinning only delays it. */
td_wait_rule td_wait_rule_make(bool shares_cpus, bool between_processes);

/* The same for a wait whose length is known to be that of a wake-up: sleeping in it would add a
 * second one. */
td_wait_rule td_wait_rule_woken(const td_wait_rule *rule);

typedef struct td_wait_counts {
    int64_t parks, yields;
    int64_t foreign; /* spins cut short: strangers use this CPU */
} td_wait_counts;

static inline bool td_event_reached(const td_event *event, uint32_t target) {
    /* acquire pairs with the increment in td_event_advance: what was written before it is visible
     * after. */
    return (int32_t)(atomic_load_explicit(&event->value, memory_order_acquire) - target) >= 0;
}

/* Adds one and wakes every sleeper. Returns the new value. */
uint32_t td_event_advance(td_event *event, const td_wait_rule *rule);

/* Sets a value beyond the present one and wakes every sleeper; for events with one writer. */
void td_event_raise(td_event *event, uint32_t value, const td_wait_rule *rule);

/* The same in two steps, for a writer that has better to do than to wait until its line is its own
 * again: spinners see the value at once, sleepers are woken by td_event_wake, which follows soon.
 */
static inline void td_event_set(td_event *event, uint32_t value) {
    /* release pairs with td_event_reached. */
    atomic_store_explicit(&event->value, value, memory_order_release);
}
void td_event_wake(td_event *event, const td_wait_rule *rule);

/* As td_event_advance, but leaves sleepers asleep: only for work that they need not do. */
uint32_t td_event_advance_quietly(td_event *event);

/* Waits until the value has reached target. With sleep_ns > 0 the sleep ends after that time at the
 * latest, and the return value says whether target was reached; with 0 it returns true only. counts
 * may be NULL. */
bool td_event_wait(td_event *event, uint32_t target, const td_wait_rule *rule, int64_t sleep_ns,
                   td_wait_counts *counts);

/* The middle of n measured times, which it sorts. */
int64_t td_wait_median(int64_t *values, int n);

/* A turn of a wait that no futex ends; turns: 0 at first. It yields at first, and naps for 50 us
 * each time once a wait has become long: threads that yield to each other without end starve the
 * rest of the machine. */
void td_wait_turn(int *turns);

#endif
