/* SPDX-License-Identifier: Apache-2.0
 * The executor over messages, for ranks that MPI has started. In each round a rank sends what its
 * peers' moves read of it, and takes what its own moves read of peers; when all of that has come,
 * it carries out its moves in order. So every move sees its peers as they were when the round
 * began, and the bits are those of the executor over common memory.
 *
 * The first message of a call from one rank to another begins with the sender's descriptor, a short
 * one has the data behind it. It is compared before anything is done with data.
 *
 * One worker passes the messages; all share the moves.
 */
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "collectives/execution.h"
#include "threads/mpi_ranks.h"
#include "threads/wait.h"

/* FIRST: of messages with a descriptor; the other list is of all others, and of what is sent. */
enum { FIRST, REST, POLLS = 256 };

typedef struct first_message {
    _Alignas(64) td_comm_call call;
    unsigned char data[TD_MESSAGES_PACKED];
} first_message;

/* A rank that this one has had to do with. */
typedef struct acquaintance {
    first_message in, out;
    uint32_t greeted, heard; /* the last call in which it has had, and given, a first message */
    bool is_new;             /* what it has given is to be compared */
    void *block;             /* of memory, in which this is aligned */
} acquaintance;

struct td_messages {
    acquaintance **peer;
    int ranks;
    unsigned char *landing; /* what has come and waits for its move */
    size_t landing_bytes;
    const void **source; /* of each move of the round, for all workers */
    int n_sources;
};

td_status td_messages_create(int ranks, td_messages **out) {
    td_messages *m = td_alloc_zero(sizeof *m);
    if (m != NULL) {
        *m = (td_messages){.peer = td_alloc_zero((size_t)ranks * sizeof(void *)), .ranks = ranks};
    }
    if (m == NULL || m->peer == NULL) {
        td_free(m);
        return td_fail(TD_ENOMEM, "messages of a communicator");
    }
    *out = m;
    return TD_OK;
}

void td_messages_destroy(td_messages *messages) {
    if (messages != NULL) {
        for (int i = 0; i < messages->ranks; i++) {
            td_free(messages->peer[i] == NULL ? NULL : messages->peer[i]->block);
        }
        td_free((void *)messages->peer);
        td_free(messages->landing);
        td_free((void *)messages->source);
        td_free(messages);
    }
}

typedef struct choice {
    td_moves kept; /* the moves in which this rank is one side */
    td_aliases aliases;
    int me;
    bool uses[TD_BUFFER_COUNT]; /* by any rank, so that all ask for the same staging */
} choice;

static bool choose(void *arg, const td_move *move) {
    choice *c = arg;
    td_moves *kept = &c->kept;
    if (td_move_is_nothing(move, c->aliases)) {
        return true;
    }
    if (move->kind != TD_MOVE_MEET) {
        c->uses[td_physical(move->to.buffer, c->aliases)] = true;
    }
    kept->rounds = move->round >= kept->rounds ? move->round + 1 : kept->rounds;
    if (move->rank != c->me && move->peer != c->me) {
        return true;
    }
    if (kept->n_moves == kept->capacity) {
        int capacity = kept->capacity == 0 ? 64 : 2 * kept->capacity;
        td_move *larger = td_realloc(kept->moves, (size_t)capacity * sizeof *larger);
        if (larger == NULL) {
            kept->out_of_memory = true;
            return false;
        }
        kept->moves = larger;
        kept->capacity = capacity;
    }
    kept->moves[kept->n_moves++] = *move;
    return true;
}

