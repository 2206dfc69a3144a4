/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/comm.h"

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "collectives/comm_state.h"
#include "collectives/elements.h"

/* Direct algorithms signal rounds 0 and 1 at most. */
enum { DIRECT_ROUNDS = 2 };

int64_t td_comm_bytes(int ranks, int64_t max_count, td_dtype dtype) {
    /* Part of the contract, for algorithms that stage data; these do not. */
    (void)ranks;
    (void)max_count;
    (void)dtype;
    return sizeof(td_comm_shared);
}

td_status td_comm_create(td_rank *rank, void *staging, int64_t staging_bytes, td_comm **out) {
    unsigned char *start = staging;
    int64_t offset = start - rank->segment;
    TD_ASSERT((uintptr_t)staging % 64 == 0 && offset >= 0);
    if (staging_bytes < (int64_t)sizeof(td_comm_shared) ||
        offset + staging_bytes > (int64_t)rank->segment_bytes) {
        return td_fail(TD_ENOMEM,
                       "a communicator needs %zu bytes of the segment; %lld at offset %lld of %zu "
                       "are offered",
                       sizeof(td_comm_shared), (long long)staging_bytes, (long long)offset,
                       rank->segment_bytes);
    }
    size_t peers = (size_t)rank->count;
    td_comm *comm = td_alloc_zero(sizeof *comm + peers * sizeof comm->to_peer[0]);
    if (comm == NULL) {
        return td_fail(TD_ENOMEM, "a communicator of %d ranks", rank->count);
    }
    td_status status =
        rank->kind == TD_RANK_MPI ? td_messages_create(rank->count, &comm->messages) : TD_OK;
    comm->rank = rank;
    comm->shared = staging;
    comm->staging_bytes = staging_bytes;
    comm->barrier = td_barrier_row();
    memset(comm->shared, 0, sizeof *comm->shared);
    for (int peer = 0; peer < rank->count; peer++) {
        comm->to_peer[peer] =
            (unsigned char *)td_rank_peer(rank, peer, rank->segment) - rank->segment;
    }
    /* Nobody looks at flags that somebody still clears. */
    status = status == TD_OK ? td_rank_barrier(rank) : status;
    if (status != TD_OK) {
        td_messages_destroy(comm->messages);
        td_free(comm);
        return status;
    }
    *out = comm;
    return TD_OK;
}

void td_comm_destroy(td_comm *comm) {
    for (int i = 0; comm != NULL && i < TD_COMM_PLANS; i++) {
        td_linked_destroy(&comm->plans[i].linked);
        td_free(comm->plans[i].moves);
    }
    if (comm != NULL) {
        td_messages_destroy(comm->messages);
    }
    td_free(comm);
}
int td_comm_rank(const td_comm *comm) {
    return comm->rank->rank;
}
int td_comm_size(const td_comm *comm) {
    return comm->rank->count;
}

void td_comm_keep(td_comm *comm, td_status status) {
    if (status != TD_OK && !atomic_exchange(&comm->failed, true)) {
        snprintf(comm->text, sizeof comm->text, "%s", td_error());
        comm->status = status;
    }
}

/* The status for this worker, with the message in its own thread. */
static td_status tell(const td_comm *comm) {
    return comm->status == TD_OK ? TD_OK : td_fail(comm->status, "%s", comm->text);
}

/* ---- the call ---- */

int64_t td_call_elements(const td_collective *row, int ranks, const td_call *call) {
    bool pairs = td_operation_of(row->id)->blocks == TD_BLOCKS_PAIRS;
    return pairs && call->counts == NULL ? call->count * ranks : call->count;
}

