/* SPDX-License-Identifier: Apache-2.0 */
#include "threads/barrier.h"

#include <string.h>

#include "base/aligned.h"
#include "base/memory.h"

/* Arrivals are counted in a tree of counters: a single one is a line that every core must own in
 * turn, more than 10 us for 56 cores. Eight neighbours, which a layout places close together, share
 * a counter. */
enum { FAN_IN = 8, MOST_THREADS = 1024 };
_Static_assert(FAN_IN *FAN_IN *FAN_IN *FAN_IN >= MOST_THREADS, "the tree holds everybody");
_Static_assert(1 << TD_BARRIER_ROUNDS >= MOST_THREADS, "the rounds reach everybody");

static int groups_at(int count, int level) {
    for (int i = 0; i <= level; i++) {
        count = (count + FAN_IN - 1) / FAN_IN;
    }
    return count;
}

size_t td_meeting_counters(int count) {
    size_t counters = 0;
    for (int level = 0; level < TD_MEETING_LEVELS; level++) {
        counters += (size_t)groups_at(count, level);
    }
    return counters;
}

void td_meeting_init(td_meeting *meeting, int count, td_meeting_counter **next) {
    for (int level = 0; level < TD_MEETING_LEVELS; level++) {
        meeting->level[level] = *next;
        *next += groups_at(count, level);
    }
}

bool td_meeting_arrive(td_meeting *meeting, int id, int count) {
    for (int level = 0; count > 1; level++) {
        int group = id / FAN_IN;
        int size = count - group * FAN_IN < FAN_IN ? count - group * FAN_IN : FAN_IN;
        _Atomic int *arrived =
            count == 2 ? &meeting->line.arrived : &meeting->level[level][group].arrived;
        /* acq_rel: releases this thread's writes to the last one of the group, which acquires them
         * all. */
        if (atomic_fetch_add_explicit(arrived, 1, memory_order_acq_rel) != size - 1) {
            return false;
        }
        /* Reset before `passed` advances; nobody arrives here again before that. */
        atomic_store_explicit(arrived, 0, memory_order_relaxed);
        id = group;
        count = groups_at(count, 0);
    }
    return true;
}

void td_meeting_reset(td_meeting *meeting, int count) {
    size_t counters = td_meeting_counters(count); /* of all levels, one after the other */
    for (size_t i = 0; i < counters; i++) {
        atomic_store_explicit(&meeting->level[0][i].arrived, 0, memory_order_relaxed);
    }
    atomic_store_explicit(&meeting->line.arrived, 0, memory_order_relaxed);
}

/* ---- the ladder ---- */

typedef struct seat {
    _Alignas(128) uint32_t phase;
    td_event signal[TD_BARRIER_ROUNDS];
} seat;

struct td_barrier {
    const td_barrier_kind *kind;
    td_wait_rule rule;
    int count;
    td_meeting_counter central;
    td_meeting meeting;
    pthread_barrier_t posix;
    seat seats[];
};

static void pass_or_wait(td_barrier *b, bool last, uint32_t phase) {
    if (last) {
        td_event_advance(&b->meeting.line.passed, &b->rule);
    } else {
        td_event_wait(&b->meeting.line.passed, phase, &b->rule, 0, NULL);
    }
}

static void central_wait(td_barrier *b, int id) {
    uint32_t phase = ++b->seats[id].phase;
    /* acq_rel and the reset: as in td_meeting_arrive. */
    bool last =
        atomic_fetch_add_explicit(&b->central.arrived, 1, memory_order_acq_rel) == b->count - 1;
    if (last) {
        atomic_store_explicit(&b->central.arrived, 0, memory_order_relaxed);
    }
    pass_or_wait(b, last, phase);
}

static void tree_wait(td_barrier *b, int id) {
    uint32_t phase = ++b->seats[id].phase;
    pass_or_wait(b, td_meeting_arrive(&b->meeting, id, b->count), phase);
}

/* In round r a thread signals the one 2^r further on and waits for the one 2^r behind: after the
 * last round every arrival has reached everybody. */
static void dissemination_wait(td_barrier *b, int id) {
    uint32_t phase = ++b->seats[id].phase;
    for (int round = 0; 1 << round < b->count; round++) {
        td_event_advance(&b->seats[(id + (1 << round)) % b->count].signal[round], &b->rule);
        td_event_wait(&b->seats[id].signal[round], phase, &b->rule, 0, NULL);
    }
}

static void posix_wait(td_barrier *b, int id) {
    (void)id;
    pthread_barrier_wait(&b->posix);
}

static const td_barrier_kind kinds[] = {
    {"central", "one counter", central_wait},
    {"tree", "counters of eight, as in a team", tree_wait},
    {"dissemination", "pairwise signals in log2 rounds", dissemination_wait},
    {"pthread", "pthread_barrier", posix_wait},
};

const td_barrier_kind *td_barrier_kinds(int *count) {
    *count = (int)(sizeof kinds / sizeof kinds[0]);
    return kinds;
}

td_status td_barrier_create(const td_barrier_kind *kind, int threads, const td_wait_rule *rule,
                            td_barrier **out) {
    if (threads < 1 || threads > MOST_THREADS) {
        return td_fail(TD_EUSAGE, "a barrier of %d threads; expected 1 to %d", threads,
                       MOST_THREADS);
    }
    size_t head = sizeof(td_barrier) + (size_t)threads * sizeof(seat);
    size_t bytes = head + td_meeting_counters(threads) * sizeof(td_meeting_counter);
    unsigned char *base = td_alloc_aligned(_Alignof(seat), bytes);
    if (base == NULL) {
        return td_fail(TD_ENOMEM, "a barrier of %d threads", threads);
    }
    td_barrier *b = (td_barrier *)base;
    td_meeting_counter *next = (td_meeting_counter *)(base + head);
    b->kind = kind;
    b->rule = *rule;
    b->count = threads;
    td_meeting_init(&b->meeting, threads, &next);
    pthread_barrier_init(&b->posix, NULL, (unsigned)threads);
    *out = b;
    return TD_OK;
}

void td_barrier_destroy(td_barrier *barrier) {
    if (barrier != NULL) {
        pthread_barrier_destroy(&barrier->posix);
        td_free(barrier);
    }
}

void td_barrier_wait(td_barrier *barrier, int id) {
    barrier->kind->wait(barrier, id);
}
