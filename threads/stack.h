/* SPDX-License-Identifier: Apache-2.0
 * Stacks of threads. Registers and the used part of the stack are copied while the thread stands
 * still, and only the copy is unwound: a thread of another process is stopped through ptrace for
 * the time of the copy, one of this process copies its own in a signal handler, which calls nothing
 * but one system call. Unwinding and names need elfutils' libdw, in a module that is loaded then.
 *
 * Nothing waits without a deadline, and a thread that was stopped always goes on: the tracer is a
 * thread of its own, and the kernel lets everything go that a thread traced when it ends, however
 * it ends.
 */
#ifndef TD_THREADS_STACK_H
#define TD_THREADS_STACK_H

#include <stdint.h>

#include "base/status.h"

typedef struct td_frame {
    uint64_t pc, offset; /* offset: of pc in its function */
    char function[128];  /* "": not known */
    char place[160];     /* "file.c:12" where the program has line tables, else its module */
} td_frame;

typedef struct td_stacks td_stacks; /* opaque: one process and its modules */

/* pid may be this process. TD_ESKIP without the module or its library; TD_ESYS when the process is
 * gone or may not be looked into, or the signal is in use. */
td_status td_stacks_open(int pid, td_stacks **out);
void td_stacks_close(td_stacks *stacks);

/* The frames of one thread, innermost first, at most `most`, and how long it stood still for it.
 * TD_ESYS, with the reason, when it is gone, may not be stopped, blocks the signal, or did not stop
 * (answer) within 200 ms, 10 s when it could run and only lacks a CPU; others can be read after
 * that. Calls that a signal or a stop ends with EINTR (signal(7))
 * can end so in the thread. Reads of this process' own threads take turns. */
td_status td_stacks_read(td_stacks *stacks, int tid, td_frame *frames, int most, int *count,
                         int64_t *stopped_ns);

/* The signal of reads within this process, which a thread must not block: SIGRTMIN + 3. */
int td_stack_signal(void);

#endif