static td_status check_counts(const td_collective *row, int p, const td_call *call) {
    const int64_t *counts = call->counts;
    td_blocks blocks = td_operation_of(row->id)->blocks;
    if (p > TD_MAX_RANKS) {
        return td_fail(TD_EUSAGE, "counted blocks of %d ranks; at most %d", p, TD_MAX_RANKS);
    }
    if (blocks == TD_BLOCKS_WHOLE) {
        return td_fail(TD_EUSAGE, "%s has no blocks to count", row->operation);
    }
    int64_t most = 0, total = 0;
    for (int i = 0; i < p; i++) {
        int64_t from = 0, to = 0;
        for (int j = 0; blocks == TD_BLOCKS_PAIRS && j < p; j++) {
            if (counts[i * p + j] < 0) {
                return td_fail(TD_EUSAGE, "a block of %lld elements", (long long)counts[i * p + j]);
            }
            from += counts[i * p + j];
            to += counts[j * p + i];
        }
        if (blocks == TD_BLOCKS_PARTS && counts[i] < 0) {
            return td_fail(TD_EUSAGE, "a block of %lld elements", (long long)counts[i]);
        }
        total += blocks == TD_BLOCKS_PARTS ? counts[i] : 0;
        most = from > most ? from : most;
        most = to > most ? to : most;
    }
    int64_t expected = blocks == TD_BLOCKS_PARTS ? total : most;
    return call->count == expected ? TD_OK
                                   : td_fail(TD_EUSAGE, "%lld elements; the blocks hold %lld",
                                             (long long)call->count, (long long)expected);
}

static td_status check_buffers(const td_comm *comm, const td_collective *row, const td_call *call) {
    int64_t bytes = td_call_elements(row, comm->rank->count, call) * td_dtype_bytes(call->dtype);
    const unsigned char *segment = comm->rank->segment, *in = call->in, *out = call->out;
    int64_t most = (int64_t)comm->rank->segment_bytes - bytes;
    if (row->id == TD_COLL_barrier) {
        return TD_OK;
    }
    if (in < segment || out < segment || in - segment > most || out - segment > most) {
        return td_fail(TD_EUSAGE, "a buffer of %lld bytes is not inside the segment of the rank",
                       (long long)bytes);
    }
    if (in != out && in < out + bytes && out < in + bytes) {
        return td_fail(TD_EUSAGE,
                       "buffers of %lld bytes at offsets %lld and %lld overlap; expected the same "
                       "or apart",
                       (long long)bytes, (long long)(in - segment), (long long)(out - segment));
    }
    return TD_OK;
}

static td_status check_call(const td_comm *comm, const td_collective *row, const td_call *call) {
    int p = comm->rank->count;
    bool scans = row->id == TD_COLL_scan || row->id == TD_COLL_exscan;
    if (call->count < 0 || call->root < 0 || call->root >= p) {
        return td_fail(TD_EUSAGE, "%lld elements, root %d of %d ranks", (long long)call->count,
                       call->root, p);
    }
    if (!row->fits(p)) {
        return td_fail(TD_EUSAGE, "%s/%s is not made for %d ranks", row->operation, row->algorithm,
                       p);
    }
    if (row->direct != NULL && comm->rank->apart) {
        return td_fail(TD_ESKIP,
                       "%s/%s works in memory that all ranks have in common; these are on several "
                       "hosts, expected an algorithm of messages",
                       row->operation, row->algorithm);
    }
    if (call->reduce == TD_AVG && scans) {
        return td_fail(TD_EUSAGE, "%s has no average", row->operation);
    }
    if (call->counts != NULL) {
        TD_TRY(check_counts(row, p, call));
        if (row->direct != NULL && row->id == TD_COLL_alltoall && call->in == call->out) {
            return td_fail(TD_EUSAGE,
                           "%s/%s swaps even blocks in place; expected counted ones "
                           "out of place",
                           row->operation, row->algorithm);
        }
    }
    return check_buffers(comm, row, call);
}

/* The same call as the last one needs no second look. */
static bool was_checked(const td_comm *comm, const td_collective *row, const td_call *call) {
    const td_call *last = &comm->checked;
    return row == comm->checked_row && call->in == last->in && call->out == last->out &&
           call->count == last->count && call->dtype == last->dtype &&
           call->reduce == last->reduce && call->root == last->root && call->counts == NULL &&
           last->counts == NULL;
}

