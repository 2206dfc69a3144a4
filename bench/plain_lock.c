/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/plain_lock.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { FREE = 0, QUIET = 1 };

static _Atomic uint32_t how = QUIET; /* as where fences may be left to those who go to sleep */

__attribute__((noinline)) static void contend(td_plain_lock *lock) {
    TD_ASSERT(lock == NULL);
}

static bool is_untroubled(const td_plain_lock *lock) {
    return atomic_load_explicit(&how, memory_order_relaxed) == QUIET &&
           atomic_load_explicit(&lock->busy, memory_order_relaxed) == 0;
}

static bool take(td_plain_lock *lock) {
    uint32_t free = FREE;
    return atomic_compare_exchange_strong_explicit(&lock->word, &free, QUIET, memory_order_acquire,
                                                   memory_order_relaxed);
}

void td_plain_take(td_plain_lock *lock) {
    if (!is_untroubled(lock)) {
        contend(lock);
    } else if (!take(lock)) {
        contend(lock);
    }
}

void td_plain_give(td_plain_lock *lock) {
    if (atomic_load_explicit(&lock->troubled, memory_order_relaxed) != 0) {
        contend(lock);
        return;
    }
    atomic_store_explicit(&lock->word, FREE, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&lock->asleep, memory_order_relaxed) != 0) {
        contend(lock);
    }
}
