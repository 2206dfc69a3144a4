/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/wait.h"

#include <immintrin.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

/* Spinning as long as parking would cost is at most twice the optimum, whatever the length of the
 * wait. Sleeping and being woken on another CPU takes 45 to 70 us in a virtual machine (the wake-up
 * is an interrupt that leaves the guest) and 5 to 10 us on bare hardware. Until it is measured,
 * 100 us favours the former, where the loss would be larger; measured values beyond the limits are
 * those of a disturbed moment. */
enum { SPIN_UNMEASURED_NS = 100000, SPIN_LEAST_NS = 5000, SPIN_MOST_NS = 200000 };
enum { SPIN_SHARED_NS = 200 };

static td_wait_costs calibrated = {.spin_ns = SPIN_UNMEASURED_NS};

td_status td_wait_calibrate(void) {
    if (!calibrated.measured) {
        td_wait_costs costs;
        TD_TRY(td_wait_measure(&costs));
        int64_t spin = costs.wake_call_ns + costs.wake_ns;
        costs.spin_ns = spin < SPIN_LEAST_NS  ? SPIN_LEAST_NS
                        : spin > SPIN_MOST_NS ? SPIN_MOST_NS
                                              : spin;
        calibrated = costs;
    }
    return TD_OK;
}

td_wait_costs td_wait_calibrated(void) {
    return calibrated;
}

/* When own threads outnumber the CPUs, the one waited for is on this run queue and a few yields
 * reach it: a region of 4 workers on 2 CPUs takes 2.4 us so, and 64 us with sleeping at once.
 * Spinning only delays the first yield: 1 us of it made 4.0 us of the 2.4. Sixteen yields pass the
 * run queue of eight workers on two CPUs; with eight they slept too often (5.1 us against 4.3).
 * When own threads do not outnumber the CPUs, whoever else is on this CPU is a stranger: yielding
 * hands it a whole slice (0.47 of the fair share was left), sleeping earns credit for the wake-up
 * (0.80).
 */
enum { YIELDS_ALONE = 0, YIELDS_SHARED = 16 };

td_wait_rule td_wait_rule_make(bool shares_cpus, bool between_processes) {
    double ticks_per_ns = td_tsc_hz() * 1e-9;
    return (td_wait_rule){
        .spin_ticks =
            (uint64_t)(ticks_per_ns * (double)(shares_cpus ? SPIN_SHARED_NS : calibrated.spin_ns)),
        .yields = shares_cpus ? YIELDS_SHARED : YIELDS_ALONE,
        .between_processes = between_processes,
        .ticks_per_us = ticks_per_ns * 1e3,
    };
}

/* A CPU that has slept for milliseconds takes two to three times as long to wake as one that has
 * slept for 100 us, which is what was measured. */
enum { TIMES_WOKEN = 4 };

td_wait_rule td_wait_rule_woken(const td_wait_rule *rule) {
    td_wait_rule woken = *rule;
    uint64_t most = (uint64_t)(rule->ticks_per_us * 1e-3 * SPIN_MOST_NS);
    if (rule->yields == 0) { /* else the woken need this CPU */
        woken.spin_ticks = rule->spin_ticks * TIMES_WOKEN;
        woken.spin_ticks = woken.spin_ticks < most ? woken.spin_ticks : most;
    }
    return woken;
}

static long futex(_Atomic uint32_t *word, int operation, uint32_t value,
                  const struct timespec *timeout, const td_wait_rule *rule) {
    int private = rule->between_processes ? 0 : FUTEX_PRIVATE_FLAG;
    return syscall(SYS_futex, word, operation | private, value, timeout, NULL, 0);
}

uint32_t td_event_advance(td_event *event, const td_wait_rule *rule) {
    /* seq_cst on both sides: the increment and the load of `parked` here, the increment of `parked`
     * and the load of `value` in park(). With anything weaker both may miss the other, and the
     * sleeper is never woken. */
    uint32_t value = atomic_fetch_add_explicit(&event->value, 1, memory_order_seq_cst) + 1;
    if (atomic_load_explicit(&event->parked, memory_order_seq_cst) > 0) {
        futex(&event->value, FUTEX_WAKE, INT_MAX, NULL, rule);
    }
    return value;
}

void td_event_raise(td_event *event, uint32_t value, const td_wait_rule *rule) {
    /* seq_cst: as in td_event_advance. */
    atomic_store_explicit(&event->value, value, memory_order_seq_cst);
    if (atomic_load_explicit(&event->parked, memory_order_seq_cst) > 0) {
        futex(&event->value, FUTEX_WAKE, INT_MAX, NULL, rule);
    }
}