static uint32_t hash_counts(const td_collective *row, int ranks, const int64_t *counts) {
    if (counts == NULL) {
        return 0;
    }
    bool pairs = td_operation_of(row->id)->blocks == TD_BLOCKS_PAIRS;
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (int i = 0; i < (pairs ? ranks * ranks : ranks); i++) {
        hash = (hash ^ (uint64_t)counts[i]) * UINT64_C(0x100000001B3);
    }
    return (uint32_t)(hash ^ hash >> 32) | 1;
}

/* Of what td_comm_compare compares. A sum of products, which do not wait for each other. */
static uint64_t key_of(const td_comm_call *call) {
    uint64_t kind = (uint64_t)(uint16_t)call->row << 16 | (uint64_t)call->dtype << 8 | call->reduce;
    uint64_t hash = ((uint64_t)call->sequence << 32 | call->counts) * UINT64_C(0x9E3779B97F4A7C15);
    hash += (kind << 32 | (uint32_t)call->root) * UINT64_C(0xBF58476D1CE4E5B9);
    hash += (uint64_t)call->count * UINT64_C(0x94D049BB133111EB);
    hash += (uint64_t)call->in * UINT64_C(0xD6E8FEB86659FD93);
    hash += (uint64_t)call->out * UINT64_C(0xA0761D6478BD642F);
    return hash ^ hash >> 32;
}

static void announce(td_comm *comm, const td_collective *row, const td_call *call) {
    int n;
    const unsigned char *segment = comm->rank->segment;
    bool none = row->id == TD_COLL_barrier;
    td_comm_call *mine = &comm->shared->calls[comm->sequence % TD_COMM_LOG];
    *mine = (td_comm_call){
        .sequence = comm->sequence,
        .row = (int16_t)(row - td_collectives(&n)),
        .dtype = (uint8_t)call->dtype,
        .reduce = (uint8_t)call->reduce,
        .root = call->root,
        .counts = hash_counts(row, comm->rank->count, call->counts),
        .count = call->count,
        .in = none ? 0 : (const unsigned char *)call->in - segment,
        .out = none ? 0 : (const unsigned char *)call->out - segment,
        .start_tsc = td_tsc(),
    };
    comm->key = key_of(mine);
}

/* ---- plans ---- */

static td_aliases aliases_of(const td_collective *row, const td_call *call) {
    return (td_aliases){.in_place = call->in == call->out,
                        .wide = td_operation_of(row->id)->sums && call->dtype == TD_BF16};
}

static bool is_plan(const td_comm_plan *plan, const td_collective *row, int root, int segments,
                    td_aliases aliases) {
    return plan->row == row && plan->root == root && plan->segments == segments &&
           plan->aliases.in_place == aliases.in_place && plan->aliases.wide == aliases.wide;
}

static td_status link_plan(const td_comm *comm, td_comm_plan *plan) {
    td_moves schedule;
    TD_TRY(td_collective_moves(plan->row,
                               &(td_schedule_options){.ranks = comm->rank->count,
                                                      .root = plan->root,
                                                      .segments = plan->segments,
                                                      .in_place = plan->aliases.in_place},
                               &schedule));
    td_status status = td_schedule_link(&schedule, plan->aliases, comm->rank->rank, &plan->linked);
    td_schedule_destroy(&schedule);
    return status;
}

/* The plan in the place of the one that was not used for longest. */
static td_status make_plan(td_comm *comm, const td_collective *row, int root, int segments,
                           td_aliases aliases, td_comm_plan **out) {
    td_comm_plan *oldest = &comm->plans[0];
    for (int i = 1; i < TD_COMM_PLANS; i++) {
        oldest = comm->plans[i].used < oldest->used ? &comm->plans[i] : oldest;
    }
    td_comm_plan plan = {.row = row, .root = root, .segments = segments, .aliases = aliases};
    TD_TRY(comm->messages != NULL ? td_messages_plan(comm, &plan) : link_plan(comm, &plan));
    td_linked_destroy(&oldest->linked);
    td_free(oldest->moves);
    *oldest = plan;
    *out = oldest;
    return TD_OK;
}

