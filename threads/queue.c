/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/queue.h"

#include <stdatomic.h>

#include "base/memory.h"

static const int64_t MOST = INT64_C(1) << 24;

/* The object and its cells in one block, aligned so that each index has a line of its own. */
static td_status allocate(int64_t capacity, size_t head, size_t cell, void **block, void **out) {
    enum { ALIGN = 128 };
    if (capacity < 2 || capacity > MOST || (capacity & (capacity - 1)) != 0) {
        return td_fail(TD_EUSAGE, "a queue of %lld; expected a power of two, 2 to %lld",
                       (long long)capacity, (long long)MOST);
    }
    unsigned char *memory = td_alloc_zero(head + (size_t)capacity * cell + ALIGN);
    if (memory == NULL) {
        return td_fail(TD_ENOMEM, "a queue of %lld", (long long)capacity);
    }
    *block = memory;
    *out = memory + (ALIGN - (uintptr_t)memory % ALIGN) % ALIGN;
    return TD_OK;
}

/* Each side keeps a copy of the other's index and looks at the real one only when the copy says
 * full or empty: most operations touch no line of the other side but the item's. */
struct td_ring {
    _Alignas(128) _Atomic uint64_t head; /* next to take */
    uint64_t tail_seen;
    _Alignas(128) _Atomic uint64_t tail; /* next to put */
    uint64_t head_seen;
    _Alignas(128) uint64_t mask;
    void *block;
    uint64_t items[];
};

td_status td_ring_create(int64_t capacity, td_ring **out) {
    void *block = NULL, *at = NULL;
    TD_TRY(allocate(capacity, sizeof(td_ring), sizeof(uint64_t), &block, &at));
    td_ring *ring = at;
    ring->block = block;
    ring->mask = (uint64_t)capacity - 1;
    *out = ring;
    return TD_OK;
}

void td_ring_destroy(td_ring *ring) {
    if (ring != NULL) {
        td_free(ring->block);
    }
}

bool td_ring_put(td_ring *ring, uint64_t item) {
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail - ring->head_seen > ring->mask) {
        /* acquire pairs with the release in take: the slot was read before it is written again. */
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (tail - ring->head_seen > ring->mask) {
            return false;
        }
    }
    ring->items[tail & ring->mask] = item;
    /* release pairs with the acquire in take: the item is there before it is announced. */
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}

bool td_ring_take(td_ring *ring, uint64_t *item) {
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    if (head == ring->tail_seen) {
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire); /* see put */
        if (head == ring->tail_seen) {
            return false;
        }
    }
    *item = ring->items[head & ring->mask];
    atomic_store_explicit(&ring->head, head + 1, memory_order_release); /* see put */
    return true;
}

/* Each cell counts whose turn it is: `index` when it may be filled, index + 1 when it may be
 * emptied, and a round further when it may be filled again (after D. Vyukov). */
typedef struct cell {
    _Atomic uint64_t turn;
    uint64_t item;
} cell;

struct td_queue {
    _Alignas(128) _Atomic uint64_t head;
    _Alignas(128) _Atomic uint64_t tail;
    _Alignas(128) uint64_t mask;
    void *block;
    cell cells[];
};

td_status td_queue_create(int64_t capacity, td_queue **out) {
    void *block = NULL, *at = NULL;
    TD_TRY(allocate(capacity, sizeof(td_queue), sizeof(cell), &block, &at));
    td_queue *queue = at;
    queue->block = block;
    queue->mask = (uint64_t)capacity - 1;
    for (uint64_t i = 0; i <= queue->mask; i++) {
        atomic_store_explicit(&queue->cells[i].turn, i, memory_order_relaxed);
    }
    *out = queue;
    return TD_OK;
}

void td_queue_destroy(td_queue *queue) {
    if (queue != NULL) {
        td_free(queue->block);
    }
}

/* The cell whose turn has come at *place, claimed; NULL when the queue is full or empty. */
static cell *claim(td_queue *queue, _Atomic uint64_t *place, uint64_t ahead, uint64_t *index) {
    uint64_t at = atomic_load_explicit(place, memory_order_relaxed);
    for (;;) {
        cell *c = &queue->cells[at & queue->mask];
        /* acquire pairs with the release of the other side's turn. */
        int64_t late = (int64_t)(atomic_load_explicit(&c->turn, memory_order_acquire) - at - ahead);
        if (late < 0) {
            return NULL;
        }
        if (late > 0) {
            at = atomic_load_explicit(place, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(place, &at, at + 1, memory_order_relaxed,
                                                         memory_order_relaxed)) {
            *index = at;
            return c;
        }
    }
}

bool td_queue_put(td_queue *queue, uint64_t item) {
    uint64_t index;
    cell *c = claim(queue, &queue->tail, 0, &index);
    if (c == NULL) {
        return false;
    }
    c->item = item;
    atomic_store_explicit(&c->turn, index + 1, memory_order_release); /* see claim */
    return true;
}

bool td_queue_take(td_queue *queue, uint64_t *item) {
    uint64_t index;
    cell *c = claim(queue, &queue->head, 1, &index);
    if (c == NULL) {
        return false;
    }
    *item = c->item;
    atomic_store_explicit(&c->turn, index + queue->mask + 1, memory_order_release); /* see claim */
    return true;
}
