/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

enum { WAKES = 60 };

typedef struct bed {
    _Alignas(128) _Atomic uint32_t word;
    _Alignas(128) _Atomic uint64_t woke_tsc;
    _Atomic int tid, awake;
    td_lab *lab;
    int cpu;
} bed;

static void *sleep_and_wake(void *arg) {
    bed *b = arg;
    td_lab_pin(b->lab, b->cpu);
    b->tid = (int)syscall(SYS_gettid);
    for (uint32_t i = 0; i < WAKES; i++) {
        while (atomic_load(&b->word) == i) {
            if (b->lab->mutant) {
                sched_yield();
            } else {
                syscall(SYS_futex, &b->word, FUTEX_WAIT_PRIVATE, i, NULL, NULL, 0);
            }
        }
        b->woke_tsc = td_tsc();
        atomic_store(&b->awake, (int)i + 1);
    }
    return NULL;
}

void td_concept_wake_up(td_lab *lab) {
    bed *b = td_lab_shared(lab, sizeof *b);
    *b = (bed){.lab = lab, .cpu = lab->cpu[lab->n_cpus > 1 ? 1 : 0]};
    td_lab_pin(lab, lab->cpu[0]);
    pthread_t thread = td_lab_thread(lab, sleep_and_wake, b);
    double call_ns[WAKES];
    long woken = 0;
    td_lab_must(lab, td_lab_await(&b->tid, 1), "start a thread");
    for (int i = 0; i < WAKES; i++) {
        if (!lab->mutant) {
            td_lab_must(lab, td_lab_await_blocked(getpid(), b->tid, SYS_futex), "sleep");
        }
        uint64_t start = td_tsc();
        atomic_store(&b->word, (uint32_t)i + 1);
        woken += syscall(SYS_futex, &b->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        uint64_t called = td_tsc();
        td_lab_must(lab, td_lab_await(&b->awake, i + 1), "wake");
        call_ns[i] = (double)(called - start) / td_tsc_hz() * 1e9;
        if (b->woke_tsc > start) {
            td_lab_sample(lab, (double)(b->woke_tsc - start) / td_tsc_hz() * 1e9);
        }
    }
    pthread_join(thread, NULL);
    td_lab_check(lab, woken == WAKES, "%d calls woke %ld sleepers", WAKES, woken);
    td_lab_sampled(lab, "waking: from the call to the sleeper's first instruction");
    td_lab_number(lab, "wake_call_us", td_lab_median(call_ns, WAKES) * 1e-3);
    td_lab_saw(lab, "the call alone takes the waker %.1f us", td_lab_median(call_ns, WAKES) * 1e-3);
}
