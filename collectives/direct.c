/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/direct.h"

#include <emmintrin.h>
#include <stddef.h>
#include <string.h>

#include "collectives/elements.h"

/* Bytes of partial sums taken at a time: 4 KiB from each rank is one page, which the prefetcher
 * follows, and partial sums of all levels (at most 7 for 64 ranks) stay in a 32 KiB first-level
 * cache. */
enum { BLOCK_BYTES = 4096, MAX_LEVELS = 7 };
/* Of a result that goes past the caches, so little that loads of the next block start before these
 * stores end: two threads that did nothing else took 9.0 ms for 64 MiB, and 10.2 with 4 KiB. */
enum { STREAMED_BYTES = 1024 };
_Static_assert(1 << (MAX_LEVELS - 1) >= TD_MAX_RANKS, "one partial sum for each level of the tree");

typedef struct inputs {
    const unsigned char *rank[TD_MAX_RANKS];
    int64_t first, n; /* the block, in elements */
    td_dtype dtype, partial_type;
    td_reduce reduce;
    _Alignas(64) unsigned char partial[MAX_LEVELS][BLOCK_BYTES];
} inputs;

/* Where a sum goes: a partial sum to one place, a result, without rounding, to one rank or two. */
typedef struct targets {
    void *to, *also;
} targets;

static const void *sum_subtree(inputs *in, int first, int count, int level, targets out);

/* The left side is the largest power of two below count, as for blocks inside a rank
 * (kernels/tree.h): ranks that own equal, power-of-two groups of blocks continue that tree. */
static void sum_sides(inputs *in, int first, int count, int level, targets out) {
    int left = 1;
    while (2 * left < count) {
        left *= 2;
    }
    void *a_room = in->partial[level], *b_room = in->partial[level + 1];
    const void *a = sum_subtree(in, first, left, level, (targets){a_room, a_room});
    const void *b =
        sum_subtree(in, first + left, count - left, level + 1, (targets){b_room, b_room});
    td_elements()->combine(out.to, out.also, a, b, in->n, in->partial_type, in->reduce);
}

static const void *source_at(const inputs *in, int rank) {
    return in->rank[rank] + in->first * td_dtype_bytes(in->dtype);
}

/* The sum over ranks [first, first + count); inputs are read where they are, unless they are to be
 * widened. Four at once, whose two sums of pairs stay in registers: of four ranks on two CPUs a
 * reduce_scatter of 1 MiB took 46 us with partial sums between, 33 without. Uses partial[level] and
 * the levels above. */
static const void *sum_subtree(inputs *in, int first, int count, int level, targets out) {
    bool wide = in->dtype != in->partial_type;
    if (count == 4 && !wide) {
        const void *four[] = {source_at(in, first), source_at(in, first + 1),
                              source_at(in, first + 2), source_at(in, first + 3)};
        td_elements()->combine_four(out.to, out.also, four, in->n, in->partial_type, in->reduce);
        return out.to;
    }
    if (count > 1) {
        sum_sides(in, first, count, level, out);
        return out.to;
    }
    if (!wide) {
        return source_at(in, first);
    }
    td_elements_copy(out.to, in->partial_type, source_at(in, first), in->dtype, in->n);
    return out.to;
}

/* A rank's own numbers are taken from where they were, not from the cell: its line has gone to
 * those who poll it, and would have to come back. */
static const void *source_of(const td_comm *comm, const td_call *call, const void *mine, int peer) {
    return peer == td_comm_rank(comm) ? call->in : td_comm_peer(comm, peer, mine);
}

static void describe_inputs(const td_comm *comm, const td_call *call, const void *mine,
                            inputs *in) {
    in->dtype = call->dtype;
    in->partial_type = td_partial_type(call->dtype);
    in->reduce = call->reduce;
    for (int peer = 0; peer < td_comm_size(comm); peer++) {
        in->rank[peer] = source_of(comm, call, mine, peer);
    }
}

/* The result of a block goes to ranks [to, to + n_to). Each of their lines is written once, and by
 * the sum itself where nothing is to be rounded: with a block of partial sums between, 256 KiB on
 * two ranks took 14.2 us instead of 10.4. */
