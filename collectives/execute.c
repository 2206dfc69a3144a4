/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/comm_state.h"
#include "collectives/elements.h"

/* One worker's run of one plan. */
typedef struct runner {
    td_comm_turn *turn;
    const td_call *call;
    const td_operation *operation;
    td_aliases aliases;
    int ranks, blocks, segments;
    td_dtype partial;                /* type of partial results */
    void *base[TD_BUFFER_COUNT];     /* in my segment */
    int64_t first[TD_MAX_RANKS + 1]; /* of each block, when counts are given for them */
} runner;

typedef struct extent {
    int64_t first, n;
} extent;

static extent pair_extent(const runner *r, int owner, td_buffer buffer, int block) {
    const td_call *call = r->call;
    if (call->counts == NULL) {
        return (extent){block * call->count, call->count};
    }
    int64_t first = 0;
    bool out = buffer == TD_BUFFER_OUT;
    for (int i = 0; i < block; i++) {
        first += out ? call->counts[i * r->ranks + owner] : call->counts[owner * r->ranks + i];
    }
    return (extent){first, out ? call->counts[block * r->ranks + owner]
                               : call->counts[owner * r->ranks + block]};
}

/* Where a chunk of a buffer of a rank lies, in elements. */
static extent extent_of(const runner *r, int owner, td_buffer buffer, int chunk) {
    int block = chunk / r->segments, segment = chunk % r->segments;
    extent whole;
    if (r->operation->blocks == TD_BLOCKS_PAIRS) {
        whole = pair_extent(r, owner, buffer, block);
    } else if (r->call->counts != NULL) {
        whole = (extent){r->first[block], r->first[block + 1] - r->first[block]};
    } else {
        int64_t first = td_chunk_first(r->call->count, block, r->blocks);
        whole = (extent){first, td_chunk_first(r->call->count, block + 1, r->blocks) - first};
    }
    int64_t first = td_chunk_first(whole.n, segment, r->segments);
    return (extent){whole.first + first, td_chunk_first(whole.n, segment + 1, r->segments) - first};
}

static td_dtype type_of(const runner *r, td_buffer buffer) {
    bool callers = buffer == TD_BUFFER_IN || buffer == TD_BUFFER_OUT ||
                   (buffer == TD_BUFFER_PARTIAL && !r->aliases.wide);
    return callers ? r->call->dtype : r->partial;
}

static void *address(const runner *r, int rank, td_buffer buffer, int64_t element) {
    unsigned char *mine = r->base[buffer];
    mine += element * td_dtype_bytes(type_of(r, buffer));
    return rank == r->turn->comm->rank->rank ? mine : td_comm_peer(r->turn->comm, rank, mine);
}

/* Worker w of every rank handles the same elements of a chunk, whatever buffer it lies in, so that
 * it waits for worker w of a peer alone. 32 elements are a line of the narrowest type. */
static extent share(const runner *r, int64_t n) {
    int64_t id = r->turn->worker->id, workers = r->turn->worker->count;
    /* Counted pairs in place: blocks of OUT lie across blocks of IN, which another worker might not
     * have saved yet. One worker does it all. */
    if (r->aliases.in_place && r->call->counts != NULL && r->operation->blocks == TD_BLOCKS_PAIRS) {
        return (extent){0, id == 0 ? n : 0};
    }
    int64_t lines = (n + 31) / 32;
    int64_t first = lines * id / workers * 32, last = lines * (id + 1) / workers * 32;
    last = last < n ? last : n;
    return (extent){first, last > first ? last - first : 0};
}

static void move_elements(const runner *r, const td_move *move, int64_t from, int64_t with,
                          int64_t to, int64_t n) {
    int rank = move->rank;
    void *target = address(r, rank, move->to.buffer, to);
    td_dtype target_type = type_of(r, move->to.buffer);
    const void *source = address(r, move->peer, move->from.buffer, from);
    td_dtype source_type = type_of(r, move->from.buffer);
    switch (move->kind) {
    case TD_MOVE_COPY:
        td_elements_copy(target, target_type, source, source_type, n);
        break;
    case TD_MOVE_REDUCE:
        /* The peer's first: the ring then adds in the order of the ranks it passed. */
        td_elements_combine(target, target_type, source, source_type,
                            address(r, rank, move->with.buffer, with),
                            type_of(r, move->with.buffer), n, r->call->reduce);
        break;
    case TD_MOVE_FINISH:
        td_elements_finish(target, target_type, source, source_type, n,
                           r->call->reduce == TD_AVG ? r->ranks : 0);
        break;
    case TD_MOVE_MEET:
        break;
    }
}

static void run_move(const runner *r, const td_move *move) {
    for (int i = 0; i < move->chunks; i++) {
        extent from = extent_of(r, move->peer, move->from.buffer, move->from.chunk + i);
        extent to = extent_of(r, move->rank, move->to.buffer, move->to.chunk + i);
        extent with = to;
        if (move->kind == TD_MOVE_REDUCE) {
            with = extent_of(r, move->rank, move->with.buffer, move->with.chunk + i);
        }
        TD_DEBUG_ASSERT(from.n == to.n && with.n == to.n);
        extent part = share(r, to.n);
        if (part.n > 0) {
            move_elements(r, move, from.first + part.first, with.first + part.first,
                          to.first + part.first, part.n);
        }
    }
}

static void place_buffers(runner *r, const td_linked *linked) {
    const td_comm *comm = r->turn->comm;
    int64_t elements = td_call_elements(comm->plan->row, r->ranks, r->call);
    int64_t vector = (elements * td_dtype_bytes(r->partial) + 63) / 64 * 64;
    unsigned char *next = td_comm_scratch(comm);
    r->base[TD_BUFFER_IN] = (void *)(uintptr_t)r->call->in;
    r->base[TD_BUFFER_OUT] = r->call->out;
    r->base[TD_BUFFER_PARTIAL] = r->call->out;
    for (int buffer = TD_BUFFER_PARTIAL; buffer < TD_BUFFER_COUNT; buffer++) {
        if (linked->uses[buffer]) {
            r->base[buffer] = next;
            next += vector;
        }
    }
}

void td_comm_execute(td_comm_turn *turn, const td_call *call) {
    const td_comm_plan *plan = turn->comm->plan;
    const td_linked *linked = &plan->linked;
    int me = turn->comm->rank->rank, ranks = turn->comm->rank->count;
    runner r = {.turn = turn,
                .call = call,
                .operation = td_operation_of(plan->row->id),
                .aliases = plan->aliases,
                .ranks = ranks,
                .blocks = plan->row->blocks(ranks),
                .segments = plan->segments,
                .partial = plan->aliases.wide ? td_partial_type(call->dtype) : call->dtype};
    place_buffers(&r, linked);
    for (int i = 0; call->counts != NULL && r.operation->blocks == TD_BLOCKS_PARTS && i < ranks;
         i++) {
        r.first[i + 1] = r.first[i] + call->counts[i];
    }
    for (int i = 0; i < linked->n_steps[me]; i++) {
        const td_step *step = &linked->steps[me][i];
        if (step->kind == TD_STEP_MOVE) {
            run_move(&r, &step->move);
        } else if (step->kind == TD_STEP_SIGNAL) {
            td_comm_signal(turn, step->round);
        } else if (td_comm_await(turn, step->peer, step->round) != TD_OK) {
            return;
        }
    }
}
