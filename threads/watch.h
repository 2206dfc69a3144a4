/* SPDX-License-Identifier: Apache-2.0
 * Watching processes for deadlocks, a thousand looks a second for a few per cent of a CPU. A look
 * reads one line of each thread, from files that stay open, and follows who waits for whom; nothing
 * is stopped. What looks like a cycle for 2 ms is handed to td_monitor_deadlocks, which decides.
 */
#ifndef TD_THREADS_WATCH_H
#define TD_THREADS_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "threads/monitor.h"

typedef struct td_watch td_watch; /* opaque */

/* TD_ESYS when a process is gone or may not be looked at, or too many files would be open. */
td_status td_watch_open(const int *pids, int n_pids, td_watch **out);
void td_watch_close(td_watch *watch);

/* One look. found->deadlocks is 0, or the list is as td_monitor_deadlocks gives it, to be destroyed
 * by the caller. TD_ESYS when a process has ended, or a new thread's file cannot be opened. */
td_status td_watch_look(td_watch *watch, td_thread_list *found);

/* So many looks, one every interval_ns or as fast as they go; ends early as td_watch_look does. */
td_status td_watch_run(td_watch *watch, int64_t looks, int64_t interval_ns, td_thread_list *found);

typedef struct td_watch_counts {
    int64_t looks;
    int64_t suspected; /* cycles that td_monitor_deadlocks was asked about */
    int threads;
    bool ended; /* a process has: the reason of a TD_ESYS */
} td_watch_counts;
td_watch_counts td_watch_count(const td_watch *watch);

#endif
