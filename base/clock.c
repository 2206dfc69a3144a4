/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

static int64_t read_clock(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t td_now_ns(void) {
    return read_clock(CLOCK_MONOTONIC_RAW);
}
int64_t td_thread_cpu_ns(void) {
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}
uint64_t td_tsc(void) {
    return __rdtsc();
}

double td_tsc_hz(void) {
    static _Atomic double known;
    double hz = atomic_load_explicit(&known, memory_order_relaxed);
    if (hz == 0) {
        int64_t start_ns = td_now_ns(), now_ns;
        uint64_t start = td_tsc();
        while ((now_ns = td_now_ns()) < start_ns + 20000000) {
        }
        hz = (double)(td_tsc() - start) * 1e9 / (double)(now_ns - start_ns);
        /* Two threads may calibrate at once; both answers are good. */
        atomic_store_explicit(&known, hz, memory_order_relaxed);
    }
    return hz;
}

static _Atomic int interrupts;

static void on_interrupt(int number) {
    if (atomic_fetch_add(&interrupts, 1) >= 1) {
        signal(number, SIG_DFL);
        raise(number);
    }
}

void td_interrupt_install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int td_interrupted(void) {
    return atomic_load_explicit(&interrupts, memory_order_relaxed);
}
