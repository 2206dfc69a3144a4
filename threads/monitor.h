/* SPDX-License-Identifier: Apache-2.0
 * The threads of this or another process of the user: names, states, times, what each waits for and
 * who holds it, and deadlocks. Nothing is stopped and nothing is asked of the process: everything
 * is read from /proc, so a stock program with glibc's mutexes is seen as well as this one.
 */
#ifndef TD_THREADS_MONITOR_H
#define TD_THREADS_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "threads/procfs.h"

/* RUNNING is on a CPU or in line for one. BLOCKED waits for a mutex or a read-write lock whose
 * owner (a writer) is known, WAITING for anything else. */
#define TD_THREAD_STATE_MAP(X)                                                                     \
    X(RUNNING)                                                                                     \
    X(BLOCKED)                                                                                     \
    X(WAITING)                                                                                     \
    X(TIMED_WAITING)                                                                               \
    X(IN_CALL)                                                                                     \
    X(UNINTERRUPTIBLE)                                                                             \
    X(STOPPED)                                                                                     \
    X(TERMINATED)
typedef enum td_thread_state {
#define TD_THREAD_STATE_ENUM(name) TD_THREAD_##name,
    TD_THREAD_STATE_MAP(TD_THREAD_STATE_ENUM)
#undef TD_THREAD_STATE_ENUM
} td_thread_state;
const char *td_thread_state_name(td_thread_state state);

typedef struct td_thread_info {
    int pid, tid;
    td_proc_stat stat;
    td_proc_sched sched;
    td_proc_switches switches;
    td_proc_call call;
    td_thread_state state;
    uint64_t lock; /* address that it waits for in a futex; 0: none */
    int owner;     /* task that holds it, alive or not, or whose end it waits for; 0: not known */
    bool joins;    /* it waits for the end of `owner`, not for a lock */
    bool refused;  /* the kernel refused it a lock, and it sleeps for ever; see threads/holder.h */
    char lock_name[24]; /* of a monitored td_mutex; "": none */
    int cycle;     /* which deadlock it is part of, from 1; 0: none */
    int depth;     /* of its process below the root, in a list of td_monitor_tree */
} td_thread_info;

typedef struct td_thread_list {
    td_thread_info *at;
    int count;
    int deadlocks; /* confirmed: nobody in one ran between two looks */
    int hidden;    /* processes of td_monitor_tree that ended or may not be looked at */
} td_thread_list;

/* TD_ESYS with the reason why a process may not be looked at, or that it is not there. */
td_status td_monitor_refused(int pid);

/* All threads of the processes. TD_ESYS when one is gone or may not be looked at. */
td_status td_monitor_list(const int *pids, int n_pids, td_thread_list *out);

/* The threads of a process and of all its descendants, each process before its children; root 0:
 * of all processes. Descendants that may not be looked at are counted only; TD_ESYS when that is
 * so of the root. */
td_status td_monitor_tree(int root, td_thread_list *out);

/* As td_monitor_list, and finds cycles of threads that wait for each other's locks or ends; a cycle
 * counts when its members wait for the same, and none has run, at a second look 5 ms later. Locks
 * shared by several of the processes are followed too. A thread that was refused the lock that
 * would have closed a cycle has as its owner the last of those who wait for it. */
td_status td_monitor_deadlocks(const int *pids, int n_pids, td_thread_list *out);
void td_thread_list_destroy(td_thread_list *list);

/* A lock that threads wait for; they have its address and its owner as `lock` and `owner`. */
typedef struct td_lock_info {
    uint64_t address;
    const char *name; /* in the list; "": none */
    int owner, waiters;
} td_lock_info;

/* Writes the locks with a known owner that threads of the list wait for, at most list->count, most
 * waiters first, and returns how many. A lock that processes share is one if they have it at one
 * address. */
int td_monitor_locks(const td_thread_list *list, td_lock_info *out);

/* What a thread did between two lists; cpu and line are shares of the time between them. */
typedef struct td_thread_rate {
    const td_thread_info *now;
    double cpu, line; /* on a CPU, in line for one */
    int64_t voluntary, involuntary;
} td_thread_rate;

/* out: now->count rates, borrowing from `now`, busiest first. A thread that `before` does not have
 * was born since: all it did counts. */
void td_monitor_rates(const td_thread_list *before, const td_thread_list *now, int64_t elapsed_ns,
                      td_thread_rate *out);

/* The name of a system call that threads are often seen in, or NULL. */
const char *td_call_name(long number);

#endif