static td_status find_plan(td_comm *comm, const td_collective *row, const td_call *call) {
    int p = comm->rank->count, root = td_operation_of(row->id)->rooted ? call->root : 0;
    td_aliases aliases = aliases_of(row, call);
    int64_t elements = td_call_elements(row, p, call);
    int64_t bytes = elements * td_dtype_bytes(call->dtype) / row->blocks(p);
    int segments = td_collective_segments(row, bytes);
    td_comm_plan *plan = NULL;
    for (int i = 0; i < TD_COMM_PLANS && plan == NULL; i++) {
        plan = is_plan(&comm->plans[i], row, root, segments, aliases) ? &comm->plans[i] : NULL;
    }
    if (plan == NULL) {
        TD_TRY(make_plan(comm, row, root, segments, aliases, &plan));
    }
    plan->used = ++comm->plan_uses;
    const bool *uses = plan->linked.uses;
    int64_t vector = (elements * td_dtype_partial_bytes(call->dtype) + 63) / 64 * 64;
    int64_t needed = (int64_t)sizeof(td_comm_shared);
    needed += vector *
              ((aliases.wide && uses[TD_BUFFER_PARTIAL]) + uses[TD_BUFFER_T0] + uses[TD_BUFFER_T1]);
    if (needed > comm->staging_bytes) {
        return td_fail(TD_ENOMEM, "%s/%s of %lld %s needs %lld bytes of staging; there are %lld",
                       row->operation, row->algorithm, (long long)call->count,
                       td_dtype_name(call->dtype), (long long)needed,
                       (long long)comm->staging_bytes);
    }
    if (call->counts != NULL && uses[TD_BUFFER_T1] &&
        td_operation_of(row->id)->blocks == TD_BLOCKS_PAIRS) {
        return td_fail(TD_EUSAGE, "%s/%s is made for even blocks", row->operation, row->algorithm);
    }
    comm->plan = plan;
    return TD_OK;
}

static td_status prepare(td_comm *comm, const td_collective *row, const td_call *call) {
    comm->sequence++;
    comm->steps += comm->next_base - comm->base;
    comm->base = comm->next_base;
    comm->plan = NULL;
    if (td_rank_failed(comm->rank)) {
        return td_rank_barrier(comm->rank); /* says why */
    }
    td_status status = TD_OK;
    if (!was_checked(comm, row, call)) {
        status = check_call(comm, row, call);
        comm->checked = *call;
        comm->checked_row = row;
    }
    if (status == TD_OK && row->direct == NULL) {
        status = find_plan(comm, row, call);
    }
    if (status != TD_OK) {
        return td_rank_abort(comm->rank, status);
    }
    int rounds = comm->plan != NULL ? comm->plan->linked.rounds : DIRECT_ROUNDS;
    comm->next_base = comm->base + (uint32_t)rounds + 2;
    announce(comm, row, call);
    return TD_OK;
}

td_status td_comm_announce(td_comm *comm, td_worker *worker, const td_collective *row,
                           const td_call *call, td_comm_turn *out) {
    td_team_barrier(worker);
    if (worker->id == 0) {
        td_comm_keep(comm, comm->status == TD_OK ? prepare(comm, row, call) : TD_OK);
        comm->begun = comm->status == TD_OK;
    }
    td_team_barrier(worker);
    if (!comm->begun) { /* not the status, which a worker that is quicker may be changing already */
        return tell(comm);
    }
    *out =
        (td_comm_turn){.comm = comm, .worker = worker, .met = UINT64_C(1) << comm->rank->rank % 64};
    return TD_OK;
}

td_status td_comm_begin(td_comm *comm, td_worker *worker, const td_collective *row,
                        const td_call *call, td_comm_turn *out) {
    TD_TRY(td_comm_announce(comm, worker, row, call, out));
    td_comm_signal(out, TD_ROUND_ENTERED);
    return TD_OK;
}

td_status td_comm_end(td_comm_turn *turn) {
    td_comm *comm = turn->comm;
    td_comm_wake(turn);
    /* Peers have read it; the next call writes it without waiting for it. */
    td_comm_fetch_to_write(&comm->shared->done[turn->worker->id]);
    td_team_barrier(turn->worker);
    return tell(comm);
}

#ifdef __SANITIZE_THREAD__
void (*td_comm_delay)(void);
#endif

