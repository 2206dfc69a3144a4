/* SPDX-License-Identifier: Apache-2.0
 * Ranks of several hosts have no control block in common: each keeps one for itself, of what the
 * others have told it. A rank tells all of them how it is whenever that changes: how many barriers
 * it has come to, for whom it waits, whether it has ended, how many messages it has sent to each
 * and asked for, and of the group's failure. They hear it at their next wait. Notices of one rank
 * arrive in order, so one that has ended without coming to a barrier will not come. A message may
 * still be on its way when the notice of its sender's end is here: that is what is counted for.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "threads/group_state.h"
#include "threads/mpi_ranks.h"
#include "threads/wait.h"

/* OUT: what is being sent; the buffers are written again when all of it has gone. */
enum { OUT = TD_MPI_NOTICES, IN, BUFFERS = 8 };
static const int64_t SEND_NS = INT64_C(1000000000);

typedef struct notice {
    uint32_t arrivals;
    int32_t ended, waits_for, status;
    uint32_t sent[TD_MAX_RANKS], asked[TD_MAX_RANKS];
    char text[1024]; /* sent when status is a failure */
} notice;

static notice outbox[BUFFERS]; /* a process is one rank of one group at a time */
static int n_sent;

static td_rank_slot *slot_of(const td_group *group, int rank) {
    return &group->control->slots[rank];
}

/* Until the outbox is free; not for long: messages to a rank that has stopped may never go. */
static void flush(void) {
    int64_t start_ns = td_now_ns();
    int done = 0;
    while (td_mpi_messages()->test(OUT, &done) == 0 && !done && td_now_ns() - start_ns < SEND_NS) {
        td_mpi_nap(td_now_ns() - start_ns);
    }
}

void td_apart_tell(td_group *group) {
    const td_mpi_module *mpi = td_mpi_messages();
    const td_rank_slot *mine = slot_of(group, td_mpi_rank());
    notice *out = &outbox[n_sent++ % BUFFERS];
    if (n_sent % BUFFERS == 0) {
        flush();
    }
    *out = (notice){.arrivals = atomic_load_explicit(&mine->arrivals, memory_order_relaxed),
                    .ended = atomic_load_explicit(&mine->ended, memory_order_relaxed),
                    .waits_for = mine->waits_for,
                    .status = TD_OK};
    size_t bytes = offsetof(notice, text);
    for (int i = 0; i < group->count; i++) {
        out->sent[i] = atomic_load_explicit(&mine->sent[i], memory_order_relaxed);
        out->asked[i] = atomic_load_explicit(&mine->asked[i], memory_order_relaxed);
    }
    /* Heard of or found: whoever has ended over it must not seem to have left. */
    if (td_group_failed(group)) {
        out->status = (int32_t)group->control->status;
        bytes += 1 + (size_t)snprintf(out->text, sizeof out->text, "%s", group->control->text);
    }
    for (int i = 1; i < group->count; i++) {
        int to = (td_mpi_rank() + i) % group->count;
        int error = mpi->send(OUT, out, (int64_t)bytes, to, td_mpi_notice_tag());
        if (error != 0) {
            td_mpi_failed(error, "a notice between hosts");
            td_group_fail(group, td_mpi_rank(), TD_EPEER, "%s", td_error());
        }
    }
}

static void take(td_group *group, int from, const notice *in) {
    td_rank_slot *slot = slot_of(group, from);
    atomic_store_explicit(&slot->arrivals, in->arrivals, memory_order_relaxed);
    atomic_store_explicit(&slot->waiting, in->waits_for != 0, memory_order_relaxed);
    slot->waits_for = in->waits_for;
    for (int i = 0; i < group->count; i++) {
        atomic_store_explicit(&slot->sent[i], in->sent[i], memory_order_relaxed);
        atomic_store_explicit(&slot->asked[i], in->asked[i], memory_order_relaxed);
    }
    if (in->status != TD_OK) {
        td_group_fail(group, from, (td_status)in->status, "%s", in->text);
    }
    if (in->ended && !atomic_load_explicit(&slot->ended, memory_order_relaxed)) {
        atomic_store_explicit(&slot->ended, true, memory_order_relaxed);
        td_event_advance(&group->control->ended, &group->rule);
    }
}