static void sum_block(const td_comm *comm, inputs *in, void *out, int to, int n_to) {
    int p = td_comm_size(comm);
    int64_t bytes = td_dtype_bytes(in->dtype), at = in->first * bytes;
    bool rounds = in->reduce == TD_AVG || in->dtype != in->partial_type || p == 1;
    unsigned char *target = (unsigned char *)td_comm_peer(comm, to, out) + at, *also = target;
    unsigned char finished[BLOCK_BYTES];
    const void *sum = target;
    int written = n_to > 1 ? 2 : 1;
    if (n_to > 1) {
        also = (unsigned char *)td_comm_peer(comm, to + 1, out) + at;
    }
    if (rounds) {
        void *room = in->partial[0];
        sum = sum_subtree(in, 0, p, 0, (targets){room, room});
        td_elements_finish(finished, in->dtype, sum, in->partial_type, in->n,
                           in->reduce == TD_AVG ? p : 0);
        sum = finished;
        written = 0;
    } else {
        sum_subtree(in, 0, p, 0, (targets){target, also});
    }
    for (int peer = to + written; peer < to + n_to; peer++) {
        memcpy((unsigned char *)td_comm_peer(comm, peer, out) + at, sum, (size_t)(in->n * bytes));
    }
}

/* The same past the caches: lines of a result far larger than they are would be fetched only to be
 * overwritten, and thrown out again. */
static void stream_block(const td_comm *comm, inputs *in, void *out, int to, int n_to) {
    int p = td_comm_size(comm);
    int64_t bytes = td_dtype_bytes(in->dtype), at = in->first * bytes;
    _Alignas(64) unsigned char finished[STREAMED_BYTES];
    void *room = in->partial[0];
    const void *sum = sum_subtree(in, 0, p, 0, (targets){room, room});
    if (in->reduce == TD_AVG || in->dtype != in->partial_type) {
        td_elements_finish(finished, in->dtype, sum, in->partial_type, in->n,
                           in->reduce == TD_AVG ? p : 0);
        sum = finished;
    }
    for (int peer = to; peer < to + n_to; peer += 2) {
        int second = peer + 1 < to + n_to ? peer + 1 : peer;
        td_elements()->stream((unsigned char *)td_comm_peer(comm, peer, out) + at,
                              (unsigned char *)td_comm_peer(comm, second, out) + at, sum,
                              in->n * bytes);
    }
}

/* Two ranks need no partial sums, unless these are wider. */
static void sum_two(const td_comm *comm, const td_call *call, const void *mine, int64_t first,
                    int64_t last, int to, int n_to) {
    int64_t at = first * td_dtype_bytes(call->dtype);
    unsigned char *target = (unsigned char *)td_comm_peer(comm, to, call->out) + at;
    unsigned char *also = (unsigned char *)td_comm_peer(comm, to + n_to - 1, call->out) + at;
    const unsigned char *a = (const unsigned char *)source_of(comm, call, mine, 0) + at;
    const unsigned char *b = (const unsigned char *)source_of(comm, call, mine, 1) + at;
    td_elements()->combine(target, also, a, b, last - first, call->dtype, call->reduce);
}

static void sum_many(const td_comm *comm, const td_call *call, const void *mine, int64_t first,
                     int64_t last, int to, int n_to, bool streams) {
    inputs in; /* 29 KiB: not cleared, every part is written before it is read */
    describe_inputs(comm, call, mine, &in);
    int64_t block = (streams ? STREAMED_BYTES : BLOCK_BYTES) / td_dtype_bytes(in.partial_type);
    for (in.first = first; in.first < last; in.first += in.n) {
        in.n = last - in.first < block ? last - in.first : block;
        (streams ? stream_block : sum_block)(comm, &in, call->out, to, n_to);
    }
    if (streams) {
        _mm_sfence(); /* the signal that follows says that all is there */
    }
}

