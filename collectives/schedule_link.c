/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/memory.h"
#include "collectives/schedule.h"

enum { NEVER = -2, NO_READER = -1 };

/* A rank that has read a chunk since it was last written, in a list of such. */
typedef struct reader {
    int rank, round, next;
} reader;

/* What happened last to one chunk of one buffer of one rank. */
typedef struct chunk_state {
    int written; /* round; TD_ROUND_ENTERED: by the caller; NEVER */
    int readers; /* index of the latest, NO_READER */
} chunk_state;

typedef struct linker {
    const td_moves *s;
    td_aliases aliases;
    td_linked *out;
    int only, chunks;
    chunk_state *state;
    reader *readers;
    int n_readers, reader_capacity;
    int *waited;     /* [rank][peer]: the latest round of peer that rank has waited for */
    bool *signalled; /* [rank][round]: somebody waits for it */
    int *capacity;   /* of each rank's steps */
    td_status status;
} linker;

static chunk_state *state_of(const linker *l, int rank, td_buffer buffer, int chunk) {
    size_t physical = (size_t)td_physical(buffer, l->aliases);
    return &l->state[((size_t)rank * TD_BUFFER_COUNT + physical) * (size_t)l->chunks +
                     (size_t)chunk];
}

static void out_of_memory(linker *l) {
    if (l->status == TD_OK) {
        l->status = td_fail(TD_ENOMEM, "a schedule of %d moves", l->s->n_moves);
    }
}

static void emit(linker *l, int rank, td_step step) {
    if (l->only >= 0 && l->only != rank) {
        return;
    }
    td_linked *out = l->out;
    if (out->n_steps[rank] == l->capacity[rank]) {
        int capacity = l->capacity[rank] == 0 ? 16 : 2 * l->capacity[rank];
        td_step *larger = td_realloc(out->steps[rank], (size_t)capacity * sizeof *larger);
        if (larger == NULL) {
            out_of_memory(l);
            return;
        }
        out->steps[rank] = larger;
        l->capacity[rank] = capacity;
    }
    out->steps[rank][out->n_steps[rank]++] = step;
}

static void wait_for(linker *l, int rank, int peer, int round) {
    int *known = &l->waited[rank * l->s->ranks + peer];
    if (rank == peer || *known >= round) {
        return;
    }
    *known = round;
    if (round >= 0) {
        l->signalled[(size_t)peer * (size_t)l->s->rounds + (size_t)round] = true;
    }
    emit(l, rank, (td_step){.kind = TD_STEP_WAIT, .round = round, .peer = peer});
}

static void remember_reader(linker *l, chunk_state *state, int rank, int round) {
    if (l->n_readers == l->reader_capacity) {
        int capacity = l->reader_capacity == 0 ? 256 : 2 * l->reader_capacity;
        reader *larger = td_realloc(l->readers, (size_t)capacity * sizeof *larger);
        if (larger == NULL) {
            out_of_memory(l);
            return;
        }
        l->readers = larger;
        l->reader_capacity = capacity;
    }
    l->readers[l->n_readers] = (reader){rank, round, state->readers};
    state->readers = l->n_readers++;
}

static void blame(linker *l, const td_move *move, const char *what, int rank, td_place place) {
    if (l->status == TD_OK) {
        l->status = td_fail(TD_EINPUT, "round %d, rank %d: %s: buffer %d, chunk %d of rank %d",
                            move->round, move->rank, what, (int)place.buffer, place.chunk, rank);
    }
}

/* Before a read: the write must be over. */
static void link_read(linker *l, const td_move *move, int from, td_place place) {
    for (int i = 0; i < move->chunks; i++) {
        chunk_state *state = state_of(l, from, place.buffer, place.chunk + i);
        if (state->written == NEVER) {
            blame(l, move, "reads what nobody wrote", from, place);
            return;
        }
        wait_for(l, move->rank, from, state->written);
        if (from != move->rank) {
            remember_reader(l, state, move->rank, move->round);
        }
    }
}

/* Before a write: nobody may still read. Reads of this round are known already. */
static void link_write(linker *l, const td_move *move) {
    for (int i = 0; i < move->chunks; i++) {
        chunk_state *state = state_of(l, move->rank, move->to.buffer, move->to.chunk + i);
        for (int at = state->readers; at != NO_READER; at = l->readers[at].next) {
            if (l->readers[at].round == move->round) {
                blame(l, move, "writes what a peer reads in the same round", move->rank, move->to);
                return;
            }
            wait_for(l, move->rank, l->readers[at].rank, l->readers[at].round);
        }
    }
}

static void note_write(linker *l, const td_move *move) {
    for (int i = 0; i < move->chunks; i++) {
        chunk_state *state = state_of(l, move->rank, move->to.buffer, move->to.chunk + i);
        state->written = move->round;
        state->readers = NO_READER;
    }
    l->out->uses[td_physical(move->to.buffer, l->aliases)] = true;
}

/* Own chunks written earlier in the same round by the same rank may be read: moves of a rank run in
 * order. link_read then sees a write of an earlier round or none, and needs to wait for nobody. */
static void link_reads(linker *l, const td_move *move) {
    if (move->kind == TD_MOVE_MEET) {
        wait_for(l, move->rank, move->peer, move->round - 1);
        return;
    }
    if (move->peer != move->rank) {
        link_read(l, move, move->peer, move->from);
    }
}

/* What a rank reads of its own, checked when the moves before it are done. */
static void link_own_reads(linker *l, const td_move *move) {
    if (move->kind == TD_MOVE_REDUCE) {
        link_read(l, move, move->rank, move->with);
    }
    if (move->peer == move->rank && move->kind != TD_MOVE_MEET) {
        link_read(l, move, move->rank, move->from);
    }
}

