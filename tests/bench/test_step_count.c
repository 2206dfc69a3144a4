/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "bench/plain_lock.h"
#include "bench/step_count.h"
#include "threads/lock.h"

static void watched_turn(void *mutex) {
    td_mutex_lock(mutex);
    td_mutex_unlock(mutex);
}

static void plain_turn(void *lock) {
    td_plain_take(lock);
    td_plain_give(lock);
}

static void turns(void *mutex) {
    for (int i = 0; i < 10; i++) {
        watched_turn(mutex);
    }
}

/* By the instruction: a lock that may be watched, and is not, takes what one without a thought of
 * it takes; and the count tells a watched one from it, and ten turns from one. */
Test(step_count, watching_costs_nothing_while_it_is_off) {
    td_mutex mutex = {0};
    td_plain_lock plain = {0};
    int64_t off = td_step_count(watched_turn, &mutex);
    if (off < 0) {
        cr_skip("processes may not be traced here");
    }
    int64_t unwatched = td_step_count(plain_turn, &plain);
    td_mutex_monitor(true);
    int64_t on = td_step_count(watched_turn, &mutex);
    td_mutex_monitor(false);
    cr_expect_gt(off, 10);
    cr_expect_gt(td_step_count(turns, &mutex), 4 * off);
    cr_expect_gt(on, off, "%ld and %ld", (long)on, (long)off);
#ifndef TD_DEBUG
    cr_expect_leq(off, unwatched, "%ld instructions and %ld", (long)off, (long)unwatched);
#else
    (void)
        unwatched; /* sanitizers see to each access, of which the structures have different ones */
#endif
}