/* In place a line that has been read is written where it is. Apart, lines of out are worth fetching
 * while in and out of all ranks stay in the caches, and taken to be gone beyond three quarters of
 * what these hold, as C libraries take it for copies: on two processes an allreduce of 64 MiB took
 * 17.3 ms, and 10.5 past the caches; one of 16 MiB 1.82, and 1.66 to 2.29. */
static bool goes_past_caches(const td_comm *comm, const td_call *call, const void *mine, int n_to) {
    int64_t bytes = call->count * td_dtype_bytes(call->dtype);
    int64_t touched = bytes * (td_comm_size(comm) + n_to);
    return mine != call->out && touched > comm->rank->cache_bytes / 4 * 3;
}

void td_direct_sum(const td_comm *comm, const td_call *call, const void *mine, int64_t first,
                   int64_t last, int to, int n_to) {
    bool rounds = call->reduce == TD_AVG || call->dtype == TD_BF16;
    bool streams = goes_past_caches(comm, call, mine, n_to);
    if (td_comm_size(comm) == 2 && !rounds && !streams) {
        sum_two(comm, call, mine, first, last, to, n_to);
    } else {
        sum_many(comm, call, mine, first, last, to, n_to, streams);
    }
}

/* The C library copies past the caches beyond three quarters of what one CPU has of them, as the
 * machine reports, which in a virtual one may be those of the host; and it sees one copy. Where all
 * vectors together are more than one and a half times the caches, on two processes (Zen 4) an
 * allgather in place of 64 MiB took 2.9 and 4.0 ms, and 2.1 and 3.0 past them; of 16 MiB, as much
 * as the caches, 0.47, and 0.57 to 0.71. */
void td_direct_copy(const td_comm *comm, const td_call *call, int64_t vector_bytes, void *to,
                    const void *from, int64_t bytes) {
    int64_t touched = vector_bytes * td_comm_size(comm) * (call->in == call->out ? 1 : 2);
    if (touched / 3 * 2 > comm->rank->cache_bytes) {
        td_elements()->stream(to, to, from, bytes);
        _mm_sfence(); /* the signal that follows says that all is there */
    } else {
        memcpy(to, from, (size_t)bytes);
    }
}

void td_direct_share(const td_comm *comm, const td_worker *worker, const td_call *call,
                     int64_t *first, int64_t *last) {
    int64_t place = (int64_t)td_comm_rank(comm) * worker->count + worker->id;
    *first = 0;
    *last = call->count;
    td_comm_part(place, (int64_t)td_comm_size(comm) * worker->count, td_dtype_bytes(call->dtype),
                 first, last);
}

td_status td_direct_run(const td_collective *row, td_comm *comm, td_worker *worker,
                        const td_call *call, td_direct_part_fn *part) {
    td_comm_turn turn;
    TD_TRY(td_comm_announce(comm, worker, row, call, &turn));
    td_comm_mark(&turn, TD_ROUND_ENTERED);
    if (td_comm_await_all(&turn, TD_ROUND_ENTERED) == TD_OK) {
        part(comm, worker, call);
        td_comm_mark(&turn, 0);
        td_comm_await_all(&turn, 0);
    }
    return td_comm_end(&turn);
}

/* Polls of a cell, about 1 us, before peers are waited for by their events; fewer where they may
 * need this CPU. */
enum { POLLS = 2000, POLLS_SHARED = 100 };

static bool cell_comes(const td_comm *comm, const td_comm_cell *cell) {
    int polls = comm->rank->shares_cpus ? POLLS_SHARED : POLLS;
    for (int i = 0; i < polls; i++) {
        /* acquire pairs with the release in td_direct_hand_over: the data are there too. */
        uint32_t value = atomic_load_explicit(&cell->value, memory_order_acquire);
        if ((int32_t)(value - comm->base) > 0) {
            return atomic_load_explicit(&cell->key, memory_order_relaxed) == comm->key;
        }
    }
    return false;
}

/* The lines of a cell. */
static void fetch_to_read(const void *cell, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += 64) {
        __builtin_prefetch((const unsigned char *)cell + at);
    }
}

