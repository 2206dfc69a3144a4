/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "collectives/schedule.h"

/* ENTRY: every rank's clock when it calls. */
enum { MAX_RANKS = 192, WORDS = MAX_RANKS / 64, NO_READER = -1, ENTRY = 1 };

/* The contents of a chunk: a sum of contributions of one chunk of the input. shape stands for the
 * tree of additions, in which sides may be exchanged, because a + b and b + a have the same bits.
 */
typedef struct symbol {
    int chunk; /* -1: nothing */
    uint64_t ranks[WORDS];
    uint64_t shape;
    int64_t written; /* the owner's clock */
    int readers;     /* latest of the list */
} symbol;

typedef struct reading {
    int rank, next;
    int64_t clock;
} reading;

typedef struct machine {
    const td_moves *s;
    const td_linked *linked;
    td_operation_id operation;
    td_aliases aliases;
    const td_watch *watch; /* NULL: nobody watches */
    int chunks;
    symbol *memory;   /* [rank][buffer][chunk] */
    int64_t *clocks;  /* [rank][rank]: what a rank knows of the others */
    int64_t *signals; /* [rank][round + 1][rank]: what it knew when it signalled */
    int *signalled;   /* of each rank: the latest round */
    int *at;          /* of each rank: the next step */
    reading *readings;
    int n_readings, reading_capacity;
    td_status status;
} machine;

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static void fail(machine *m, const char *text, int rank, int chunk) {
    if (m->status == TD_OK) {
        m->status = td_fail(TD_ECHECK, "%s of %d ranks, root %d, %s%s: rank %d, chunk %d: %s",
                            td_operation_of(m->operation)->name, m->s->ranks, m->s->root,
                            m->aliases.in_place ? "in place" : "out of place",
                            m->aliases.wide ? ", wide partial sums" : "", rank, chunk, text);
    }
}

static symbol *cell(machine *m, int rank, td_buffer buffer, int chunk) {
    size_t physical = (size_t)td_physical(buffer, m->aliases);
    return &m->memory[((size_t)rank * TD_BUFFER_COUNT + physical) * (size_t)m->chunks +
                      (size_t)chunk];
}

static int64_t *clock_of(machine *m, int rank) {
    return m->clocks + (size_t)rank * (size_t)m->s->ranks;
}

static int64_t *signal_of(machine *m, int rank, int round) {
    size_t ranks = (size_t)m->s->ranks;
    return m->signals +
           ((size_t)rank * (size_t)(m->linked->rounds + 1) + (size_t)(round + 1)) * ranks;
}

static void remember(machine *m, symbol *source, int rank) {
    if (m->n_readings == m->reading_capacity) {
        int capacity = m->reading_capacity == 0 ? 1024 : 2 * m->reading_capacity;
        reading *larger = td_realloc(m->readings, (size_t)capacity * sizeof *larger);
        if (larger == NULL) {
            m->status = td_fail(TD_ENOMEM, "%d readings", capacity);
            return;
        }
        m->readings = larger;
        m->reading_capacity = capacity;
    }
    m->readings[m->n_readings] = (reading){rank, source->readers, clock_of(m, rank)[rank]};
    source->readers = m->n_readings++;
}

static const symbol *load(machine *m, int rank, int owner, td_buffer buffer, int chunk) {
    symbol *source = cell(m, owner, buffer, chunk);
    if (source->chunk < 0) {
        fail(m, "reads what holds nothing", rank, chunk);
    }
    if (clock_of(m, rank)[owner] < source->written) {
        fail(m, "reads before the write is signalled", rank, chunk);
    }
    if (owner != rank) {
        remember(m, source, rank);
    }
    return source;
}

static bool readers_done(machine *m, int rank, const symbol *target) {
    for (int i = target->readers; i != NO_READER; i = m->readings[i].next) {
        if (clock_of(m, rank)[m->readings[i].rank] < m->readings[i].clock) {
            return false;
        }
    }
    return true;
}

static void store(machine *m, int rank, td_place to, int chunk, symbol value) {
    symbol *target = cell(m, rank, to.buffer, to.chunk + chunk);
    if (!readers_done(m, rank, target)) {
        fail(m, "writes before the last reader is done", rank, to.chunk + chunk);
    }
    value.written = clock_of(m, rank)[rank];
    value.readers = NO_READER;
    *target = value;
}

static void tell(const machine *m, int rank, int round, td_place at, const symbol *value) {
    if (m->watch != NULL) {
        at.buffer = td_physical(at.buffer, m->aliases);
        m->watch->wrote(m->watch->arg, rank, round, at, value->chunk, value->ranks);
    }
}

