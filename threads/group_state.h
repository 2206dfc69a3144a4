/* SPDX-License-Identifier: Apache-2.0
 * What the files of td_group share: the control block at the start of the heap, and how a failure
 * is recorded.
 *
 * A group fails once: whoever finds the first fault claims the record, fills it in and publishes
 * it. Everybody else sees it at the next wait and returns, and td_group_run reports it.
 */
#ifndef TD_THREADS_GROUP_STATE_H
#define TD_THREADS_GROUP_STATE_H

#include <pthread.h>
#include <sys/types.h>

#include "base/cpu.h"
#include "threads/group.h"
#include "threads/heap.h"

/* Who claims: a rank, or the thread that watches over them. */
enum { TD_CLAIM_SUPERVISOR = TD_MAX_RANKS };

/* How long ranks may take to end by themselves after a failure, before processes are killed and
 * threads left behind. A rank notices within TD_WAIT_SLICE_NS when it waits, and at its next wait
 * when it computes. */
#define TD_GRACE_NS      INT64_C(500000000)
#define TD_WAIT_SLICE_NS INT64_C(20000000)

/* Written by one rank each. */
typedef struct td_rank_slot {
    _Alignas(128) _Atomic uint32_t arrivals; /* at barriers */
    _Atomic uint32_t waiting;                /* workers inside td_rank_wait or td_rank_barrier */
    _Atomic bool ended;                      /* fn has returned */
    int waits_for; /* group_apart.c: 1 + the rank for which messages are awaited; 0: none */
    _Atomic uint32_t sent[TD_MAX_RANKS], asked[TD_MAX_RANKS]; /* td_rank_count_message, by peer */
} td_rank_slot;

/* In the heap, shared by all ranks: no pointers here. */
typedef struct td_group_control {
    td_event barrier; /* value: barriers passed */
    _Alignas(64) _Atomic uint32_t arrived;
    td_event ended;                 /* value: ranks whose fn has returned */
    _Alignas(64) _Atomic int claim; /* 0, 1 + claimer, or that and TD_CLAIM_PUBLISHED */
    td_status status;
    char text[1024];
    _Atomic int interrupts; /* that the parent of process ranks has had */
    td_rank_slot slots[TD_MAX_RANKS];
} td_group_control;

enum { TD_CLAIM_PUBLISHED = 1 << 16 };

struct td_group {
    td_group_control *control;
    td_heap heap;
    td_wait_rule rule;
    int64_t deadline_ns;
    td_rank_fn *fn;
    void *arg;
    bool interleave;
    bool apart; /* ranks of several hosts: the control block is this rank's own (group_apart.c) */
    int count;
    int *pu; /* of all workers of all ranks */
    td_rank *ranks;
    pthread_t threads[TD_MAX_RANKS]; /* when ranks are threads */
    pid_t pids[TD_MAX_RANKS];        /* when they are processes; 0 once reaped */
    bool left_behind;                /* a rank's thread still runs, and uses all this */
};

/* The body of a rank: place its segment, meet the others, run fn, record how it ended. */
td_status td_group_run_rank(td_rank *rank);

/* Records the group's failure unless there is one already. */
void td_group_fail(td_group *group, int claimer, td_status status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* As td_group_fail, also when the dead rank had claimed the record and not published it. */
void td_group_fail_dead(td_group *group, int dead, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

bool td_group_failed(const td_group *group);

/* Time that counts against a deadline: real time, but a pause of the whole program (a stopped
 * terminal job) counts as one step only. */
int64_t td_group_counted_ns(int64_t elapsed_ns, int64_t step_ns);

/* Names ranks for a message: "rank 1", "ranks 1, 3". */
void td_group_name_ranks(const td_group *group, const bool *named, char *text, size_t text_bytes);

/* Records that a peer has returned without what this rank waits for. TD_EPEER. */
td_status td_group_fail_returned(td_rank *rank, int peer);

/* What a rank finds that waits at a barrier, or returns, while others do not do the same; and when
 * others have not come to a barrier within the deadline. Recorded. */
td_status td_group_fail_unmatched(td_rank *rank);
td_status td_group_fail_late(td_rank *rank);

/* Ranks of several hosts (group_apart.c): td_rank_barrier; tells all others how this rank is;
 * whether all have ended, after a look at what they have told. Called by the main thread. */
td_status td_apart_barrier(td_rank *rank);
void td_apart_tell(td_group *group);
bool td_apart_ended(td_group *group);

/* Start all ranks and return when they have ended, or, for a thread that hangs, been left behind.
 * The outcome is in the control block. */
td_status td_group_run_threads(td_group *group);
td_status td_group_run_processes(td_group *group);
td_status td_group_run_mpi(td_group *group);

/* For ranks that mpirun has started, in each of them: where they run, and the heap they have in
 * common. TD_ESKIP says what is missing. */
td_status td_group_place_mpi(td_group *group, const td_layout *layout);
td_status td_group_share_heap(size_t bytes, td_heap *out);

/* Records TD_ETIMEDOUT when some ranks have ended and others did not within the deadline.
 * *waited_ns and *last_ns are the supervisor's own clock, zero at first. */
void td_group_check_end(td_group *group, int64_t step_ns, int64_t *waited_ns, int64_t *last_ns);

/* Whether the ranks have had TD_GRACE_NS since the group failed; called every step_ns or so. A look
 * counts as one step at most: on a crowded machine the ranks get as many turns as the supervisor
 * before they are given up. *waited_ns and *last_ns as above. */
bool td_group_grace_over(const td_group *group, int64_t step_ns, int64_t *waited_ns,
                         int64_t *last_ns);

#endif
