/* SPDX-License-Identifier: Apache-2.0
 * How many instructions a function takes: the same on a busy machine and on an idle one, where a
 * time moves by more than what is to be shown.
 */
#ifndef TD_BENCH_STEP_COUNT_H
#define TD_BENCH_STEP_COUNT_H

#include <stdint.h>

/* Instructions of one call of fn(arg), counted one by one in a copy of this process; -1 when it may
 * not be traced. Not the first calls, in which memory and names may be looked up. */
typedef void td_step_fn(void *arg);
int64_t td_step_count(td_step_fn *fn, void *arg);

#endif