static bool writes(const linker *l, const td_move *move) {
    return move->kind != TD_MOVE_MEET && !td_move_is_nothing(move, l->aliases);
}

static void link_round(linker *l, const td_move *moves, int n, int round) {
    for (int i = 0; i < n; i++) {
        link_reads(l, &moves[i]);
    }
    for (int i = 0; i < n && l->status == TD_OK; i++) {
        if (writes(l, &moves[i])) {
            link_write(l, &moves[i]);
        }
    }
    for (int i = 0; i < n && l->status == TD_OK; i++) {
        link_own_reads(l, &moves[i]);
        if (writes(l, &moves[i])) {
            note_write(l, &moves[i]);
            emit(l, moves[i].rank,
                 (td_step){.kind = TD_STEP_MOVE, .round = round, .move = moves[i]});
        }
    }
    for (int rank = 0; rank < l->s->ranks; rank++) {
        emit(l, rank, (td_step){.kind = TD_STEP_SIGNAL, .round = round});
    }
}

/* A rank may return when its buffers are no longer read. */
static void link_end(linker *l) {
    const td_moves *s = l->s;
    for (int rank = 0; rank < s->ranks; rank++) {
        for (int chunk = 0; chunk < TD_BUFFER_COUNT * l->chunks; chunk++) {
            const chunk_state *state =
                &l->state[(size_t)rank * TD_BUFFER_COUNT * (size_t)l->chunks + (size_t)chunk];
            for (int at = state->readers; at != NO_READER; at = l->readers[at].next) {
                wait_for(l, rank, l->readers[at].rank, l->readers[at].round);
            }
        }
    }
}

/* Signals nobody waits for are dropped, now that all waits are known. */
static void drop_signals(linker *l) {
    for (int rank = 0; rank < l->s->ranks; rank++) {
        td_step *steps = l->out->steps[rank];
        int kept = 0;
        for (int i = 0; i < l->out->n_steps[rank]; i++) {
            bool wanted =
                steps[i].kind != TD_STEP_SIGNAL ||
                l->signalled[(size_t)rank * (size_t)l->s->rounds + (size_t)steps[i].round];
            if (wanted) {
                steps[kept++] = steps[i];
            }
        }
        l->out->n_steps[rank] = kept;
    }
}

bool td_schedule_sort(td_moves *s) {
    int *first = td_alloc_zero(((size_t)s->rounds + 2) * sizeof *first);
    td_move *sorted = td_alloc(((size_t)s->n_moves + 1) * sizeof *sorted);
    bool good = first != NULL && sorted != NULL;
    if (good) {
        for (int i = 0; i < s->n_moves; i++) {
            first[s->moves[i].round + 1]++;
        }
        for (int round = 0; round < s->rounds; round++) {
            first[round + 1] += first[round];
        }
        for (int i = 0; i < s->n_moves; i++) {
            sorted[first[s->moves[i].round]++] = s->moves[i];
        }
        td_free(s->moves);
        s->moves = sorted;
        s->capacity = s->n_moves + 1;
    } else {
        td_free(sorted);
    }
    td_free(first);
    return good;
}

static bool prepare(linker *l) {
    const td_moves *s = l->s;
    size_t ranks = (size_t)s->ranks, cells = ranks * TD_BUFFER_COUNT * (size_t)l->chunks;
    l->state = td_alloc((cells + 1) * sizeof *l->state);
    l->waited = td_alloc(ranks * ranks * sizeof *l->waited);
    l->signalled = td_alloc_zero(ranks * (size_t)s->rounds + 1);
    l->capacity = td_alloc_zero(ranks * sizeof *l->capacity);
    l->out->steps = td_alloc_zero(ranks * sizeof *l->out->steps);
    l->out->n_steps = td_alloc_zero(ranks * sizeof *l->out->n_steps);
    if (l->state == NULL || l->waited == NULL || l->signalled == NULL || l->capacity == NULL ||
        l->out->steps == NULL || l->out->n_steps == NULL) {
        return false;
    }
    for (size_t i = 0; i < ranks * ranks; i++) {
        l->waited[i] = NEVER;
    }
    for (size_t i = 0; i < cells; i++) {
        size_t buffer = i / (size_t)l->chunks % TD_BUFFER_COUNT;
        l->state[i] = (chunk_state){buffer == TD_BUFFER_IN ? TD_ROUND_ENTERED : NEVER, NO_READER};
    }
    return true;
}

td_status td_schedule_link(td_moves *s, td_aliases aliases, int only, td_linked *out) {
    *out = (td_linked){.ranks = s->ranks, .rounds = s->rounds};
    linker l = {.s = s, .aliases = aliases, .out = out, .only = only, .chunks = td_chunks(s)};
    if (s->out_of_memory || !td_schedule_sort(s) || !prepare(&l)) {
        out_of_memory(&l);
    }
    for (int at = 0, round = 0; round < s->rounds && l.status == TD_OK; round++) {
        int n = 0;
        while (at + n < s->n_moves && s->moves[at + n].round == round) {
            n++;
        }
        link_round(&l, s->moves + at, n, round);
        at += n;
    }
    if (l.status == TD_OK) {
        link_end(&l);
        drop_signals(&l);
    }
    td_free(l.state);
    td_free(l.readers);
    td_free(l.waited);
    td_free(l.signalled);
    td_free(l.capacity);
    if (l.status != TD_OK) {
        td_linked_destroy(out);
    }
    return l.status;
}

void td_linked_destroy(td_linked *linked) {
    for (int rank = 0; rank < linked->ranks && linked->steps != NULL; rank++) {
        td_free(linked->steps[rank]);
    }
    td_free(linked->steps);
    td_free(linked->n_steps);
    *linked = (td_linked){0};
}
