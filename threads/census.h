/* SPDX-License-Identifier: Apache-2.0
 * What the kernel keeps nobody's count of: how many threads a process has started, how many it had
 * at most, and how often and how long each was blocked for a lock or waited. A program that was
 * started with the census library loaded before it (`tandem threads exec`) counts this in a page
 * that others may read, and turn on and off, while it runs. Nothing of it is stopped or asked.
 */
#ifndef TD_THREADS_CENSUS_H
#define TD_THREADS_CENSUS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* The page, in memory of this name that the program keeps open; written by it alone but for
 * `contention` and resets. */
#define TD_CENSUS_NAME "tandem-census"
enum { TD_CENSUS_MAGIC = 0x54434e31, TD_CENSUS_THREADS = 4096 };

/* Blocked: for a mutex or read-write lock that another holds. Waited: for a condition, a semaphore,
 * a barrier, the end of a thread, or time to pass. */
typedef struct td_census_thread {
    _Atomic int tid; /* 0: nobody's */
    _Atomic int64_t blocked, blocked_ns, waited, waited_ns;
} td_census_thread;

typedef struct td_census_page {
    uint32_t magic;
    _Atomic int contention; /* whether blocked and waited are counted; 0 at first */
    _Atomic int64_t started, live, peak, unlisted; /* unlisted: threads that found no room here */
    td_census_thread thread[TD_CENSUS_THREADS];
} td_census_page;

typedef struct td_census td_census; /* opaque: the page of one process */

/* TD_ESKIP when the process keeps no census, TD_ESYS when it is gone or another user's. */
td_status td_census_open(int pid, td_census **out);
void td_census_close(td_census *census);

typedef struct td_census_counts {
    int64_t started, live, peak; /* threads, main's among them */
    bool contention;
} td_census_counts;
td_census_counts td_census_read(const td_census *census);

/* What one thread has counted; false when it is not in the census. */
typedef struct td_census_waits {
    int64_t blocked, blocked_ns, waited, waited_ns;
} td_census_waits;
bool td_census_of(const td_census *census, int tid, td_census_waits *out);

/* Counting of blocked and waited on or off, from outside. Returns what it was. */
bool td_census_contention(td_census *census, bool on);

/* The peak becomes what is live now. */
void td_census_reset_peak(td_census *census);

/* The library to load before a program; TD_ESKIP when it was not built or is gone. */
td_status td_census_library(const char **path);

#endif
