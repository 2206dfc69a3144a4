/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <sched.h>
#include <stddef.h>
#include <sys/rseq.h>

enum { MOVES = 40 };

static const struct rseq *own_area(void) {
    return (const struct rseq *)((const char *)__builtin_thread_pointer() + __rseq_offset);
}

static uint32_t cpu_of_area(void) {
    return __atomic_load_n(&own_area()->cpu_id, __ATOMIC_RELAXED);
}

static void *address_of_area(void *arg) {
    *(const struct rseq **)arg = own_area();
    return NULL;
}

void td_concept_restartable_cpu(td_lab *lab) {
    if (__rseq_size == 0) {
        td_lab_skip(lab, "the C library has registered no area for restartable sequences");
    }
    uint32_t cached = cpu_of_area();
    int right = 0;
    for (int i = 0; i < MOVES; i++) {
        int cpu = lab->cpu[i % 2];
        td_lab_pin(lab, cpu);
        right += (int)(lab->mutant ? cached : cpu_of_area()) == cpu;
    }
    td_lab_check(lab, right == MOVES,
                 "after %d moves the kernel had written the right CPU into the thread's area %d "
                 "times",
                 MOVES, right);
    const struct rseq *other = NULL;
    pthread_join(td_lab_thread(lab, address_of_area, &other), NULL);
    td_lab_check(lab, other != NULL && other != own_area(),
                 "another thread has an area of its own");
}
