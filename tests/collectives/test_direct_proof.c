/* SPDX-License-Identifier: Apache-2.0
 * Proof of the rows that work on shared memory, for 1 to 33, 48, 63 and 64 ranks (the most there
 * may be), every root, in and out of place, even and counted blocks, through cells and beyond. The
 * rows themselves run, every rank on a stack of its own in one thread, each until it waits for
 * another; who goes on next is decided here. What a rank gives is 64 random bits for every element,
 * whose sums, which wrap around, tell a contribution that is missing, counted twice or another's.
 *
 * With every pair of ranks in both orders, what is read before it is signalled is read as it was
 * before. Bytes, rounds and waits are counted, and held to the closed form of the row.
 * A rank whose call returns spoils its buffers at once, and calls again, so that what
 * others still read, or write, there is noticed too.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <string.h>
#include <ucontext.h>

#include "base/memory.h"
#include "collectives/comm_state.h"
#include "threads/group_state.h"
#include "traffic_count.h"

enum { MOST = 64, CALLS = 3, CELL_CALLS = TD_COMM_CELLS + 2, STACK = 256 << 10, ELEMENTS = 1024 };
enum { FORWARD, BACKWARD, ODD_FIRST, SHUFFLED, N_ORDERS };

typedef struct actor {
    ucontext_t context;
    td_rank rank;
    td_comm *comm;
    unsigned char *stack;
    uint64_t *in, *out; /* in its segment */
    bool ended;
    td_status status;
} actor;

static struct stage {
    bool open, shares; /* shares: ranks share CPUs */
    int ranks, on;     /* on: whose turn it is */
    int64_t steps;     /* waits that ended and calls that returned */
    bool stuck;
    const td_collective *row;
    td_call call; /* in and out are each actor's own */
    int64_t counts[MOST * MOST];
    actor actor[MOST];
    td_group group;
    ucontext_t director;
    unsigned char *heap, *stacks, *segments;
    uint16_t *writer;
    int64_t segment_bytes;
    char complaint[256];
} stage;

static void complain(int rank, int call, const char *what, int64_t at) {
    if (stage.complaint[0] == '\0') {
        snprintf(stage.complaint, sizeof stage.complaint,
                 "%s/%s p%d root %d: rank %d, call %d: %s %lld", stage.row->operation,
                 stage.row->algorithm, stage.ranks, stage.call.root, rank, call, what,
                 (long long)at);
    }
}

/* In place of the one that sleeps; see tests/CMakeLists.txt. */
td_status __real_td_rank_wait_for(td_rank *rank, int peer, td_event *event, uint32_t target);
td_status __wrap_td_rank_wait_for(td_rank *rank, int peer, td_event *event, uint32_t target);
td_status __wrap_td_rank_wait_for(td_rank *rank, int peer, td_event *event, uint32_t target) {
    if (!stage.open) {
        return __real_td_rank_wait_for(rank, peer, event, target);
    }
    while (!td_event_reached(event, target)) {
        if (stage.stuck) {
            return td_fail(TD_EPEER, "rank %d waits for rank %d for ever", rank->rank, peer);
        }
        swapcontext(&stage.actor[rank->rank].context, &stage.director);
    }
    stage.steps++;
    return TD_OK;
}

/* ---- what is given and what must come of it ---- */

