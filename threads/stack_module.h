/* SPDX-License-Identifier: Apache-2.0
 * What the module that unwinds offers (stack_module.c, with elfutils' libdw), loaded when stacks
 * are asked for, so that Tandem itself needs no such library.
 */
#ifndef TD_THREADS_STACK_MODULE_H
#define TD_THREADS_STACK_MODULE_H

#include <stddef.h>
#include <stdint.h>

#include "threads/stack.h"

enum { TD_STACK_MODULE_VERSION = 2, TD_STACK_REGISTERS = 17 };

/* A thread as it stood still: registers in the order of DWARF for x86-64 (rax rdx rcx rbx rsi rdi
 * rbp rsp r8..r15 rip), and the stack from `base` on. */
typedef struct td_stack_copy {
    int pid, tid;
    uint64_t registers[TD_STACK_REGISTERS];
    uint64_t base, bytes;
    const unsigned char *data;
} td_stack_copy;

typedef struct td_stack_module {
    int version;
    size_t process_bytes; /* of zeroed memory that open and the rest work in */
    /* 0, or -1 and the reason in why, when the process cannot be looked into. */
    int (*open)(void *process, int pid, char *why, size_t why_bytes);
    void (*close)(void *process); /* also after a failed open */
    /* How many frames it found: at least one, of at least one. */
    int (*walk)(void *process, const td_stack_copy *copy, td_frame *frames, int most);
    /* The same, always by libdw alone: slow, and what `walk` is held to. */
    int (*walk_by_libdw)(void *process, const td_stack_copy *copy, td_frame *frames, int most);
} td_stack_module;

extern const td_stack_module td_stack_module_table;

#endif
