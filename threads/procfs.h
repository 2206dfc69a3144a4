/* SPDX-License-Identifier: Apache-2.0
 * What /proc tells of processes and their tasks. Every function answers with a count or
 * false, never with an error: a process may end between two reads.
 */
#ifndef TD_THREADS_PROCFS_H
#define TD_THREADS_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads a small file whole, NUL-terminated and cut at bytes - 1. Returns its length, or -1. */
long td_proc_read(char *text, size_t bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The number behind "key:" at the start of a line of text; -1 when there is none. */
int64_t td_proc_field(const char *text, const char *key);

/* td_proc_field of a file. */
int64_t td_proc_number(const char *path, const char *key);

/* Tasks that callers make room for. */
enum { TD_MOST_TASKS = 8192 };

/* The task ids of a process in ascending order, at most `most`. Returns the count; 0: it is gone.
 */
int td_proc_tasks(int pid, int *tid, int most);

/* The numbers of the descriptors of a process, as td_proc_tasks; 0 also when it is another user's.
 */
int td_proc_files(int pid, int *fd, int most);

/* The ids of all processes, as td_proc_tasks. */
int td_proc_pids(int *pid, int most);

/* Fields of /proc/<pid>/task/<tid>/stat; numbers in proc(5). */
typedef struct td_proc_stat {
    char comm[32], state;
    int ppid, threads, priority, nice, cpu, policy;
    int64_t minflt, majflt, utime_ticks, stime_ticks, start_ticks;
} td_proc_stat;
bool td_proc_stat_read(int pid, int tid, td_proc_stat *out);

/* Voluntary and involuntary context switches of one task. */
typedef struct td_proc_switches {
    int64_t voluntary, involuntary;
} td_proc_switches;
td_proc_switches td_proc_switches_read(int pid, int tid);

/* What a task is blocked in: /proc/<pid>/task/<tid>/syscall. number is -1 when it is on a CPU or
 * runnable, -2 when the kernel does not tell. */
typedef struct td_proc_call {
    long number;
    uint64_t argument[6], sp, pc;
} td_proc_call;
td_proc_call td_proc_call_read(int pid, int tid);

/* The same from the line of that file. */
td_proc_call td_proc_call_parse(const char *line);

/* Copies memory of a process, by process_vm_readv or, where that is refused, from its file. Returns
 * the bytes there were, 0 for none. Only system calls: fit for a signal handler. */
size_t td_proc_memory_read(int pid, uint64_t address, void *to, size_t bytes);

/* Nanoseconds on a CPU and waiting for one, and the times it got one; false without schedstat. */
typedef struct td_proc_sched {
    int64_t run_ns, delay_ns, slices;
} td_proc_sched;
bool td_proc_sched_read(int pid, int tid, td_proc_sched *out);

/* Ticks of all CPUs together since the system began, and of those the ones in which a host ran
 * something else; 0 where the kernel does not tell. */
typedef struct td_proc_ticks {
    int64_t total, stolen;
} td_proc_ticks;
td_proc_ticks td_proc_ticks_read(void);

#endif
