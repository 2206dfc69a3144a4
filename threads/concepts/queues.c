/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/concepts/lab.h"

#include <string.h>

#include "threads/queue.h"

enum { PRODUCERS = 2, CONSUMERS = 2, ITEMS = 5000, ROOM = 64 };

typedef struct belt {
    td_ring *ring;
    td_queue *queue;
    bool drops;
    _Atomic int producing;
    _Atomic int64_t taken, sum, disorder;
} belt;

typedef struct hand {
    belt *belt;
    int id;
} hand;

static bool put(belt *b, uint64_t item) {
    if (b->drops && item % 1000 == 999) {
        return true; /* the mutant says it has it, and has not */
    }
    return b->ring != NULL ? td_ring_put(b->ring, item) : td_queue_put(b->queue, item);
}

static void *produce(void *arg) {
    const hand *h = arg;
    for (uint64_t i = 1; i <= ITEMS; i++) {
        while (!put(h->belt, (uint64_t)h->id << 32 | i)) {
            td_lab_nap();
        }
    }
    atomic_fetch_sub(&h->belt->producing, 1);
    return NULL;
}

static bool take(belt *b, uint64_t *item) {
    return b->ring != NULL ? td_ring_take(b->ring, item) : td_queue_take(b->queue, item);
}

/* Each consumer sees the items of one producer in order, whoever takes the others. */
static void *consume(void *arg) {
    belt *b = ((const hand *)arg)->belt;
    uint64_t last[PRODUCERS] = {0}, item;
    for (;;) {
        bool ended = b->producing == 0; /* looked up before the belt is found empty */
        if (!take(b, &item)) {
            if (ended) {
                return NULL;
            }
            td_lab_nap();
            continue;
        }
        b->disorder += (item & 0xFFFFFFFF) <= last[item >> 32];
        last[item >> 32] = item & 0xFFFFFFFF;
        b->sum += (int64_t)(item & 0xFFFFFFFF);
        b->taken++;
    }
}

static void run_belt(td_lab *lab, belt *b, int producers, int consumers, const char *name) {
    hand hands[PRODUCERS];
    pthread_t threads[PRODUCERS + CONSUMERS];
    b->producing = producers;
    for (int i = 0; i < producers; i++) {
        hands[i] = (hand){.belt = b, .id = i};
        threads[i] = td_lab_thread(lab, produce, &hands[i]);
    }
    for (int i = 0; i < consumers; i++) {
        threads[producers + i] = td_lab_thread(lab, consume, &hands[0]);
    }
    for (int i = 0; i < producers + consumers; i++) {
        pthread_join(threads[i], NULL);
    }
    int64_t sum = (int64_t)producers * ITEMS * (ITEMS + 1) / 2;
    td_lab_check(lab, b->taken == (int64_t)producers * ITEMS && b->sum == sum,
                 "%s: %d put in %d items, %d took out %lld, each once", name, producers,
                 producers * ITEMS, consumers, (long long)b->taken);
    td_lab_check(lab, b->disorder == 0, "%s: %lld out of a producer's order", name,
                 (long long)b->disorder);
}

void td_concept_queues(td_lab *lab) {
    belt one = {.drops = lab->mutant}, many = {.drops = lab->mutant};
    td_lab_must(lab, td_ring_create(ROOM, &one.ring) == TD_OK &&
                         td_queue_create(ROOM, &many.queue) == TD_OK, "queues");
    run_belt(lab, &one, 1, 1, "ring");
    run_belt(lab, &many, PRODUCERS, CONSUMERS, "queue");
    uint64_t item;
    int held = 0;
    while (held < 2 * ROOM && td_ring_put(one.ring, (uint64_t)held)) {
        held++;
    }
    td_lab_check(lab, held == ROOM, "a ring of %d refuses item %d", ROOM, held + 1);
    td_lab_check(lab, !td_queue_take(many.queue, &item), "an empty queue gives nothing");
}
