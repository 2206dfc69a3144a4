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
enum { FIRST, REST, PACKED = 1024, POLLS = 256 };

typedef struct first_message {
    _Alignas(64) td_comm_call call;
    unsigned char data[PACKED];
} first_message;

struct td_messages {
    first_message in[TD_MAX_RANKS], out[TD_MAX_RANKS];
    uint64_t greeted, heard; /* peers that have had, and given, a first message in this call */
    unsigned char *landing;  /* what has come and waits for its move */
    size_t landing_bytes;
    const void **source; /* of each move of the round, for all workers */
    int n_sources;
};

td_status td_messages_create(td_messages **out) {
    *out = td_alloc_zero(sizeof **out);
    return *out != NULL ? TD_OK : td_fail(TD_ENOMEM, "messages of a communicator");
}

void td_messages_destroy(td_messages *messages) {
    if (messages != NULL) {
        td_free(messages->landing);
        td_free((void *)messages->source);
        td_free(messages);
    }
}

td_status td_messages_plan(const td_moves *s, td_aliases aliases, int me, td_comm_plan *out) {
    td_move *mine = td_alloc(((size_t)s->n_moves + 1) * sizeof *mine);
    int n = 0;
    if (mine == NULL) {
        return td_fail(TD_ENOMEM, "a schedule of %d moves", s->n_moves);
    }
    for (int i = 0; i < s->n_moves; i++) {
        const td_move *move = &s->moves[i];
        if ((move->rank == me || move->peer == me) && !td_move_is_nothing(move, aliases)) {
            mine[n++] = *move;
        }
    }
    td_move *fitting = td_realloc(mine, ((size_t)n + 1) * sizeof *fitting);
    out->moves = fitting != NULL ? fitting : mine;
    out->n_moves = n;
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
    if ((m->greeted >> to & 1) != 0) {
        return mpi->send(REST, data, bytes, to, tag);
    }
    m->greeted |= UINT64_C(1) << to;
    first_message *first = &m->out[to];
    first->call = comm->shared->calls[comm->sequence % TD_COMM_LOG];
    int64_t packed = bytes <= PACKED ? bytes : 0;
    if (packed > 0) {
        memcpy(first->data, data, (size_t)packed);
    }
    int error = mpi->send(REST, first, (int64_t)sizeof first->call + packed, to, tag);
    return error != 0 || packed == bytes ? error : mpi->send(REST, data, bytes, to, tag);
}

/* out: where the data will lie. */
static int post_receive(const td_execution *e, const td_move *move, unsigned char *landing,
                        const void **out) {
    td_messages *m = e->turn->comm->messages;
    const td_mpi_module *mpi = td_mpi_messages();
    int from = move->peer, tag = td_mpi_tag();
    int64_t bytes = message_bytes(e, move);
    *out = landing;
    if ((m->heard >> from & 1) == 0) {
        m->heard |= UINT64_C(1) << from;
        first_message *first = &m->in[from];
        int error = mpi->receive(FIRST, first, sizeof *first, from, tag);
        if (error != 0 || bytes <= PACKED) {
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
    td_status status = td_fail(TD_ETIMEDOUT, "rank %d made no progress in %s/%s within %.1f s",
                               td_comm_find_late(comm, 0, peer), row->operation, row->algorithm,
                               (double)td_rank_deadline_ns(comm->rank) * 1e-9);
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

static td_status make_room(td_messages *m, int n, size_t bytes) {
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
    uint64_t before = m->heard;
    for (int i = 0; i < n; i++) {
        bytes += takes(&moves[i], me) ? (size_t)(message_bytes(e, &moves[i]) + 63) / 64 * 64 : 0;
    }
    TD_TRY(make_room(m, n, bytes));
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
    for (int peer = 0; peer < e->ranks; peer++) {
        if (((m->heard & ~before) >> peer & 1) != 0) {
            TD_TRY(td_comm_compare(comm, peer, &m->in[peer].call));
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
    if (worker->id == 0) {
        m->greeted = m->heard = 0;
    }
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