void td_comm_mark(td_comm_turn *turn, int round) {
    td_comm *comm = turn->comm;
    td_comm_done *mine = &comm->shared->done[turn->worker->id];
    TD_COMM_DELAY();
    if (round == TD_ROUND_ENTERED) {
        atomic_store_explicit(&mine->key, comm->key, memory_order_relaxed);
    }
    td_event_set(&mine->event, comm->base + 2 + (uint32_t)round);
    turn->owes_waking = true;
}

void td_comm_wake(td_comm_turn *turn) {
    const td_comm *comm = turn->comm;
    if (turn->owes_waking) {
        td_event_wake(&comm->shared->done[turn->worker->id].event, td_rank_wait_rule(comm->rank));
        turn->owes_waking = false;
    }
}

void td_comm_signal(td_comm_turn *turn, int round) {
    td_comm_mark(turn, round);
    td_comm_wake(turn);
}

/* ---- meeting the others ---- */

static int describe(const td_comm_call *call, char *text, size_t size) {
    int n;
    const td_collective *row = &td_collectives(&n)[call->row];
    return snprintf(text, size, "%s/%s of %lld %s %s%s, root %d, at offsets %lld and %lld",
                    row->operation, row->algorithm, (long long)call->count,
                    td_dtype_name((td_dtype)call->dtype), td_reduce_name((td_reduce)call->reduce),
                    call->counts == 0 ? "" : " in counted blocks", call->root, (long long)call->in,
                    (long long)call->out);
}

td_status td_comm_compare(td_comm *comm, int peer, const td_comm_call *theirs) {
    const td_comm_call *mine = &comm->shared->calls[comm->sequence % TD_COMM_LOG];
    bool same = theirs->sequence == mine->sequence && theirs->row == mine->row &&
                theirs->dtype == mine->dtype && theirs->reduce == mine->reduce &&
                theirs->root == mine->root && theirs->counts == mine->counts &&
                theirs->count == mine->count && theirs->in == mine->in && theirs->out == mine->out;
    if (same) {
        return TD_OK;
    }
    char here[256], there[256], name[TD_RANK_NAME];
    describe(mine, here, sizeof here);
    describe(theirs, there, sizeof there);
    td_rank_name(comm->rank, peer, name);
    return td_rank_abort(comm->rank, td_fail(TD_EPEER, "calls %s; %s calls %s", here, name, there));
}

/* In the peer's log, unless it has shown the same hash. One that is ahead has compared with mine
 * already. */
static td_status compare_logged(td_comm *comm, int peer, int worker) {
    const td_comm_shared *shared = td_comm_peer(comm, peer, comm->shared);
    if (atomic_load_explicit(&shared->done[worker].key, memory_order_relaxed) == comm->key) {
        return TD_OK;
    }
    const td_comm_call *theirs = &shared->calls[comm->sequence % TD_COMM_LOG];
    return (int32_t)(theirs->sequence - comm->sequence) > 0 ? TD_OK
                                                            : td_comm_compare(comm, peer, theirs);
}

int td_comm_find_late(const td_comm *comm, int worker, int peer) {
    for (int i = 0; i < comm->rank->count; i++) {
        const td_comm_shared *shared = td_comm_peer(comm, peer, comm->shared);
        int next = atomic_load_explicit(&shared->waits_for[worker], memory_order_relaxed) - 1;
        next = comm->rank->apart ? td_rank_waits_for(comm->rank, peer) : next;
        if (next < 0 || next == comm->rank->rank) {
            break;
        }
        peer = next;
    }
    return peer;
}

/* Polls before the clock is looked at: about as long as a message takes that is on its way. */
enum { POLLS = 200 };

