/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <string.h>

#include "base/clock.h"

/* Two threads run two short programs against each other, over and over; what they read tells
 * which reorderings the machine allows. Lines of their own, started by two counters. Each side
 * resets the word it will load, so that its load is quick and its store, to a line that the other
 * side holds, is slow: what can be overtaken is. */
enum { FEW = 20000, MANY = 20000000 };

typedef enum shape { STORE_BUFFER, STORE_BUFFER_FENCED, MESSAGE, LOAD_BUFFER } shape;

typedef struct arena {
    _Alignas(128) _Atomic int x;
    _Alignas(128) _Atomic int y;
    td_lab_turns turns;
    _Alignas(128) int read[2];
    shape shape;
    bool fenced; /* the mutant: no reordering can be seen */
    td_lab *lab;
} arena;

static void run_program(arena *a, int id) {
    switch (a->shape) {
    case STORE_BUFFER: {
        _Atomic int *mine = id == 0 ? &a->x : &a->y, *other = id == 0 ? &a->y : &a->x;
        /* Written twice: an order that is not a constant is taken as the strongest. */
        if (a->fenced) {
            atomic_store_explicit(mine, 1, memory_order_seq_cst);
        } else {
            atomic_store_explicit(mine, 1, memory_order_release);
        }
        a->read[id] = atomic_load_explicit(other, memory_order_acquire);
        break;
    }
    case STORE_BUFFER_FENCED: {
        _Atomic int *mine = id == 0 ? &a->x : &a->y, *other = id == 0 ? &a->y : &a->x;
        atomic_store_explicit(mine, 1, memory_order_seq_cst);
        a->read[id] = atomic_load_explicit(other, memory_order_seq_cst);
        break;
    }
    case MESSAGE:
        if (id == 0) {
            atomic_store_explicit(&a->x, 1, memory_order_relaxed);
            atomic_store_explicit(&a->y, 1, memory_order_release);
        } else {
            a->read[0] = atomic_load_explicit(&a->y, memory_order_acquire);
            a->read[1] = atomic_load_explicit(&a->x, memory_order_relaxed);
        }
        break;
    case LOAD_BUFFER:
        a->read[id] = atomic_load_explicit(id == 0 ? &a->x : &a->y, memory_order_relaxed);
        atomic_store_explicit(id == 0 ? &a->y : &a->x, 1, memory_order_relaxed);
        break;
    }
}

/* What must not be seen, or, of the store buffer, what must be. */
static bool is_weak(const arena *a) {
    switch (a->shape) {
    case STORE_BUFFER:
    case STORE_BUFFER_FENCED:
        return a->read[0] == 0 && a->read[1] == 0;
    case MESSAGE:
        return a->read[0] == 1 && a->read[1] == 0;
    case LOAD_BUFFER:
        return a->read[0] == 1 && a->read[1] == 1;
    }
    return false;
}

static void *second_side(void *arg) {
    arena *a = arg;
    td_lab_pin(a->lab, a->lab->cpu[1]);
    for (int i = 1; !a->turns.stop; i++) {
        td_lab_meet(&a->turns, 1, 2 * i - 1);
        if (a->turns.stop) {
            break;
        }
        for (int skew = i % 16; skew > 0; skew--) {
            __asm__ __volatile__("");
        }
        run_program(a, 1);
        td_lab_meet(&a->turns, 1, 2 * i);
        a->x = 0;
    }
    return NULL;
}

/* Runs `most` times, or until a weak outcome is seen when one is wanted, or for limit_s. */
static int64_t count_weak(td_lab *lab, shape what, int most, double limit_s, int64_t *runs) {
    bool until_seen = what == STORE_BUFFER;
    static arena a;
    memset((void *)&a, 0, sizeof a);
    a.shape = what;
    a.fenced = lab->mutant;
    a.lab = lab;
    int64_t weak = 0, end = td_now_ns() + (int64_t)(limit_s * 1e9);
    pthread_t other = td_lab_thread(lab, second_side, &a);
    *runs = 0;
    for (int i = 1; i <= most; i++) {
        td_lab_meet(&a.turns, 0, 2 * i - 1);
        run_program(&a, 0);
        td_lab_meet(&a.turns, 0, 2 * i);
        a.y = 0;
        weak += is_weak(&a);
        ++*runs;
        if ((until_seen && weak > 0) || (i % 32 == 0 && td_now_ns() > end)) {
            break;
        }
    }
    a.turns.stop = 1;
    pthread_join(other, NULL);
    return weak;
}

void td_concept_litmus(td_lab *lab) {
    int64_t runs;
    td_lab_pin(lab, lab->cpu[0]);
    int64_t weak = count_weak(lab, STORE_BUFFER, lab->mutant ? FEW : MANY,
                              lab->mutant ? 1 : 20, &runs);
    td_lab_check(lab, weak > 0,
                 "store x, load y against store y, load x: both loads missed the other's store, "
                 "%s run %lld",
                 weak > 0 ? "first in" : "never up to", (long long)runs);
    td_lab_number(lab, "runs_until_seen", (double)runs);
    weak = count_weak(lab, STORE_BUFFER_FENCED, FEW, 1, &runs);
    td_lab_check(lab, weak == 0, "sequentially consistent: %lld of %lld runs", (long long)weak,
                 (long long)runs);
    weak = count_weak(lab, MESSAGE, FEW, 1, &runs);
    td_lab_check(lab, weak == 0, "a flag seen without the data released before it: %lld of %lld",
                 (long long)weak, (long long)runs);
    weak = count_weak(lab, LOAD_BUFFER, FEW, 1, &runs);
    td_lab_check(lab, weak == 0, "two loads that both see the store after the other: %lld of %lld",
                 (long long)weak, (long long)runs);
}