static void fetch_to_write(const void *cell, int64_t bytes) {
    for (int64_t at = 0; at < bytes; at += 64) {
        td_comm_fetch_to_write((const unsigned char *)cell + at);
    }
}

/* Events are for peers that sleep, or are in another call: they raise theirs in any call, so a rank
 * that has raised it without its cell is one of those. They are raised first, although nobody may
 * wait for them: a peer that is polled before it has written its line has to get it back. */
static td_status await_cells(td_comm_turn *turn, const td_comm_cell *mine, int first, int n,
                             int64_t bytes) {
    td_comm *comm = turn->comm;
    int p = td_comm_size(comm), next = 0;
    td_comm_wake(turn);
    for (int i = 0; i < n; i++) {
        fetch_to_read(td_comm_peer(comm, (first + i) % p, mine), bytes);
    }
    while (next < n && cell_comes(comm, td_comm_peer(comm, (first + next) % p, mine))) {
        next++;
    }
    for (; next < n; next++) {
        TD_TRY(td_comm_await(turn, (first + next) % p, TD_ROUND_ENTERED));
    }
    if (n == p - 1) {
        comm->met = comm->steps;
    }
    return TD_OK;
}

static void fill_cell(const td_comm *comm, td_comm_cell *cell, const void *from, int64_t bytes) {
    if (bytes > 0) {
        memcpy(cell->data, from, (size_t)bytes);
    }
    TD_COMM_DELAY();
    atomic_store_explicit(&cell->key, comm->key, memory_order_relaxed);
    atomic_store_explicit(&cell->value, comm->base + 1, memory_order_release);
}

/* Ranks with a CPU each all wait for all, and so need two cells: with four, and a root that does
 * not wait, a broadcast of 1 KiB on two took 0.17 to 0.23 us in place of 0.15. Where they share
 * CPUs, every wait that need not be may cost a rank another turn. */
static int awaited(const td_comm *comm, const td_handed *handed, int *first) {
    int p = td_comm_size(comm), rank = td_comm_rank(comm);
    *first = (rank + 1) % p;
    if (!comm->rank->shares_cpus || (handed->giver == TD_ALL_GIVE && handed->take != NULL)) {
        return p - 1;
    }
    if (handed->take == NULL || handed->giver == rank) {
        return 0;
    }
    *first = handed->giver;
    return 1;
}

static void give_and_take(td_comm_turn *turn, const td_call *call, const td_handed *handed) {
    td_comm *comm = turn->comm;
    bool shares = comm->rank->shares_cpus;
    bool gives = handed->giver == TD_ALL_GIVE || handed->giver == td_comm_rank(comm);
    uint32_t n_cells = shares ? TD_COMM_CELLS : 2, at = comm->handed_over++ % n_cells;
    td_comm_cell *cells = comm->shared->cells, *mine = &cells[at];
    int64_t bytes = gives ? handed->bytes : 0;
    int64_t lines = (int64_t)offsetof(td_comm_cell, data) + bytes;
    if (gives || !shares) {
        if (td_comm_await_left(turn, comm->cell_read[at]) != TD_OK) {
            return;
        }
        fill_cell(comm, mine, handed->from, bytes);
        comm->cell_read[at] = comm->steps + (comm->next_base - comm->base);
    }
    td_comm_mark(turn, TD_ROUND_ENTERED);
    int first, n = awaited(comm, handed, &first);
    if (await_cells(turn, mine, first, n, lines) == TD_OK && handed->take != NULL) {
        handed->take(comm, call, mine->data);
    }
    /* Peers have read the next one, mostly: its lines come back before they are written. */
    fetch_to_write(&cells[comm->handed_over % n_cells], lines);
}

td_status td_direct_hand_over(const td_collective *row, td_comm *comm, td_worker *worker,
                              const td_call *call, const td_handed *handed) {
    td_comm_turn turn;
    TD_TRY(td_comm_announce(comm, worker, row, call, &turn));
    if (worker->id == 0) {
        give_and_take(&turn, call, handed);
    }
    return td_comm_end(&turn);
}