/* Of all moves a rank keeps its own only: on 1,024 ranks a ring has two million. */
td_status td_messages_plan(td_comm *comm, td_comm_plan *plan) {
    const td_collective *row = plan->row;
    choice c = {.aliases = plan->aliases, .me = comm->rank->rank};
    td_moves schedule;
    td_status status = td_collective_moves(
        row,
        &(td_schedule_options){.ranks = comm->rank->count,
                               .root = plan->root,
                               .nodes = comm->rank->apart ? td_mpi_host_map() : NULL,
                               .segments = plan->segments,
                               .in_place = plan->aliases.in_place,
                               .sink = choose,
                               .sink_arg = &c},
        &schedule);
    if (status == TD_OK) {
        td_schedule_destroy(&schedule);
        if (c.kept.out_of_memory || !td_schedule_sort(&c.kept)) {
            status = td_fail(TD_ENOMEM, "%s/%s on %d ranks", row->operation, row->algorithm,
                             comm->rank->count);
        }
    }
    if (status != TD_OK) {
        td_free(c.kept.moves);
        return status;
    }
    plan->moves = c.kept.moves;
    plan->n_moves = c.kept.n_moves;
    plan->linked = (td_linked){.ranks = comm->rank->count, .rounds = c.kept.rounds};
    memcpy(plan->linked.uses, c.uses, sizeof c.uses);
    return TD_OK;
}

/* ---- posting ---- */

/* Consecutive chunks lie one after the other, in every buffer. */
static td_extent whole(const td_execution *e, int owner, td_place place, int chunks) {
    td_extent all = td_execution_extent(e, owner, place.buffer, place.chunk);
    for (int i = 1; i < chunks; i++) {
        all.n += td_execution_extent(e, owner, place.buffer, place.chunk + i).n;
    }
    return all;
}

static int64_t message_bytes(const td_execution *e, const td_move *move) {
    return move->kind == TD_MOVE_MEET ? 0
                                      : whole(e, move->peer, move->from, move->chunks).n *
                                            td_dtype_bytes(td_execution_type(e, move->from.buffer));
}

static int post_send(const td_execution *e, const td_move *move) {
    td_comm *comm = e->turn->comm;
    td_messages *m = comm->messages;
    const td_mpi_module *mpi = td_mpi_messages();
    int to = move->rank, tag = td_mpi_tag();
    int64_t bytes = message_bytes(e, move);
    const unsigned char *data = NULL;
    if (bytes > 0) {
        data = td_execution_mine(e, move->from.buffer,
                                 whole(e, move->peer, move->from, move->chunks).first);
    }
    td_rank_count_message(comm->rank, to, true);
    if (m->peer[to]->greeted == comm->sequence) {
        return mpi->send(REST, data, bytes, to, tag);
    }
    m->peer[to]->greeted = comm->sequence;
    first_message *first = &m->peer[to]->out;
    first->call = comm->shared->calls[comm->sequence % TD_COMM_LOG];
    int64_t packed = bytes <= TD_MESSAGES_PACKED ? bytes : 0;
    if (packed > 0) {
        memcpy(first->data, data, (size_t)packed);
    }
    int error = mpi->send(REST, first, (int64_t)sizeof first->call + packed, to, tag);
    return error != 0 || packed == bytes ? error : mpi->send(REST, data, bytes, to, tag);
}

/* out: where the data will lie. */
static int post_receive(const td_execution *e, const td_move *move, unsigned char *landing,
                        const void **out) {
    const td_comm *comm = e->turn->comm;
    const td_mpi_module *mpi = td_mpi_messages();
    int from = move->peer, tag = td_mpi_tag();
    int64_t bytes = message_bytes(e, move);
    acquaintance *peer = comm->messages->peer[from];
    *out = landing;
    td_rank_count_message(comm->rank, from, false);
    if (peer->heard != comm->sequence) {
        peer->heard = comm->sequence;
        peer->is_new = true;
        first_message *first = &peer->in;
        int error = mpi->receive(FIRST, first, sizeof *first, from, tag);
        if (error != 0 || bytes <= TD_MESSAGES_PACKED) {
            *out = first->data;
            return error;
        }
    }
    return mpi->receive(REST, landing, bytes, from, tag);
}

/* ---- waiting ---- */