static void combine(machine *m, int rank, symbol *into, const symbol *other) {
    if (into->chunk != other->chunk) {
        fail(m, "adds another chunk's contribution", rank, into->chunk);
    }
    for (int i = 0; i < WORDS; i++) {
        if ((into->ranks[i] & other->ranks[i]) != 0) {
            fail(m, "counts a contribution twice", rank, into->chunk);
        }
        into->ranks[i] |= other->ranks[i];
    }
    into->shape = mix(mix(into->shape) + mix(other->shape));
}

static void carry_out(machine *m, int rank, const td_move *move) {
    clock_of(m, rank)[rank]++;
    for (int i = 0; i < move->chunks && m->status == TD_OK; i++) {
        symbol value = *load(m, rank, move->peer, move->from.buffer, move->from.chunk + i);
        if (move->kind == TD_MOVE_REDUCE) {
            combine(m, rank, &value, load(m, rank, rank, move->with.buffer, move->with.chunk + i));
        }
        store(m, rank, move->to, i, value);
        tell(m, rank, move->round, td_at(move->to.buffer, move->to.chunk + i), &value);
    }
}

/* False when the rank has to wait. */
static bool advance(machine *m, int rank) {
    const td_step *step = &m->linked->steps[rank][m->at[rank]];
    int64_t *mine = clock_of(m, rank);
    if (step->kind == TD_STEP_MOVE) {
        carry_out(m, rank, &step->move);
    } else if (step->kind == TD_STEP_SIGNAL) {
        memcpy(signal_of(m, rank, step->round), mine, (size_t)m->s->ranks * sizeof *mine);
        m->signalled[rank] = step->round;
    } else {
        if (m->signalled[step->peer] < step->round) {
            return false;
        }
        const int64_t *theirs = signal_of(m, step->peer, step->round);
        for (int i = 0; i < m->s->ranks; i++) {
            mine[i] = theirs[i] > mine[i] ? theirs[i] : mine[i];
        }
    }
    m->at[rank]++;
    return true;
}

static void run(machine *m) {
    bool progress = true;
    int done = 0;
    while (progress && done < m->s->ranks && m->status == TD_OK) {
        progress = false;
        done = 0;
        for (int rank = 0; rank < m->s->ranks; rank++) {
            while (m->at[rank] < m->linked->n_steps[rank] && m->status == TD_OK &&
                   advance(m, rank)) {
                progress = true;
            }
            done += m->at[rank] == m->linked->n_steps[rank];
        }
    }
    for (int rank = 0; rank < m->s->ranks && m->status == TD_OK; rank++) {
        if (m->at[rank] < m->linked->n_steps[rank]) {
            fail(m, "waits for a signal that never comes", rank, -1);
        }
    }
}

/* ---- what must come of it ---- */

/* The value of a chunk of OUT of a rank: first <= contributing ranks < last; false: undefined. */
typedef struct wanted {
    int chunk, first, last;
} wanted;

static bool want(const machine *m, int rank, int chunk, wanted *out) {
    const td_moves *s = m->s;
    int p = s->ranks, block = chunk / s->segments, half = s->blocks / 2 * s->segments;
    *out = (wanted){chunk, 0, p};
    switch (m->operation) {
    case TD_COLL_allreduce:
        return true;
    case TD_COLL_reduce:
        return rank == s->root;
    case TD_COLL_reduce_scatter:
        return block == rank;
    case TD_COLL_scan:
        out->last = rank + 1;
        return true;
    case TD_COLL_exscan:
        out->last = rank;
        return rank > 0;
    case TD_COLL_broadcast:
        *out = (wanted){chunk, s->root, s->root + 1};
        return true;
    case TD_COLL_scatter:
        *out = (wanted){chunk, s->root, s->root + 1};
        return block == rank;
    case TD_COLL_gather:
        *out = (wanted){chunk, block, block + 1};
        return rank == s->root;
    case TD_COLL_allgather:
        *out = (wanted){chunk, block, block + 1};
        return true;
    case TD_COLL_alltoall:
        *out = (wanted){rank * s->segments + chunk % s->segments, block, block + 1};
        return true;
    case TD_COLL_shift:
        *out = (wanted){chunk, (rank + p - 1) % p, (rank + p - 1) % p + 1};
        return true;
    case TD_COLL_exchange: {
        int from = chunk < half ? (rank + p - 1) % p : (rank + 1) % p;
        *out = (wanted){chunk, from, from + 1};
        return true;
    }
    default:
        return false;
    }
}

static bool has_rank(const uint64_t *ranks, int rank) {
    return (ranks[rank / 64] >> rank % 64 & 1) != 0;
}