/* All that has come. */
static void hear(td_group *group) {
    const td_mpi_module *mpi = td_mpi_messages();
    for (;;) {
        notice in;
        int from = -1, done = 0, error = mpi->arrived(td_mpi_notice_tag(), &from);
        if (error == 0 && from < 0) {
            return;
        }
        error = error ? error : mpi->receive(IN, &in, sizeof in, from, td_mpi_notice_tag());
        while (error == 0 && !done) {
            error = mpi->test(IN, &done);
        }
        if (error != 0) {
            td_mpi_failed(error, "a notice between hosts");
            td_group_fail(group, td_mpi_rank(), TD_EPEER, "%s", td_error());
            return;
        }
        take(group, from, &in);
    }
}

bool td_apart_ended(td_group *group) {
    int done;
    hear(group);
    td_mpi_messages()->test(OUT, &done); /* what is left to send moves on */
    td_mpi_nap(INT64_C(1000000));
    return atomic_load_explicit(&group->control->ended.value, memory_order_relaxed) ==
           (uint32_t)group->count;
}

void td_rank_count_message(td_rank *rank, int peer, bool sent) {
    td_rank_slot *mine = slot_of(rank->group, rank->rank);
    _Atomic uint32_t *count = sent ? &mine->sent[peer] : &mine->asked[peer];
    uint32_t now = atomic_load_explicit(count, memory_order_relaxed) + 1;
    atomic_store_explicit(count, now, memory_order_relaxed);
}

static bool has_more(const _Atomic uint32_t *one, const _Atomic uint32_t *other) {
    return (int32_t)(atomic_load_explicit(one, memory_order_relaxed) -
                     atomic_load_explicit(other, memory_order_relaxed)) > 0;
}

/* The peer has returned, and what this rank waits for is not among what it has sent and taken. */
static bool never_comes(const td_rank *rank, int peer) {
    const td_rank_slot *mine = slot_of(rank->group, rank->rank);
    const td_rank_slot *theirs = slot_of(rank->group, peer);
    /* acquire pairs with the store in td_group_run_rank: its counts are the last ones. */
    return atomic_load_explicit(&theirs->ended, memory_order_acquire) &&
           (has_more(&mine->asked[peer], &theirs->sent[rank->rank]) ||
            has_more(&mine->sent[peer], &theirs->asked[rank->rank]));
}

void td_rank_listen(td_rank *rank, int peer, int64_t waited_ns) {
    td_group *group = rank->group;
    td_rank_slot *mine = slot_of(group, rank->rank);
    int waits_for = waited_ns > group->deadline_ns / 4 ? peer + 1 : 0;
    if (rank->apart && mine->waits_for != waits_for) {
        mine->waits_for = waits_for;
        td_apart_tell(group);
    }
    if (rank->apart) {
        hear(group);
    }
    if (peer >= 0 && !td_group_failed(group) && never_comes(rank, peer)) {
        td_group_fail_returned(rank, peer);
    }
}

int td_rank_waits_for(const td_rank *rank, int which) {
    return slot_of(rank->group, which)->waits_for - 1;
}

/* Whether all have come; someone: one that has ended without. */
static bool all_came(const td_rank *rank, uint32_t target, bool *never) {
    bool all = true;
    for (int i = 0; i < rank->count; i++) {
        const td_rank_slot *slot = slot_of(rank->group, i);
        uint32_t theirs = atomic_load_explicit(&slot->arrivals, memory_order_relaxed);
        bool came = (int32_t)(theirs - target) >= 0;
        all = all && came;
        *never = *never || (!came && atomic_load_explicit(&slot->ended, memory_order_relaxed));
    }
    return all;
}

td_status td_apart_barrier(td_rank *rank) {
    td_group *group = rank->group;
    td_rank_slot *mine = slot_of(group, rank->rank);
    uint32_t target = atomic_fetch_add_explicit(&mine->arrivals, 1, memory_order_relaxed) + 1;
    int64_t waited_ns = 0, last_ns = td_now_ns();
    int turns = 0;
    bool never = false;
    td_apart_tell(group);
    for (;;) {
        hear(group);
        if (all_came(rank, target, &never)) {
            return TD_OK;
        }
        if (never || td_group_failed(group)) {
            return td_group_fail_unmatched(rank);
        }
        int64_t now_ns = td_now_ns();
        waited_ns += td_group_counted_ns(now_ns - last_ns, TD_WAIT_SLICE_NS);
        last_ns = now_ns;
        if (waited_ns >= group->deadline_ns) {
            return td_group_fail_late(rank);
        }
        if (rank->shares_cpus) {
            td_wait_turn(&turns);
        }
        td_mpi_nap(waited_ns);
    }
}
