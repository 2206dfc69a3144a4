/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

/* A stack of nodes that are used again, after R. K. Treiber. The word that is exchanged has the
 * top's number, and beside it how often it was exchanged, unless the mutant leaves that out. */
enum { NODES = 8, NOBODY = NODES, HANDS = 4, TURNS = 20000 };

typedef struct stack {
    _Alignas(128) _Atomic uint64_t top; /* a node's number, above it the count */
    _Alignas(128) _Atomic uint32_t next[NODES];
    _Atomic int holders[NODES]; /* 1: taken and not put back */
    _Atomic int held_twice, puts;
    uint64_t count_by;
} stack;

static uint32_t node_of(uint64_t word) {
    return (uint32_t)word;
}

static uint64_t word_of(const stack *s, uint64_t before, uint32_t node) {
    return ((before & ~(uint64_t)UINT32_MAX) + s->count_by) | node;
}

/* release pairs with the acquire in finish_take: the node's next is there. */
static void put(stack *s, uint32_t node) {
    atomic_fetch_sub(&s->holders[node], 1);
    uint64_t top = atomic_load_explicit(&s->top, memory_order_relaxed);
    do {
        atomic_store_explicit(&s->next[node], node_of(top), memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(&s->top, &top, word_of(s, top, node),
                                                    memory_order_release, memory_order_relaxed));
    atomic_fetch_add(&s->puts, 1);
}

/* Taking has two steps, between which others may do anything. */
typedef struct half_taken {
    uint64_t seen;
    uint32_t next;
} half_taken;

static half_taken begin_take(stack *s) {
    /* acquire pairs with the release in put. */
    half_taken h = {.seen = atomic_load_explicit(&s->top, memory_order_acquire), .next = NOBODY};
    if (node_of(h.seen) != NOBODY) {
        h.next = atomic_load_explicit(&s->next[node_of(h.seen)], memory_order_relaxed);
    }
    return h;
}

static bool finish_take(stack *s, half_taken h) {
    if (!atomic_compare_exchange_strong_explicit(&s->top, &h.seen, word_of(s, h.seen, h.next),
                                                 memory_order_acquire, memory_order_relaxed)) {
        return false;
    }
    int before = atomic_fetch_add(&s->holders[node_of(h.seen)], 1);
    atomic_fetch_add(&s->held_twice, before != 0);
    return true;
}

/* NOBODY: it is empty. */
static uint32_t take(stack *s) {
    for (;;) {
        half_taken h = begin_take(s);
        if (node_of(h.seen) == NOBODY || finish_take(s, h)) {
            return node_of(h.seen);
        }
    }
}

static void *take_and_put(void *arg) {
    stack *s = arg;
    for (int turn = 0; turn < TURNS; turn++) {
        uint32_t first = take(s), second = take(s);
        if (first != NOBODY) {
            put(s, first);
        }
        if (second != NOBODY) {
            put(s, second);
        }
    }
    return NULL;
}

static void fill(stack *s, bool counted) {
    *s = (stack){.top = NOBODY, .count_by = counted ? UINT64_C(1) << 32 : 0};
    for (uint32_t node = 0; node < NODES; node++) {
        s->holders[node] = 1;
        put(s, node);
    }
    s->puts = 0;
}

static void *change_below(void *arg) {
    stack *s = arg;
    uint32_t first = take(s);
    take(s); /* and keeps it */
    put(s, first);
    return NULL;
}

/* One thread has read the top and what lies below; another takes both, and puts the top back. */
static void come_back(td_lab *lab, stack *s, bool counted, bool *fooled, int *twice) {
    fill(s, counted);
    half_taken h = begin_take(s);
    pthread_join(td_lab_thread(lab, change_below, s), NULL);
    td_lab_check(lab, node_of(atomic_load(&s->top)) == node_of(h.seen),
                 "%s: another thread took two nodes and put one back, and node %u is on top again",
                 counted ? "with a count" : "without", node_of(h.seen));
    *fooled = finish_take(s, h);
    for (int i = 0; i < NODES && take(s) != NOBODY; i++) {
    }
    *twice = s->held_twice;
}

void td_concept_aba(td_lab *lab) {
    static stack s;
    bool fooled = false;
    int twice = 0;
    come_back(lab, &s, false, &fooled, &twice);
    td_lab_check(lab, fooled && twice > 0, "a bare exchange succeeds, and %d node is had by two",
                 twice);
    come_back(lab, &s, !lab->mutant, &fooled, &twice);
    td_lab_check(lab, !fooled && twice == 0,
                 "with a count of exchanges beside it the exchange is refused: %d had by two",
                 twice);
    fill(&s, true);
    pthread_t hands[HANDS];
    for (int i = 0; i < HANDS; i++) {
        hands[i] = td_lab_thread(lab, take_and_put, &s);
    }
    for (int i = 0; i < HANDS; i++) {
        pthread_join(hands[i], NULL);
    }
    int left = 0;
    while (left <= NODES && take(&s) != NOBODY) {
        left++;
    }
    td_lab_check(lab, left == NODES && s.held_twice == 0 && s.puts > 0,
                 "%d threads put %d nodes back, all %d are there in the end, none was had by two",
                 HANDS, s.puts, left);
}