static td_status late(td_comm *comm, int peer) {
    int n;
    const td_comm_call *call = &comm->shared->calls[comm->sequence % TD_COMM_LOG];
    const td_collective *row = &td_collectives(&n)[call->row];
    char name[TD_RANK_NAME];
    td_rank_name(comm->rank, td_comm_find_late(comm, 0, peer), name);
    td_status status =
        td_fail(TD_ETIMEDOUT, "%s made no progress in %s/%s within %.1f s", name, row->operation,
                row->algorithm, (double)td_rank_deadline_ns(comm->rank) * 1e-9);
    td_comm_dump(comm, stderr);
    return td_rank_abort(comm->rank, status);
}

static td_status await(td_comm *comm, int list) {
    const td_mpi_module *mpi = td_mpi_messages();
    int64_t start_ns = 0;
    int turns = 0;
    for (int64_t polls = 1;; polls++) {
        int done, error = mpi->test(list, &done);
        if (error != 0) {
            return td_rank_abort(comm->rank, td_mpi_failed(error, "messages of a collective"));
        }
        if (done) {
            atomic_store_explicit(&comm->shared->waits_for[0], 0, memory_order_relaxed);
            if (start_ns != 0) {
                td_rank_listen(comm->rank, -1, 0);
            }
            return TD_OK;
        }
        if (comm->rank->shares_cpus) {
            td_wait_turn(&turns); /* naps alone were 20 times slower: every round waits */
        }
        if (polls % POLLS == 0) {
            int64_t now_ns = td_now_ns();
            start_ns = start_ns == 0 ? now_ns : start_ns;
            int peer = mpi->late(list);
            atomic_store_explicit(&comm->shared->waits_for[0], peer + 1, memory_order_relaxed);
            td_rank_listen(comm->rank, peer, now_ns - start_ns);
            if (comm->rank->apart) {
                td_wait_turn(&turns); /* a network is slow enough for somebody else's turn */
            }
            if (td_rank_failed(comm->rank)) {
                return td_rank_barrier(comm->rank); /* says why */
            }
            if (now_ns - start_ns > td_rank_deadline_ns(comm->rank)) {
                return late(comm, peer);
            }
        }
    }
}

/* ---- a round ---- */

static td_status make_acquaintance(td_messages *m, int peer) {
    const size_t align = _Alignof(acquaintance);
    if (m->peer[peer] == NULL) {
        unsigned char *block = td_alloc_zero(sizeof(acquaintance) + align);
        if (block == NULL) {
            return td_fail(TD_ENOMEM, "the first messages of a rank");
        }
        m->peer[peer] = (acquaintance *)(void *)(block + (align - (uintptr_t)block % align));
        m->peer[peer]->block = block;
    }
    return TD_OK;
}

/* For n moves, whose peers may be new, and for what comes. */
static td_status make_room(td_messages *m, int me, const td_move *moves, int n, size_t bytes) {
    for (int i = 0; i < n; i++) {
        TD_TRY(make_acquaintance(m, moves[i].rank == me ? moves[i].peer : moves[i].rank));
    }
    if (n > m->n_sources) {
        const void **larger = td_realloc((void *)m->source, (size_t)n * sizeof *larger);
        if (larger == NULL) {
            return td_fail(TD_ENOMEM, "%d messages of a round", n);
        }
        m->source = larger;
        m->n_sources = n;
    }
    if (bytes > m->landing_bytes) {
        td_free(m->landing);
        m->landing = td_alloc(bytes);
        m->landing_bytes = m->landing == NULL ? 0 : bytes;
        if (m->landing == NULL) {
            return td_fail(TD_ENOMEM, "%zu bytes for the messages of a round", bytes);
        }
    }
    return TD_OK;
}

static bool takes(const td_move *move, int me) {
    return move->rank == me && move->peer != me;
}

/* A copy that is a rank's only move of the round is received where it is to lie. */
static bool lands_in_place(const td_execution *e, const td_move *moves, int n, int i, int me) {
    int own = 0;
    for (int j = 0; j < n; j++) {
        own += moves[j].rank == me;
    }
    return own == 1 && moves[i].kind == TD_MOVE_COPY &&
           td_execution_type(e, moves[i].from.buffer) == td_execution_type(e, moves[i].to.buffer);
}

