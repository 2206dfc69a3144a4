/* SPDX-License-Identifier: Apache-2.0
 * Who holds what a thread sleeps for in a futex, as far as the memory of its process tells: glibc's
 * mutexes and read-write locks, td_mutex, and the end of a thread that pthread_join waits for.
 */
#ifndef TD_THREADS_HOLDER_H
#define TD_THREADS_HOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "threads/procfs.h"

/* Whether there is such a task in the process, or, pid 0, in any. */
typedef bool td_task_fn(void *arg, int pid, int tid);

typedef struct td_holder {
    uint64_t lock; /* the futex; 0: it waits for none */
    int owner;     /* task that holds it, alive or not, or whose end is waited for; 0: not known */
    bool joins;    /* the end of `owner`, not a lock */
    /* It sleeps for ever: the kernel refused it a priority-inheriting mutex that would have closed
     * a cycle, or whose owner had ended. Which one it was is in no memory. */
    bool refused;
    char name[24]; /* of a monitored td_mutex; "": none */
} td_holder;

/* call: what the thread sleeps in, SYS_futex. */
td_holder td_holder_find(int pid, int tid, const td_proc_call *call, td_task_fn *task, void *arg);

#endif