static void judge_out(machine *m, int rank, int chunk) {
    wanted w;
    if (!want(m, rank, chunk, &w)) {
        return;
    }
    const symbol *have = cell(m, rank, TD_BUFFER_OUT, chunk);
    if (have->chunk != w.chunk) {
        fail(m, have->chunk < 0 ? "the result is missing" : "the result is another chunk's", rank,
             chunk);
        return;
    }
    for (int i = 0; i < m->s->ranks; i++) {
        if (has_rank(have->ranks, i) != (i >= w.first && i < w.last)) {
            fail(m, "a contribution is missing, or one too many", rank, chunk);
        }
    }
    const symbol *first = cell(m, 0, TD_BUFFER_OUT, chunk);
    if (m->operation == TD_COLL_allreduce && have->shape != first->shape) {
        fail(m, "the order of additions differs between ranks", rank, chunk);
    }
}

static void judge(machine *m) {
    for (int rank = 0; rank < m->s->ranks; rank++) {
        if (m->operation == TD_COLL_barrier) {
            for (int i = 0; i < m->s->ranks; i++) {
                if (clock_of(m, rank)[i] < ENTRY) {
                    fail(m, "returns before all have called", rank, -1);
                }
            }
        }
        for (int chunk = 0; chunk < m->chunks && m->operation != TD_COLL_barrier; chunk++) {
            judge_out(m, rank, chunk);
            const symbol *in = cell(m, rank, TD_BUFFER_IN, chunk);
            if (!m->aliases.in_place && in->chunk >= 0 && in->written != ENTRY) {
                fail(m, "writes to the input", rank, chunk);
            }
            for (int buffer = 0; buffer < TD_BUFFER_COUNT; buffer++) {
                if (!readers_done(m, rank, cell(m, rank, (td_buffer)buffer, chunk))) {
                    fail(m, "returns while a peer still reads", rank, chunk);
                }
            }
        }
    }
}

/* What a rank has in IN before the call. */
static bool provides(const machine *m, int rank, int chunk) {
    int block = chunk / m->s->segments;
    switch (m->operation) {
    case TD_COLL_broadcast:
    case TD_COLL_scatter:
        return rank == m->s->root;
    case TD_COLL_allgather:
    case TD_COLL_gather:
        return block == rank;
    default:
        return m->operation != TD_COLL_barrier;
    }
}

static void fill(machine *m) {
    size_t cells = (size_t)m->s->ranks * TD_BUFFER_COUNT * (size_t)m->chunks;
    for (size_t i = 0; i < cells; i++) {
        m->memory[i] = (symbol){.chunk = -1, .readers = NO_READER};
    }
    for (int rank = 0; rank < m->s->ranks; rank++) {
        m->signalled[rank] = TD_ROUND_ENTERED;
        clock_of(m, rank)[rank] = ENTRY;
        signal_of(m, rank, TD_ROUND_ENTERED)[rank] = ENTRY;
        for (int chunk = 0; chunk < m->chunks; chunk++) {
            symbol *in = cell(m, rank, TD_BUFFER_IN, chunk);
            if (provides(m, rank, chunk)) {
                in->chunk = chunk;
                in->written = ENTRY;
                in->ranks[rank / 64] = UINT64_C(1) << rank % 64;
                in->shape = mix((uint64_t)rank * 1000003 + 1);
                tell(m, rank, TD_ROUND_ENTERED, td_at(TD_BUFFER_IN, chunk), in);
            }
        }
    }
}

td_status td_schedule_watch(const td_moves *s, const td_linked *linked, td_operation_id operation,
                            td_aliases aliases, const td_watch *watch) {
    machine m = {.s = s,
                 .linked = linked,
                 .operation = operation,
                 .aliases = aliases,
                 .watch = watch,
                 .chunks = td_chunks(s)};
    size_t p = (size_t)s->ranks;
    TD_ASSERT(s->ranks <= MAX_RANKS);
    m.memory = td_alloc_zero(p * TD_BUFFER_COUNT * (size_t)m.chunks * sizeof *m.memory);
    m.clocks = td_alloc_zero(p * p * sizeof *m.clocks);
    m.signals = td_alloc_zero(p * (size_t)(linked->rounds + 1) * p * sizeof *m.signals);
    m.signalled = td_alloc_zero(p * sizeof *m.signalled);
    m.at = td_alloc_zero(p * sizeof *m.at);
    if (m.memory == NULL || m.clocks == NULL || m.signals == NULL || m.signalled == NULL ||
        m.at == NULL) {
        m.status = td_fail(TD_ENOMEM, "the check of a schedule of %d ranks", s->ranks);
    } else {
        fill(&m);
        run(&m);
    }
    if (m.status == TD_OK) {
        judge(&m);
    }
    td_free(m.memory);
    td_free(m.clocks);
    td_free(m.signals);
    td_free(m.signalled);
    td_free(m.at);
    td_free(m.readings);
    return m.status;
}

td_status td_schedule_check(const td_moves *s, const td_linked *linked, td_operation_id operation,
                            td_aliases aliases) {
    return td_schedule_watch(s, linked, operation, aliases, NULL);
}