/* event: the peer's. */
static td_status await_event(td_comm_turn *turn, int peer, td_event *event, uint32_t target) {
    td_comm *comm = turn->comm;
    int worker = turn->worker->id;
    for (int i = 0; i < POLLS; i++) {
        if (td_event_reached(event, target)) {
            return TD_OK;
        }
    }
    _Atomic int *waits_for = &comm->shared->waits_for[worker];
    td_comm_wake(turn);
    atomic_store_explicit(waits_for, peer + 1, memory_order_relaxed);
    td_status status = td_rank_wait_for(comm->rank, peer, event, target);
    if (status == TD_ETIMEDOUT) {
        int n;
        const td_comm_call *call = &comm->shared->calls[comm->sequence % TD_COMM_LOG];
        const td_collective *row = &td_collectives(&n)[call->row];
        status = td_fail(TD_ETIMEDOUT, "rank %d made no progress in %s/%s",
                         td_comm_find_late(comm, worker, peer), row->operation, row->algorithm);
        td_comm_dump(comm, stderr);
        td_rank_abort(comm->rank, status);
    }
    atomic_store_explicit(waits_for, 0, memory_order_relaxed);
    return status;
}

static td_status await_value(td_comm_turn *turn, int peer, uint32_t target) {
    td_comm_shared *theirs = td_comm_peer(turn->comm, peer, turn->comm->shared);
    return await_event(turn, peer, &theirs->done[turn->worker->id].event, target);
}

td_status td_comm_await_offer(td_comm_turn *turn, int peer, uint32_t target) {
    td_comm_shared *theirs = td_comm_peer(turn->comm, peer, turn->comm->shared);
    td_status status = await_event(turn, peer, &theirs->offered, target);
    td_comm_keep(turn->comm, status);
    return status;
}

td_status td_comm_await(td_comm_turn *turn, int peer, int round) {
    td_comm *comm = turn->comm;
    td_status status = TD_OK;
    TD_COMM_DELAY();
    if ((turn->met >> peer & 1) == 0) {
        turn->met |= UINT64_C(1) << peer;
        status = await_value(turn, peer, comm->base + 1);
        if (status == TD_OK) {
            status = compare_logged(comm, peer, turn->worker->id);
        }
    }
    if (status == TD_OK && round > TD_ROUND_ENTERED) {
        status = await_value(turn, peer, comm->base + 2 + (uint32_t)round);
    }
    td_comm_keep(comm, status);
    return status;
}

td_status td_comm_await_all(td_comm_turn *turn, int round) {
    int p = turn->comm->rank->count, rank = turn->comm->rank->rank;
    for (int i = 1; i < p; i++) {
        TD_TRY(td_comm_await(turn, (rank + i) % p, round));
    }
    return TD_OK;
}

/* None is ever so far behind. */
static const uint64_t FAR = UINT64_C(1) << 30;

td_status td_comm_await_left(td_comm_turn *turn, uint64_t steps) {
    td_comm *comm = turn->comm;
    int p = comm->rank->count, rank = comm->rank->rank;
    if (comm->met >= steps || comm->steps - steps > FAR) {
        return TD_OK;
    }
    TD_COMM_DELAY();
    uint32_t target = (uint32_t)steps + 1, beyond = comm->base - (uint32_t)steps;
    for (int i = 1; i < p; i++) {
        int peer = (rank + i) % p;
        td_status status = await_value(turn, peer, target);
        if (status != TD_OK) {
            td_comm_keep(comm, status);
            return status;
        }
        const td_comm_shared *theirs = td_comm_peer(comm, peer, comm->shared);
        uint32_t more =
            atomic_load_explicit(&theirs->done[0].event.value, memory_order_relaxed) - target;
        beyond = more < beyond ? more : beyond;
    }
    comm->met = steps + beyond;
    return TD_OK;
}

void td_comm_part(int64_t id, int64_t workers, int64_t element_bytes, int64_t *first,
                  int64_t *last) {
    int64_t per_line = 64 / element_bytes, begin = *first, end = *last;
    int64_t line = begin / per_line, lines = (end + per_line - 1) / per_line - line;
    int64_t from = (line + lines * id / workers) * per_line;
    int64_t to = (line + lines * (id + 1) / workers) * per_line;
    *first = from < begin ? begin : from;
    *last = to > end ? end : to;
    if (*first > *last) {
        *first = *last;
    }
}