void td_event_wake(td_event *event, const td_wait_rule *rule) {
    /* The value that was set, then `parked`; in park() `parked`, then the value: with the fence one
     * of the two sees the other. The thread sanitizer knows no fences. */
#ifdef __SANITIZE_THREAD__
    bool asleep = atomic_fetch_add_explicit(&event->parked, 0, memory_order_seq_cst) > 0;
#else
    atomic_thread_fence(memory_order_seq_cst);
    bool asleep = atomic_load_explicit(&event->parked, memory_order_relaxed) > 0;
#endif
    if (asleep) {
        futex(&event->value, FUTEX_WAKE, INT_MAX, NULL, rule);
    }
}

uint32_t td_event_advance_quietly(td_event *event) {
    return atomic_fetch_add_explicit(&event->value, 1, memory_order_seq_cst) + 1;
}

/* Strangers on this CPU: twice within 10 ms the spin lost the CPU for longer than 100 us. For the
 * next 100 ms it spins briefly: sleeping earns credit with the scheduler, spinning burns this
 * thread's own share. */
static const double GAP_US = 100, WINDOW_US = 10000, HOLD_US = 100000, BRIEF_US = 1;
typedef struct neighbours {
    uint64_t last_gap, until; /* time stamps */
} neighbours;
static _Thread_local neighbours around;

static void note_gap(uint64_t now, double ticks_per_us) {
    if (now - around.last_gap < (uint64_t)(WINDOW_US * ticks_per_us)) {
        around.until = now + (uint64_t)(HOLD_US * ticks_per_us);
    }
    around.last_gap = now;
}

/* True when reached, false when the budget is used up. */
static bool spin(const td_event *event, uint32_t target, const td_wait_rule *rule,
                 td_wait_counts *counts) {
    uint64_t start = td_tsc(), last = start, budget = rule->spin_ticks;
    double ticks_per_us = rule->ticks_per_us;
    if (start < around.until && budget > (uint64_t)(BRIEF_US * ticks_per_us)) {
        budget = (uint64_t)(BRIEF_US * ticks_per_us);
        if (counts != NULL) {
            counts->foreign++;
        }
    }
    do {
        for (int i = 0; i < 16; i++) {
            if (td_event_reached(event, target)) {
                return true;
            }
            _mm_pause();
        }
        uint64_t now = td_tsc();
        if (now - last > (uint64_t)(GAP_US * ticks_per_us)) {
            note_gap(now, ticks_per_us);
        }
        last = now;
    } while (last - start < budget);
    return td_event_reached(event, target);
}

/* Sleeps until reached, or for sleep_ns when that is positive. */
static bool park(td_event *event, uint32_t target, const td_wait_rule *rule, int64_t sleep_ns) {
    int64_t end_ns = sleep_ns > 0 ? td_now_ns() + sleep_ns : 0;
    bool reached = false;
    /* seq_cst: see td_event_advance. */
    atomic_fetch_add_explicit(&event->parked, 1, memory_order_seq_cst);
    for (;;) {
        uint32_t seen = atomic_load_explicit(&event->value, memory_order_seq_cst);
        reached = (int32_t)(seen - target) >= 0;
        int64_t left_ns = sleep_ns > 0 ? end_ns - td_now_ns() : 0;
        if (reached || (sleep_ns > 0 && left_ns <= 0)) {
            break;
        }
        struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
        /* Returns at once when value is no longer `seen`; a signal ends it early; the loop covers
         * both. */
        futex(&event->value, FUTEX_WAIT, seen, sleep_ns > 0 ? &left : NULL, rule);
    }
    atomic_fetch_sub_explicit(&event->parked, 1, memory_order_relaxed);
    return reached;
}

static const double LONG_YIELD_US = 50;

bool td_event_wait(td_event *event, uint32_t target, const td_wait_rule *rule, int64_t sleep_ns,
                   td_wait_counts *counts) {
    if (spin(event, target, rule, counts)) {
        return true;
    }
    /* A yield that took long went to somebody with work of its own: sleeping beats the next one. */
    uint64_t begin = td_tsc(), most = (uint64_t)(LONG_YIELD_US * rule->ticks_per_us);
    bool brief = true;
    for (int i = 0; i < rule->yields && brief; i++) {
        sched_yield();
        uint64_t now = td_tsc();
        brief = now - begin < most;
        begin = now;
        if (counts != NULL) {
            counts->yields++;
        }
        if (td_event_reached(event, target)) {
            return true;
        }
    }
    if (counts != NULL) {
        counts->parks++;
    }
    return park(event, target, rule, sleep_ns);
}