static td_status talk(const td_execution *e, const td_move *moves, int n) {
    td_comm *comm = e->turn->comm;
    td_messages *m = comm->messages;
    int me = comm->rank->rank, error = 0;
    size_t bytes = 0, at = 0;
    for (int i = 0; i < n; i++) {
        bytes += takes(&moves[i], me) ? (size_t)(message_bytes(e, &moves[i]) + 63) / 64 * 64 : 0;
    }
    TD_TRY(make_room(m, me, moves, n, bytes));
    for (int i = 0; i < n && error == 0; i++) {
        if (takes(&moves[i], me)) {
            unsigned char *landing = m->landing + at;
            if (lands_in_place(e, moves, n, i, me)) {
                landing = td_execution_mine(e, moves[i].to.buffer,
                                            whole(e, me, moves[i].to, moves[i].chunks).first);
            }
            error = post_receive(e, &moves[i], landing, &m->source[i]);
            at += (size_t)(message_bytes(e, &moves[i]) + 63) / 64 * 64;
        }
    }
    for (int i = 0; i < n && error == 0; i++) {
        if (moves[i].peer == me && moves[i].rank != me) {
            error = post_send(e, &moves[i]);
        }
    }
    if (error != 0) {
        return td_rank_abort(comm->rank, td_mpi_failed(error, "messages of a collective"));
    }
    TD_TRY(await(comm, FIRST));
    for (int i = 0; i < n; i++) {
        acquaintance *peer = m->peer[moves[i].peer];
        if (takes(&moves[i], me) && peer->is_new) {
            peer->is_new = false;
            TD_TRY(td_comm_compare(comm, moves[i].peer, &peer->in.call));
        }
    }
    return await(comm, REST);
}

static void carry_out(const td_execution *e, const td_move *move, const void *source) {
    int me = e->turn->comm->rank->rank;
    td_dtype type = td_execution_type(e, move->from.buffer);
    for (int i = 0; i < move->chunks && move->kind != TD_MOVE_MEET; i++) {
        td_extent from =
            td_execution_extent(e, move->peer, move->from.buffer, move->from.chunk + i);
        td_extent to = td_execution_extent(e, me, move->to.buffer, move->to.chunk + i);
        td_extent with = to, part = td_execution_share(e, to.n);
        if (move->kind == TD_MOVE_REDUCE) {
            with = td_execution_extent(e, me, move->with.buffer, move->with.chunk + i);
        }
        const unsigned char *data = source;
        if (move->peer == me) {
            data = td_execution_mine(e, move->from.buffer, from.first);
        } else {
            source = data + from.n * td_dtype_bytes(type);
        }
        unsigned char *target = td_execution_mine(e, move->to.buffer, to.first);
        bool is_there = move->kind == TD_MOVE_COPY && data == target; /* received in place */
        if (part.n > 0 && !is_there) {
            td_execution_move(e, move, data + part.first * td_dtype_bytes(type),
                              with.first + part.first, to.first + part.first, part.n);
        }
    }
}

void td_messages_execute(td_comm_turn *turn, const td_call *call) {
    td_comm *comm = turn->comm;
    const td_comm_plan *plan = comm->plan;
    td_messages *m = comm->messages;
    td_worker *worker = turn->worker;
    td_execution e;
    td_execution_begin(turn, call, &e);
    for (int at = 0, n; at < plan->n_moves; at += n) {
        const td_move *moves = &plan->moves[at];
        for (n = 1; at + n < plan->n_moves && moves[n].round == moves->round;) {
            n++;
        }
        if (worker->id == 0) {
            td_comm_keep(comm, talk(&e, moves, n));
        }
        td_team_barrier(worker);
        if (comm->status != TD_OK) {
            return;
        }
        for (int i = 0; i < n; i++) {
            if (moves[i].rank == comm->rank->rank) {
                carry_out(&e, &moves[i], m->source[i]);
            }
        }
        td_team_barrier(worker);
    }
}
