/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { STACK = 128 << 10, GUARD = 64 << 10, NEIGHBOUR = 64 << 10, CANARY = 0x5A };

static _Atomic uintptr_t fault_at;
static _Atomic int fault_code;
static uintptr_t floor_at;

static void note_fault(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)context;
    fault_at = (uintptr_t)info->si_addr;
    fault_code = info->si_code;
    pthread_exit(NULL);
}

/* Goes down by 1 KiB a call until it is below the stack, wherever that leads. */
static int descend(int depth) {
    _Atomic unsigned char frame[1024];
    atomic_store_explicit(&frame[0], (unsigned char)depth, memory_order_relaxed);
    if ((uintptr_t)frame < floor_at) {
        return depth;
    }
    return descend(depth + 1) + frame[0] * 0;
}

static void *overflow(void *arg) {
    stack_t alternative = {.ss_sp = arg, .ss_size = 1 << 16};
    sigaltstack(&alternative, NULL);
    descend(0);
    return NULL;
}

void td_concept_stack_guard(td_lab *lab) {
    static _Alignas(64) unsigned char signal_stack[1 << 16];
    unsigned char *block = mmap(NULL, NEIGHBOUR + GUARD + STACK, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    td_lab_must(lab, block != MAP_FAILED, "a stack");
    memset(block, CANARY, NEIGHBOUR);
    if (!lab->mutant) {
        td_lab_must(lab, mprotect(block + NEIGHBOUR, GUARD, PROT_NONE) == 0, "a guard");
    }
    floor_at = (uintptr_t)block + NEIGHBOUR - 4096; /* one page into the neighbour */
    struct sigaction action = {.sa_sigaction = note_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, block + NEIGHBOUR + GUARD, STACK);
    pthread_t thread;
    td_lab_must(lab, pthread_create(&thread, &attributes, overflow, signal_stack) == 0,
                "a thread on this stack");
    pthread_join(thread, NULL);
    uintptr_t low = (uintptr_t)block + NEIGHBOUR, high = low + GUARD;
    td_lab_check(lab, fault_at >= low && fault_at < high,
                 "an overflow of the stack faults in the guard below it");
    td_lab_check(lab, fault_code == SEGV_ACCERR, "as an access that is not allowed (code %d)",
                 fault_code);
    size_t changed = 0;
    for (size_t i = 0; i < NEIGHBOUR; i++) {
        changed += block[i] != CANARY;
    }
    td_lab_check(lab, changed == 0, "%zu bytes of the memory below were overwritten", changed);
}
