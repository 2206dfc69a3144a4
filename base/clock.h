/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TD_BASE_CLOCK_H
#define TD_BASE_CLOCK_H

#include <stdint.h>

/* Nanoseconds of CLOCK_MONOTONIC_RAW: not slewed by NTP, the same clock in every process. */
int64_t td_now_ns(void);

/* CPU nanoseconds of the calling thread. About a microsecond under virtualisation: never inside a
 * timed loop. */
int64_t td_thread_cpu_ns(void);

/* Time stamp counter, for intervals inside one run; td_tsc_hz() calibrates once against td_now_ns
 * (20 ms). */
uint64_t td_tsc(void);
double td_tsc_hz(void);

/* Asks Ctrl-C and SIGTERM to set a flag instead of ending the process; a second one ends it. */
void td_interrupt_install(void);
int td_interrupted(void);

#endif
