/* SPDX-License-Identifier: Apache-2.0
 * What a process does between two points, on all of its threads: calls of malloc and its kin (from
 * any library), minor page faults, system calls other than futex, growth of the resident set.
 *
 * System calls are counted by a seccomp filter that asks a thread of this file about each of them
 * and then lets it pass. The filter stays until the process ends, so a watched process is a child.
 */
#ifndef TD_TESTS_MODELS_STEP_WATCH_H
#define TD_TESTS_MODELS_STEP_WATCH_H

#include <stdint.h>

#include "base/status.h"

typedef struct watch_counts {
    int64_t allocations, minor_faults, syscalls, resident_growth_bytes;
    int first_syscall; /* its number, -1: none */
} watch_counts;

/* Once in a process. TD_ESKIP: this system does not let a process watch itself. */
td_status step_watch_start(void);
void step_watch_stop(watch_counts *out);

/* From malloc_count.c: counts while on. */
void malloc_count_set(int on);
int64_t malloc_count_get(void);

#endif
