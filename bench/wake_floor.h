/* SPDX-License-Identifier: Apache-2.0
 * The least that waking a thread costs: one futex, one thread asleep on another CPU.
 */
#ifndef TD_BENCH_WAKE_FLOOR_H
#define TD_BENCH_WAKE_FLOOR_H

#include <stdint.h>

#include "base/status.h"

typedef struct td_wake_floor td_wake_floor; /* opaque */

/* A sleeper bound to a PU. */
td_status td_wake_floor_start(int pu, td_wake_floor **out);
void td_wake_floor_end(td_wake_floor *floor);

/* Wakes the sleeper: the time of the call that wakes, and the time from before it until the
 * sleeper runs. Afterwards it goes to sleep again. */
void td_wake_floor_sample(td_wake_floor *floor, double *call_ns, double *run_ns);

#endif
