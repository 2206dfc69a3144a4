/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

enum { HANDOFFS = 2000 };

typedef struct table {
    td_event ping, pong;
    td_wait_rule rule;
    _Atomic int tid, done;
    int cpu;
    td_lab *lab;
} table;

static void answer(void *arg) {
    table *t = arg;
    t->tid = (int)syscall(SYS_gettid);
    for (uint32_t i = 1; i <= HANDOFFS; i++) {
        td_event_wait(&t->ping, i, &t->rule, 0, NULL);
        td_event_advance(&t->pong, &t->rule);
    }
    td_lab_await(&t->done, 1);
}

/* Microseconds of a round trip; the switches of both sides go to *count. */
static double play(td_lab *lab, table *t, pid_t peer, int64_t *count) {
    td_lab_must(lab, td_lab_await(&t->tid, 1), "start the other side");
    int tid = t->tid;
    int64_t before = td_lab_own_switches() + td_lab_switches(peer, tid);
    int64_t start = td_now_ns();
    for (uint32_t i = 1; i <= HANDOFFS; i++) {
        td_event_advance(&t->ping, &t->rule);
        if (lab->mutant) {
            td_event_advance(&t->pong, &t->rule); /* plays both sides */
        }
        td_event_wait(&t->pong, i, &t->rule, 0, NULL);
    }
    double us = (double)(td_now_ns() - start) / HANDOFFS * 1e-3;
    *count = td_lab_own_switches() + td_lab_switches(peer, tid) - before;
    atomic_store(&t->done, 1);
    return us;
}

void td_concept_switch_one_cpu(td_lab *lab) {
    td_lab_pin(lab, lab->cpu[0]);
    double us[2];
    for (int kind = 0; kind < 2; kind++) {
        table *t = td_lab_shared(lab, sizeof *t);
        t->rule = (td_wait_rule){.between_processes = kind == 1}; /* sleep at once */
        int64_t count;
        td_lab_side other = {.main = answer, .arg = t, .process = kind == 1};
        td_lab_side_start(lab, &other);
        us[kind] = play(lab, t, other.pid, &count);
        td_lab_side_join(lab, &other);
        td_lab_check(lab, count >= 2 * HANDOFFS * 95 / 100,
                     "%d round trips between two %s on one CPU are %lld switches", HANDOFFS,
                     kind == 0 ? "threads" : "processes", (long long)count);
        td_lab_sample(lab, us[kind] * 1e3);
    }
    td_lab_saw(lab, "a round trip: %.2f us between threads, %.2f us between processes", us[0],
               us[1]);
    td_lab_number(lab, "thread_round_trip_us", us[0]);
    td_lab_number(lab, "process_round_trip_us", us[1]);
    td_lab_sampled(lab, "a round trip, thread then process");
}