static uint64_t given(int rank, int call, int64_t i) {
    uint64_t x = ((uint64_t)rank << 40 | (uint64_t)call << 32 | (uint64_t)i) + 1;
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static uint64_t sum_of(int call, int64_t i) {
    uint64_t sum = 0;
    for (int rank = 0; rank < stage.ranks; rank++) {
        sum += given(rank, call, i);
    }
    return sum;
}

static int64_t block_first(int block) {
    int64_t first = 0;
    if (stage.call.counts == NULL) {
        return td_chunk_first(stage.call.count, block, stage.ranks);
    }
    for (int i = 0; i < block; i++) {
        first += stage.counts[i];
    }
    return first;
}

static void expect(int rank, int call, int64_t i, uint64_t right) {
    if (stage.actor[rank].out[i] != right) {
        complain(rank, call, "a wrong element", i);
    }
}

static void judge_pairs(int rank, int call) {
    int p = stage.ranks;
    bool even = stage.call.counts == NULL;
    int64_t to = 0;
    for (int peer = 0; peer < p; peer++) {
        int64_t from = even ? rank * stage.call.count : 0;
        for (int i = 0; i < rank && !even; i++) {
            from += stage.counts[peer * p + i];
        }
        int64_t n = even ? stage.call.count : stage.counts[peer * p + rank];
        for (int64_t i = 0; i < n; i++) {
            expect(rank, call, to + i, given(peer, call, from + i));
        }
        to += n;
    }
}

static void judge(int rank, int call) {
    int p = stage.ranks, root = stage.call.root;
    int64_t n = stage.call.count;
    td_operation_id id = stage.row->id;
    if (id == TD_COLL_alltoall) {
        judge_pairs(rank, call);
    } else if (id == TD_COLL_allreduce || id == TD_COLL_broadcast || id == TD_COLL_reduce) {
        for (int64_t i = 0; i < n && (id != TD_COLL_reduce || rank == root); i++) {
            expect(rank, call, i, id == TD_COLL_broadcast ? given(root, call, i) : sum_of(call, i));
        }
    } else if (id == TD_COLL_allgather || id == TD_COLL_reduce_scatter) {
        for (int owner = 0; owner < p; owner++) {
            for (int64_t i = block_first(owner); i < block_first(owner + 1); i++) {
                if (id == TD_COLL_allgather) {
                    expect(rank, call, i, given(owner, call, i));
                } else if (owner == rank) {
                    expect(rank, call, i, sum_of(call, i));
                }
            }
        }
    } else {
        complain(rank, call, "nobody has said what must come of this operation", 0);
    }
}

/* Up to 1 KiB of every rank. */
static bool goes_through_cells(void) {
    int p = stage.ranks;
    int64_t most = td_call_elements(stage.row, p, &stage.call);
    if (stage.row->id == TD_COLL_allgather) {
        most = 0;
        for (int i = 0; i < p; i++) {
            int64_t n = block_first(i + 1) - block_first(i);
            most = n > most ? n : most;
        }
    }
    return most * (int64_t)sizeof(uint64_t) <= TD_COMM_SLOT;
}

/* So many that every cell is written again. */
static int calls(void) {
    return goes_through_cells() ? CELL_CALLS : CALLS;
}

/* ---- the play ---- */

static void play(void) {
    int rank = stage.on;
    actor *a = &stage.actor[rank];
    td_worker worker = {.count = 1};
    int64_t elements = td_call_elements(stage.row, stage.ranks, &stage.call);
    td_call call = stage.call;
    bool in_place = stage.call.in == stage.call.out;
    call.in = a->in;
    call.out = in_place ? a->in : a->out;
    uint64_t *out = a->out;
    for (int round = 0; round < calls() && a->status == TD_OK; round++) {
        for (int64_t i = 0; i < elements; i++) {
            a->in[i] = given(rank, round, i);
        }
        td_traffic_now.call[rank] = round;
        a->status = td_collective_run(stage.row, a->comm, &worker, &call);
        stage.steps++;
        a->out = call.out;
        for (int64_t i = 0; i < elements && !in_place; i++) {
            if (a->in[i] != given(rank, round, i)) {
                complain(rank, round, "its input was changed at", i);
            }
        }
        if (a->status == TD_OK) {
            judge(rank, round);
        }
        a->out = out;
        memset(a->in, 0x55, sizeof(uint64_t) * ELEMENTS);
        memset(a->out, 0x55, sizeof(uint64_t) * ELEMENTS);
    }
    a->ended = true;
}

static void set_up(int p) {
    int64_t staging = (td_comm_bytes(p, ELEMENTS, TD_I64) + 63) / 64 * 64;
    stage.ranks = p;
    stage.segment_bytes = staging + 2 * ELEMENTS * (int64_t)sizeof(uint64_t);
    stage.heap = td_alloc_zero((size_t)(stage.segment_bytes * p) + TD_ALIGN);
    stage.stacks = td_alloc((size_t)p * STACK);
    stage.group = (td_group){.control = td_alloc_zero(sizeof(td_group_control)),
                             .rule = td_wait_rule_make(true, false),
                             .count = p,
                             .ranks = td_alloc_zero((size_t)p * sizeof(td_rank))};
    unsigned char *heap = stage.heap + TD_ALIGN - (uintptr_t)stage.heap % TD_ALIGN;
    stage.segments = heap;
    stage.writer = td_alloc((size_t)(stage.segment_bytes * p / 8) * sizeof *stage.writer);
    for (int i = 0; i < p; i++) {
        actor *a = &stage.actor[i];
        unsigned char *segment = heap + i * stage.segment_bytes;
        a->rank = (td_rank){.rank = i,
                            .count = p,
                            .group = &stage.group,
                            .workers = 1,
                            .segment = segment,
                            .segment_bytes = (size_t)stage.segment_bytes};
        stage.group.ranks[i] = a->rank;
        a->stack = stage.stacks + (ptrdiff_t)i * STACK;
        a->in = (uint64_t *)(void *)(segment + staging);
        a->out = a->in + ELEMENTS;
        a->comm = td_alloc_zero(sizeof *a->comm + (size_t)p * sizeof a->comm->to_peer[0]);
        a->comm->rank = &a->rank;
        a->comm->shared = (td_comm_shared *)(void *)segment;
        a->comm->staging_bytes = staging;
        for (int peer = 0; peer < p; peer++) {
            a->comm->to_peer[peer] = (peer - i) * stage.segment_bytes;
        }
    }
}

static void tear_down(void) {
    for (int i = 0; i < stage.ranks; i++) {
        td_free(stage.actor[i].comm);
    }
    td_free(stage.writer);
    td_free(stage.group.ranks);
    td_free(stage.group.control);
    td_free(stage.stacks);
    td_free(stage.heap);
}

/* Who is next, in the sweep of this number. */
static int cast_of(int order, int64_t sweep, int i) {
    int p = stage.ranks, half = (p + 1) / 2;
    switch (order) {
    case FORWARD:
        return i;
    case BACKWARD:
        return p - 1 - i;
    case ODD_FIRST:
        return i < p - half ? 2 * i + 1 : 2 * (i - (p - half));
    default:
        return (int)(given(i, p, sweep) % (uint64_t)p); /* some twice, some not */
    }
}

static bool all_ended(void) {
    for (int i = 0; i < stage.ranks; i++) {
        if (!stage.actor[i].ended) {
            return false;
        }
    }
    return true;
}

static void start_counting(void) {
    int64_t bytes = stage.segment_bytes * stage.ranks;
    memset(stage.writer, 0, (size_t)(bytes / 8) * sizeof *stage.writer);
    td_traffic_now = (td_traffic){
        .open = true, .heap = stage.segments, .heap_bytes = bytes, .writer = stage.writer};
}

/* Counted blocks between pairs have no vector that the form could count by. */
static void judge_counts(void) {
    int p = stage.ranks;
    bool pairs = td_operation_of(stage.row->id)->blocks == TD_BLOCKS_PAIRS;
    if (p == 1 || (pairs && stage.call.counts != NULL)) {
        return;
    }
    const td_traffic *t = &td_traffic_now;
    td_direct_form form = stage.row->direct_form(p);
    bool cells = goes_through_cells(), apart = stage.call.in != stage.call.out;
    double bytes = (double)td_call_elements(stage.row, p, &stage.call) * sizeof(uint64_t);
    double right =
        calls() * bytes * ((cells ? form.cells : form.traffic) + (apart ? form.apart : 0));
    if (fabs((double)(t->loaded + t->stored) - right) > 1e-6) {
        complain(-1, calls(),
                 "bytes loaded and stored, not as the closed form:", t->loaded + t->stored);
    }
    if (t->signals != calls() * p * (cells ? 1 : 2)) {
        complain(-1, calls(), "rounds of all ranks, not as the closed form:", t->signals);
    }
    double waits = stage.shares ? form.shared : form.waits;
    if (!cells && fabs((double)t->waits - calls() * waits) > 1e-6) {
        complain(-1, calls(), "waits, not as the closed form:", t->waits);
    }
}

static void direct_play(int order) {
    stage.shares = order / 2 == 0;
    for (int i = 0; i < stage.ranks; i++) {
        actor *a = &stage.actor[i];
        a->ended = false;
        a->status = TD_OK;
        a->rank.shares_cpus = stage.shares;
        a->rank.cache_bytes = order % 2 == 0 ? INT64_MAX : 0; /* results past the caches */
        getcontext(&a->context);
        a->context.uc_stack.ss_sp = a->stack;
        a->context.uc_stack.ss_size = STACK;
        a->context.uc_link = &stage.director;
        makecontext(&a->context, play, 0);
    }
    start_counting();
    stage.open = true;
    stage.stuck = false;
    for (int64_t sweep = 0, idle = 0; !all_ended(); sweep++) {
        int64_t before = stage.steps;
        for (int i = 0; i < stage.ranks; i++) {
            stage.on = cast_of(order, sweep, i);
            if (!stage.actor[stage.on].ended) {
                td_traffic_now.rank = stage.on;
                swapcontext(&stage.director, &stage.actor[stage.on].context);
            }
        }
        idle = stage.steps == before ? idle + 1 : 0;
        stage.stuck = idle > 4 * MOST;
    }
    stage.open = td_traffic_now.open = false;
    for (int i = 0; i < stage.ranks; i++) {
        if (stage.actor[i].status != TD_OK) {
            complain(i, 0, "it ended with status", stage.actor[i].status);
        }
    }
}

/* The call to come: small or beyond cells, even or counted blocks. False: no such call. */
static bool choose(const td_collective *row, int root, bool small, bool counted, bool in_place) {
    int p = stage.ranks;
    td_blocks blocks = td_operation_of(row->id)->blocks;
    bool pairs = blocks == TD_BLOCKS_PAIRS;
    if ((counted && blocks == TD_BLOCKS_WHOLE) || (counted && pairs && in_place)) {
        return false;
    }
    stage.row = row;
    stage.call = (td_call){.root = root, .dtype = TD_I64};
    stage.call.out = in_place ? NULL : &stage; /* only whether it is in */
    stage.call.count = 3 * p + 131;
    if (small) { /* a few, fewer than ranks, or as many as fit */
        stage.call.count = p % 4 == 0 ? TD_COMM_SLOT / 8 : p + 1 < 60 ? p + 1 : 33;
    }
    if (pairs) {
        stage.call.count = small ? 1 : ELEMENTS / 2 / p;
    } else if (!small && row->id == TD_COLL_allgather) {
        stage.call.count = p * (p <= 7 ? 129 : p <= 13 ? 65 : 8) - 1; /* beyond a cell: few */
    }
    if (counted) {
        int64_t most = 0, each = small ? 1 : pairs ? ELEMENTS / 4 / p : (ELEMENTS - 3) / (3 * p);
        stage.call.count = 0;
        stage.call.counts = stage.counts;
        for (int i = 0; i < (pairs ? p * p : p); i++) {
            stage.counts[i] = (i * 7 + i / p) % 3 * each;
            stage.call.count += pairs ? 0 : stage.counts[i];
        }
        for (int i = 0; i < p && pairs; i++) {
            int64_t from = 0, to = 0;
            for (int j = 0; j < p; j++) {
                from += stage.counts[i * p + j];
                to += stage.counts[j * p + i];
            }
            most = from > most ? from : most;
            most = to > most ? to : most;
        }
        stage.call.count = pairs ? most : stage.call.count;
    }
    return true;
}

static void prove(const td_collective *row) {
    int p = stage.ranks;
    for (int root = 0; root < (td_operation_of(row->id)->rooted ? p : 1); root++) {
        for (int variant = 0; variant < 8; variant++) {
            if (!choose(row, root, variant % 2 != 0, variant / 2 % 2 != 0, variant / 4 != 0)) {
                continue;
            }
            /* Many roots: one order each, in turn. */
            bool all = p <= 17 || root == 0 || root == p - 1;
            for (int order = all ? 0 : root % N_ORDERS; order < N_ORDERS; order += all ? 1 : 4) {
                direct_play(order);
                judge_counts();
                cr_assert_eq(stage.complaint[0], '\0', "%s (variant %d, order %d)", stage.complaint,
                             variant, order);
            }
        }
    }
}

ParameterizedTestParameters(direct_proof, every_direct_row) {
    static int rows[128];
    int n, found = 0;
    const td_collective *table = td_collectives(&n);
    for (int i = 0; i < n; i++) {
        if (table[i].direct != NULL) {
            rows[found++] = i;
        }
    }
    return cr_make_param_array(int, rows, (size_t)found);
}

ParameterizedTest(int *number, direct_proof, every_direct_row, .timeout = 300) {
    int n;
    const td_collective *row = &td_collectives(&n)[*number];
    for (int p = 1; p <= MOST; p++) {
        if (row->fits(p) && (p <= 33 || p == 48 || p >= 63)) {
            set_up(p);
            prove(row);
            tear_down();
        }
    }
}
