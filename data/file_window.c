/* SPDX-License-Identifier: Apache-2.0 */
#include "data/file_window.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SLOTS = 64 };

/* Written by the owner, read by the handler, which may run in any thread: end is set last and
 * cleared first, with release and acquire, so that a range is never seen half. */
typedef struct guard_slot {
    atomic_bool taken;
    _Atomic uintptr_t start, end;
    atomic_bool lost;
} guard_slot;

static guard_slot slots[SLOTS];
static struct sigaction outer;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static long page_bytes;

/* Only what may be called in a handler: atomics and system calls. */
static void on_bus_error(int number, siginfo_t *info, void *context) {
    uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < SLOTS; i++) {
        uintptr_t end = atomic_load_explicit(&slots[i].end, memory_order_acquire);
        uintptr_t start = atomic_load_explicit(&slots[i].start, memory_order_relaxed);
        if (at >= start && at < end) {
            void *page = (void *)(at & ~((uintptr_t)page_bytes - 1));
            atomic_store_explicit(&slots[i].lost, true, memory_order_relaxed);
            if (mmap(page, (size_t)page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                     -1, 0) != MAP_FAILED) {
                return;
            }
        }
    }
    if ((outer.sa_flags & SA_SIGINFO) != 0 && outer.sa_sigaction != NULL) {
        outer.sa_sigaction(number, info, context);
        return;
    }
    sigaction(SIGBUS, &outer, NULL); /* the access happens again, and ends as it would have */
}

static void install(void) {
    page_bytes = sysconf(_SC_PAGESIZE);
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &outer);
}

static int take_slot(uintptr_t start, uintptr_t end) {
    for (int i = 0; i < SLOTS; i++) {
        if (!atomic_exchange_explicit(&slots[i].taken, true, memory_order_acquire)) {
            atomic_store_explicit(&slots[i].lost, false, memory_order_relaxed);
            atomic_store_explicit(&slots[i].start, start, memory_order_relaxed);
            atomic_store_explicit(&slots[i].end, end, memory_order_release);
            return i + 1;
        }
    }
    return 0;
}

bool td_file_window_map(td_file_window *window, int fd, int64_t start, int64_t bytes) {
    pthread_once(&once, install);
    td_file_window_unmap(window);
    int64_t base = start / page_bytes * page_bytes, length = start - base + bytes;
    void *at = mmap(NULL, (size_t)length, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, (off_t)base);
    if (at == MAP_FAILED) {
        return false;
    }
    int slot = take_slot((uintptr_t)at, (uintptr_t)at + (uintptr_t)length);
    if (slot == 0) {
        munmap(at, (size_t)length);
        return false;
    }
    *window =
        (td_file_window){(const uint8_t *)at + (start - base), start, bytes, at, length, slot};
    return true;
}

void td_file_window_unmap(td_file_window *window) {
    if (window->slot > 0) {
        guard_slot *slot = &slots[window->slot - 1];
        munmap(window->base, (size_t)window->base_bytes);
        atomic_store_explicit(&slot->end, 0, memory_order_relaxed);
        atomic_store_explicit(&slot->taken, false, memory_order_release);
    }
    *window = (td_file_window){0};
}

bool td_file_window_lost(const td_file_window *window) {
    return window->slot > 0 &&
           atomic_load_explicit(&slots[window->slot - 1].lost, memory_order_relaxed);
}
