/* SPDX-License-Identifier: Apache-2.0
 * td_mutex without a thought of being watched: what its monitoring is measured against.
 */
#ifndef TD_BENCH_PLAIN_LOCK_H
#define TD_BENCH_PLAIN_LOCK_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct td_plain_lock {
    _Atomic uint32_t word, asleep;
    _Atomic int busy, troubled;
} td_plain_lock;

/* By one thread alone: a program that contends ends here. */
void td_plain_take(td_plain_lock *lock);
void td_plain_give(td_plain_lock *lock);

#endif
