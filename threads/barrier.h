/* SPDX-License-Identifier: Apache-2.0
 * Barriers: the tree in which the workers of a team meet, and the ladder of ways to build one, for
 * experiments and measurements.
 */
#ifndef TD_THREADS_BARRIER_H
#define TD_THREADS_BARRIER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "threads/wait.h"

enum { TD_MEETING_LEVELS = 4, TD_BARRIER_ROUNDS = 10 };

typedef struct td_meeting_counter {
    _Alignas(128) _Atomic int arrived;
} td_meeting_counter;

/* A place where all arrive, again and again. The last to arrive advances `passed`. Two are counted
 * in the line of `passed`, which the second then has already; more would take it from those who
 * wait on it. */
typedef union td_meeting_line {
    td_event passed;
    struct {
        uint64_t of_passed; /* its value and sleepers */
        _Atomic int arrived;
    };
} td_meeting_line;
_Static_assert(sizeof(td_meeting_line) == sizeof(td_event), "the count fits beside its event");

typedef struct td_meeting {
    _Alignas(128) td_meeting_line line;
    td_meeting_counter *level[TD_MEETING_LEVELS];
} td_meeting;

/* Counters for a meeting of `count`, 1 to 4096, and their use: next to zeroed memory, advanced. */
size_t td_meeting_counters(int count);
void td_meeting_init(td_meeting *meeting, int count, td_meeting_counter **next);

/* True for the last of `count` to arrive: everybody else's writes before arriving are then visible
 * to it, and it must advance `passed`. */
bool td_meeting_arrive(td_meeting *meeting, int id, int count);

/* Forgets arrivals, while nobody is here or will arrive. */
void td_meeting_reset(td_meeting *meeting, int count);

typedef struct td_barrier td_barrier; /* opaque */

typedef struct td_barrier_kind {
    const char *name, *doc;
    void (*wait)(td_barrier *barrier, int id);
} td_barrier_kind;

/* central, tree, dissemination, pthread */
const td_barrier_kind *td_barrier_kinds(int *count);

/* 1 to 1024 threads, each with an id of its own. */
td_status td_barrier_create(const td_barrier_kind *kind, int threads, const td_wait_rule *rule,
                            td_barrier **out);
void td_barrier_destroy(td_barrier *barrier);
void td_barrier_wait(td_barrier *barrier, int id);

#endif