void td_comm_dump(const td_comm *comm, FILE *out) {
    uint64_t now = td_tsc();
    char text[256];
    for (int rank = 0; rank < comm->rank->count; rank++) {
        if (comm->rank->apart && rank != comm->rank->rank) {
            continue; /* on another host, or as good as there */
        }
        const td_comm_shared *shared = td_comm_peer(comm, rank, comm->shared);
        uint32_t done = atomic_load_explicit(&shared->done[0].event.value, memory_order_relaxed);
        int waits = atomic_load_explicit(&shared->waits_for[0], memory_order_relaxed) - 1;
        fprintf(out, "rank %d: at step %d of this rank's call", rank,
                (int)(int32_t)(done - comm->base));
        fprintf(out, waits >= 0 ? ", waits for rank %d\n" : "\n", waits);
        for (int back = TD_COMM_LOG - 1; back >= 0; back--) {
            uint32_t sequence = comm->sequence - (uint32_t)back;
            const td_comm_call *call = &shared->calls[sequence % TD_COMM_LOG];
            if (call->sequence != 0 && (int32_t)sequence > 0) {
                describe(call, text, sizeof text);
                fprintf(out, "  call %u, %.6f s ago: %s\n", call->sequence,
                        (double)(now - call->start_tsc) / td_tsc_hz(), text);
            }
        }
    }
}

/* ---- what callers use ---- */

td_status td_collective_run(const td_collective *row, td_comm *comm, td_worker *worker,
                            const td_call *call) {
    if (row->direct != NULL) {
        return row->direct(row, comm, worker, call);
    }
    td_comm_turn turn;
    TD_TRY(td_comm_begin(comm, worker, row, call, &turn));
    (comm->messages != NULL ? td_messages_execute : td_comm_execute)(&turn, call);
    return td_comm_end(&turn);
}

td_status td_collective_prepare(const td_collective *row, td_comm *comm, const td_call *call) {
    TD_TRY(check_call(comm, row, call));
    return row->direct != NULL ? TD_OK : find_plan(comm, row, call);
}

const td_collective *td_barrier_row(void) {
    return td_collective_find("barrier", "dissemination");
}

td_status td_barrier(td_comm *comm, td_worker *worker) {
    static const td_call none = {.count = 0};
    return td_collective_run(comm->barrier, comm, worker, &none);
}

int64_t td_collective_staging_bytes(const td_collective *row, int ranks, int64_t count,
                                    td_dtype dtype) {
    td_call call = {.count = count, .dtype = dtype};
    int64_t elements = td_call_elements(row, ranks, &call);
    int64_t vector = (elements * td_dtype_partial_bytes(dtype) + 63) / 64 * 64;
    bool uses[TD_BUFFER_COUNT] = {false};
    td_moves schedule;
    if (row->direct != NULL || td_collective_schedule(row, ranks, 0, 1, true, &schedule) != TD_OK) {
        return td_comm_bytes(ranks, count, dtype);
    }
    for (int i = 0; i < schedule.n_moves; i++) {
        uses[schedule.moves[i].to.buffer] = true;
    }
    td_schedule_destroy(&schedule);
    bool wide = dtype == TD_BF16 && td_operation_of(row->id)->sums;
    return td_comm_bytes(ranks, count, dtype) +
           vector * ((wide && uses[TD_BUFFER_PARTIAL]) + uses[TD_BUFFER_T0] + uses[TD_BUFFER_T1]);
}

double td_collective_traffic(const td_collective *row, int ranks, int64_t count, td_dtype dtype) {
    td_call call = {.count = count, .dtype = dtype};
    double bytes = (double)(td_call_elements(row, ranks, &call) * td_dtype_bytes(dtype));
    td_moves schedule;
    td_schedule_cost cost = {0};
    if (row->direct != NULL) {
        return bytes * row->direct_form(ranks).traffic;
    }
    int segments = td_collective_segments(row, (int64_t)bytes / row->blocks(ranks));
    if (td_collective_schedule(row, ranks, 0, segments, true, &schedule) == TD_OK) {
        td_schedule_cost_of(&schedule, &cost);
        bytes /= td_chunks(&schedule);
        td_schedule_destroy(&schedule);
    }
    return bytes * (double)(cost.loads + cost.stores);
}
