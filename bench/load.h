/* SPDX-License-Identifier: Apache-2.0
 * Work of a known length, and processes that take CPUs away.
 */
#ifndef TD_BENCH_LOAD_H
#define TD_BENCH_LOAD_H

#include <stdbool.h>
#include <sys/types.h>

#include "bench/case.h"

/* So many steps, about 1 ns each, of a chain that cannot be shortened. Never 0. */
unsigned td_load_work(unsigned seed, int64_t units);

enum { TD_MOST_HOGS = 64 };

/* Processes that never wait. They die with the thread that started them. */
typedef struct td_hogs {
    int count;
    pid_t pid[TD_MOST_HOGS];
} td_hogs;

/* One bound to each PU of a rank's workers, also where several share it; one that is not bound for
 * each worker without. TD_ESKIP in a program of real-time priority, which they would inherit:
 * nobody then gets a fair share. */
td_status td_hogs_start(const td_rank *rank, td_hogs *out);
/* Lets them stand still, or go on. */
void td_hogs_rest(const td_hogs *hogs, bool rest);
void td_hogs_end(td_hogs *hogs);

#endif
