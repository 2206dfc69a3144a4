/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/execution.h"
#include "collectives/elements.h"

static td_extent pair_extent(const td_execution *e, int owner, td_buffer buffer, int block) {
    const td_call *call = e->call;
    if (call->counts == NULL) {
        return (td_extent){block * call->count, call->count};
    }
    int64_t first = 0;
    bool out = buffer == TD_BUFFER_OUT;
    for (int i = 0; i < block; i++) {
        first += out ? call->counts[i * e->ranks + owner] : call->counts[owner * e->ranks + i];
    }
    return (td_extent){first, out ? call->counts[block * e->ranks + owner]
                                  : call->counts[owner * e->ranks + block]};
}

td_extent td_execution_extent(const td_execution *e, int owner, td_buffer buffer, int chunk) {
    int block = chunk / e->segments, segment = chunk % e->segments;
    td_extent whole;
    if (e->operation->blocks == TD_BLOCKS_PAIRS) {
        whole = pair_extent(e, owner, buffer, block);
    } else if (e->call->counts != NULL) {
        whole = (td_extent){e->first[block], e->first[block + 1] - e->first[block]};
    } else {
        int64_t first = td_chunk_first(e->call->count, block, e->blocks);
        whole = (td_extent){first, td_chunk_first(e->call->count, block + 1, e->blocks) - first};
    }
    int64_t first = td_chunk_first(whole.n, segment, e->segments);
    return (td_extent){whole.first + first,
                       td_chunk_first(whole.n, segment + 1, e->segments) - first};
}

td_dtype td_execution_type(const td_execution *e, td_buffer buffer) {
    bool callers = buffer == TD_BUFFER_IN || buffer == TD_BUFFER_OUT ||
                   (buffer == TD_BUFFER_PARTIAL && !e->aliases.wide);
    return callers ? e->call->dtype : e->partial;
}

unsigned char *td_execution_mine(const td_execution *e, td_buffer buffer, int64_t element) {
    return (unsigned char *)e->base[buffer] +
           element * td_dtype_bytes(td_execution_type(e, buffer));
}

/* Worker w of every rank handles the same elements of a chunk, whatever buffer it lies in, so that
 * it waits for worker w of a peer alone. 32 elements are a line of the narrowest type. */
td_extent td_execution_share(const td_execution *e, int64_t n) {
    int64_t id = e->turn->worker->id, workers = e->turn->worker->count;
    /* Counted pairs in place: blocks of OUT lie across blocks of IN, which another worker might not
     * have saved yet. One worker does it all. */
    if (e->aliases.in_place && e->call->counts != NULL && e->operation->blocks == TD_BLOCKS_PAIRS) {
        return (td_extent){0, id == 0 ? n : 0};
    }
    int64_t lines = (n + 31) / 32;
    int64_t first = lines * id / workers * 32, last = lines * (id + 1) / workers * 32;
    last = last < n ? last : n;
    return (td_extent){first, last > first ? last - first : 0};
}

void td_execution_move(const td_execution *e, const td_move *move, const void *source, int64_t with,
                       int64_t to, int64_t n) {
    void *target = td_execution_mine(e, move->to.buffer, to);
    td_dtype target_type = td_execution_type(e, move->to.buffer);
    td_dtype source_type = td_execution_type(e, move->from.buffer);
    switch (move->kind) {
    case TD_MOVE_COPY:
        td_elements_copy(target, target_type, source, source_type, n);
        break;
    case TD_MOVE_REDUCE:
        /* The peer's first: the ring then adds in the order of the ranks it passed. */
        td_elements_combine(target, target_type, source, source_type,
                            td_execution_mine(e, move->with.buffer, with),
                            td_execution_type(e, move->with.buffer), n, e->call->reduce);
        break;
    case TD_MOVE_FINISH:
        td_elements_finish(target, target_type, source, source_type, n,
                           e->call->reduce == TD_AVG ? e->ranks : 0);
        break;
    case TD_MOVE_MEET:
        break;
    }
}

static void run_move(const td_execution *e, const td_move *move) {
    for (int i = 0; i < move->chunks; i++) {
        td_extent from =
            td_execution_extent(e, move->peer, move->from.buffer, move->from.chunk + i);
        td_extent to = td_execution_extent(e, move->rank, move->to.buffer, move->to.chunk + i);
        td_extent with = to;
        if (move->kind == TD_MOVE_REDUCE) {
            with = td_execution_extent(e, move->rank, move->with.buffer, move->with.chunk + i);
        }
        TD_DEBUG_ASSERT(from.n == to.n && with.n == to.n);
        td_extent part = td_execution_share(e, to.n);
        if (part.n > 0) {
            const unsigned char *source =
                td_execution_mine(e, move->from.buffer, from.first + part.first);
            if (move->peer != move->rank) {
                source = td_comm_peer(e->turn->comm, move->peer, source);
            }
            td_execution_move(e, move, source, with.first + part.first, to.first + part.first,
                              part.n);
        }
    }
}

static void place_buffers(td_execution *e, const td_linked *linked) {
    const td_comm *comm = e->turn->comm;
    int64_t elements = td_call_elements(comm->plan->row, e->ranks, e->call);
    int64_t vector = (elements * td_dtype_bytes(e->partial) + 63) / 64 * 64;
    unsigned char *next = td_comm_scratch(comm);
    e->base[TD_BUFFER_IN] = (void *)(uintptr_t)e->call->in;
    e->base[TD_BUFFER_OUT] = e->call->out;
    e->base[TD_BUFFER_PARTIAL] = e->call->out;
    for (int buffer = TD_BUFFER_PARTIAL; buffer < TD_BUFFER_COUNT; buffer++) {
        if (linked->uses[buffer]) {
            e->base[buffer] = next;
            next += vector;
        }
    }
}

void td_execution_begin(td_comm_turn *turn, const td_call *call, td_execution *out) {
    const td_comm_plan *plan = turn->comm->plan;
    int ranks = turn->comm->rank->count;
    *out =
        (td_execution){.turn = turn,
                       .call = call,
                       .operation = td_operation_of(plan->row->id),
                       .aliases = plan->aliases,
                       .ranks = ranks,
                       .blocks = plan->row->blocks(ranks),
                       .segments = plan->segments,
                       .partial = plan->aliases.wide ? td_partial_type(call->dtype) : call->dtype};
    place_buffers(out, &plan->linked);
    for (int i = 0; call->counts != NULL && out->operation->blocks == TD_BLOCKS_PARTS && i < ranks;
         i++) {
        out->first[i + 1] = out->first[i] + call->counts[i];
    }
}

void td_comm_execute(td_comm_turn *turn, const td_call *call) {
    const td_linked *linked = &turn->comm->plan->linked;
    int me = turn->comm->rank->rank;
    td_execution e;
    td_execution_begin(turn, call, &e);
    for (int i = 0; i < linked->n_steps[me]; i++) {
        const td_step *step = &linked->steps[me][i];
        if (step->kind == TD_STEP_MOVE) {
            run_move(&e, &step->move);
        } else if (step->kind == TD_STEP_SIGNAL) {
            td_comm_signal(turn, step->round);
        } else if (td_comm_await(turn, step->peer, step->round) != TD_OK) {
            return;
        }
    }
}
