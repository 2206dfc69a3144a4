/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

/* The store buffer of litmus.c with one cheap side: it only keeps the compiler from reordering, and
 * the other side makes every CPU of the process pass a barrier. */
enum { RUNS = 30000, RUNS_MUTANT = 3000000 };

typedef struct arena {
    _Alignas(128) _Atomic int x;
    _Alignas(128) _Atomic int y;
    td_lab_turns turns;
    _Alignas(128) int read[2];
    td_lab *lab;
    int runs;
} arena;

static void *cheap_side(void *arg) {
    arena *a = arg;
    td_lab_pin(a->lab, a->lab->cpu[1]);
    for (int i = 1; !a->turns.stop; i++) {
        td_lab_meet(&a->turns, 1, 2 * i - 1);
        atomic_store_explicit(&a->y, 1, memory_order_relaxed);
        __asm__ __volatile__("" ::: "memory");
        a->read[1] = atomic_load_explicit(&a->x, memory_order_relaxed);
        td_lab_meet(&a->turns, 1, 2 * i);
        a->x = 0; /* see litmus.c: makes the other side's store slow */
    }
    return NULL;
}

void td_concept_asymmetric_fence(td_lab *lab) {
    static arena a;
    long offers = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    if (offers < 0 || !(offers & MEMBARRIER_CMD_PRIVATE_EXPEDITED)) {
        td_lab_skip(lab, "the kernel offers no membarrier");
    }
    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    a.lab = lab;
    a.turns.sides = 2;
    td_lab_pin(lab, lab->cpu[0]);
    pthread_t other = td_lab_thread(lab, cheap_side, &a);
    int weak = 0, done = 0, failed = 0;
    int64_t end = td_now_ns() + (lab->mutant ? INT64_C(20000000000) : 1000000000);
    for (int i = 1; i <= (lab->mutant ? RUNS_MUTANT : RUNS); i++) {
        td_lab_meet(&a.turns, 0, 2 * i - 1);
        atomic_store_explicit(&a.x, 1, memory_order_relaxed);
        __asm__ __volatile__("" ::: "memory");
        if (!lab->mutant) {
            failed += syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0;
        }
        a.read[0] = atomic_load_explicit(&a.y, memory_order_relaxed);
        td_lab_meet(&a.turns, 0, 2 * i);
        a.y = 0;
        weak += a.read[0] == 0 && a.read[1] == 0;
        done = i;
        if ((lab->mutant && weak > 0) || (i % 32 == 0 && td_now_ns() > end)) {
            break;
        }
    }
    a.turns.stop = 1;
    pthread_join(other, NULL);
    td_lab_check(lab, weak == 0,
                 "one side calls membarrier, the other has no fence: both missed the other's store "
                 "in %d of %d runs",
                 weak, done);
    td_lab_check(lab, failed == 0 && done >= 32, "%d calls were made", done - failed);
}
