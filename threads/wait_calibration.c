/* SPDX-License-Identifier: Apache-2.0
 * What sleeping costs here: a helper sleeps on another CPU, is woken, and both read the clock.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "threads/bind.h"
#include "threads/create.h"
#include "threads/wait.h"

enum { ROUNDS = 24, SETTLE_NS = 100000, GIVE_UP_NS = 20000000 };
enum { BATCHES = 12, TRIPS = 50, LOOKS = 5000 };

typedef struct helper {
    _Alignas(64) _Atomic uint32_t word; /* the futex: number of the round */
    _Alignas(64) _Atomic uint32_t awake;
    _Atomic uint64_t tsc;          /* when the helper ran again */
    _Alignas(64) _Atomic int line; /* goes to and fro: odd is on its way, even is back */
    int cpu;
} helper;

/* Bounded looks, then the CPU is given away: the other side may need it. */
static void await_line(const helper *h, int value) {
    int turns = 0;
    for (int looks = 1; atomic_load_explicit(&h->line, memory_order_acquire) != value; looks++) {
        if (looks % LOOKS == 0) {
            td_wait_turn(&turns);
        }
    }
}

static int64_t measure_line(helper *h) {
    int64_t least = 0;
    double ns = 1e9 / td_tsc_hz() / TRIPS;
    for (int batch = 0, turn = 1; batch < BATCHES; batch++) {
        uint64_t begin = td_tsc();
        for (int trip = 0; trip < TRIPS; trip++, turn += 2) {
            atomic_store_explicit(&h->line, turn, memory_order_release);
            await_line(h, turn + 1);
        }
        int64_t took = (int64_t)((double)(td_tsc() - begin) * ns);
        least = batch == 0 || took < least ? took : least;
    }
    return least;
}

static void *helper_main(void *arg) {
    helper *h = arg;
    td_bind_pu(h->cpu);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        while (atomic_load(&h->word) == round) {
            syscall(SYS_futex, &h->word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, round, NULL, NULL, 0);
        }
        atomic_store(&h->tsc, td_tsc());
        atomic_store(&h->awake, round + 1);
    }
    for (int turn = 1; turn < 2 * BATCHES * TRIPS; turn += 2) {
        await_line(h, turn);
        atomic_store_explicit(&h->line, turn + 1, memory_order_release);
    }
    return NULL;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t td_wait_median(int64_t *values, int n) {
    qsort(values, (size_t)n, sizeof *values, ascending);
    return values[n / 2];
}

/* Both CPUs of the pair are taken from the caller's mask, its own first. */
static void choose_cpus(const td_cpu_mask *mask, int *own, int *other) {
    *own = sched_getcpu();
    *other = *own;
    for (int cpu = 0; cpu < TD_MAX_PUS && *other == *own; cpu++) {
        if (cpu != *own && td_cpu_mask_has(mask, cpu)) {
            *other = cpu;
        }
    }
}

static void measure_wakes(helper *h, td_wait_costs *out) {
    int64_t call[ROUNDS], wake[ROUNDS];
    double ns = 1e9 / td_tsc_hz();
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (int64_t end = td_now_ns() + SETTLE_NS; td_now_ns() < end;) {
        }
        uint64_t begin = td_tsc();
        atomic_store(&h->word, round + 1);
        syscall(SYS_futex, &h->word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
        uint64_t after = td_tsc();
        int64_t limit = td_now_ns() + GIVE_UP_NS;
        int turns = 0;
        while (atomic_load(&h->awake) != round + 1) {
            if (h->cpu == sched_getcpu() || td_now_ns() > limit) {
                td_wait_turn(&turns); /* it needs this CPU, or others hold its own */
            }
        }
        uint64_t ran = atomic_load(&h->tsc);
        call[round] = (int64_t)((double)(after - begin) * ns);
        wake[round] = ran > begin ? (int64_t)((double)(ran - begin) * ns) : 0;
    }
    out->wake_call_ns = td_wait_median(call, ROUNDS);
    out->wake_ns = td_wait_median(wake, ROUNDS);
}

static int64_t measure_yield(void) {
    enum { CALLS = 64 };
    int64_t start = td_now_ns();
    for (int i = 0; i < CALLS; i++) {
        sched_yield();
    }
    return (td_now_ns() - start) / CALLS;
}

td_status td_wait_measure(td_wait_costs *out) {
    td_cpu_mask before;
    td_bind_get(&before);
    helper h = {0};
    int own;
    choose_cpus(&before, &own, &h.cpu);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, helper_main, &h);
    if (error != 0) {
        return td_fail(TD_ESYS, "create a thread to measure wake-ups with: %s",
                       td_create_error(error));
    }
    td_bind_pu(own);
    td_wait_costs costs = {.measured = true};
    measure_wakes(&h, &costs);
    int64_t line_ns = measure_line(&h);
    costs.line_ns = h.cpu != own ? line_ns : 0;
    costs.yield_ns = measure_yield();
    pthread_join(thread, NULL);
    td_bind_set(&before);
    *out = costs;
    return TD_OK;
}
