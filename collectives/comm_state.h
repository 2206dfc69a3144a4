/* SPDX-License-Identifier: Apache-2.0
 * What the executor and the direct algorithms are written with: beginning and ending a call, the
 * flags by which ranks wait for each other, and the descriptor by which they notice that they are
 * not in the same call.
 */
#ifndef TD_COLLECTIVES_COMM_STATE_H
#define TD_COLLECTIVES_COMM_STATE_H

#include <stdatomic.h>
#include <stddef.h>

#include "collectives/comm.h"
#include "collectives/schedule.h"
#include "threads/wait.h"

/* What a rank is doing; its peers must be doing the same. One cache line, written once a call. */
typedef struct td_comm_call {
    _Alignas(64) uint32_t sequence; /* of calls, from 1 on */
    int16_t row;                    /* of td_collectives */
    uint8_t dtype, reduce;
    int32_t root;
    uint32_t counts;        /* a hash of the block counts; 0: even blocks */
    int64_t count, in, out; /* offsets in the segment */
    uint64_t start_tsc;     /* not compared: when it began, for the dump */
} td_comm_call;
_Static_assert(sizeof(td_comm_call) == 64, "one descriptor, one cache line");

/* The log is longer than the most ranks of a chain, each a call ahead of the next, and cells. */
enum { TD_COMM_LOG = 128, TD_COMM_PLANS = 32, TD_COMM_CELLS = 4 };
/* The most bytes of a rank that go through a cell. Beyond, ranks meet twice. An allreduce on two
 * processes, each on a CPU of its own (Zen 4): 1 KiB 0.22 us so and 0.14 through cells, 4 KiB 0.29
 * and 0.58. Where ranks share CPUs a second meeting costs each of them another turn on its CPU. */
enum { TD_COMM_SLOT = 1024 };

/* How far a worker is: see base below. Beside it, in the same line, a hash of the call, so that
 * peers have both in one transfer. */
typedef union td_comm_done {
    td_event event;
    struct {
        uint64_t of_event; /* its value and sleepers */
        _Atomic uint64_t key;
    };
} td_comm_done;
_Static_assert(sizeof(td_comm_done) == 64, "the hash fits beside its event");

/* A message that is handed over by copying it once; the first 48 bytes come with the signal. */
typedef struct td_comm_cell {
    _Alignas(64) _Atomic uint32_t value; /* as of done */
    _Atomic uint64_t key;
    unsigned char data[TD_COMM_SLOT];
} td_comm_cell;

/* At the start of the staging, in the heap. */
typedef struct td_comm_shared {
    /* Call n is at n % TD_COMM_LOG: peers compare it, and it is the log that a dump shows. A rank
     * cannot be so far ahead of one that still compares. */
    td_comm_call calls[TD_COMM_LOG];
    td_comm_done done[TD_MAX_WORKERS];     /* of each worker */
    td_event offered;                      /* pieces of all calls of overlap.h so far */
    _Atomic int waits_for[TD_MAX_WORKERS]; /* of each worker: 1 + the rank, 0: for nobody */
    td_comm_cell cells[TD_COMM_CELLS];
} td_comm_shared;

/* A linked schedule, kept for the next call of its kind. */
typedef struct td_comm_plan {
    const td_collective *row;
    int root, segments;
    td_aliases aliases;
    td_linked linked;
    td_move *moves; /* over messages, instead: those in which this rank is one side, by round */
    int n_moves;
    uint64_t used; /* when last, in uses of all plans; 0: never made */
} td_comm_plan;

struct td_comm {
    td_rank *rank;
    td_comm_shared *shared; /* mine */
    int64_t staging_bytes;
    uint32_t sequence;
    /* Values of `done` in this call: base before it, base + 1: entered, base + 2 + k: round k is
     * done. The next call's base is beyond all of them. Equal in all ranks. */
    uint32_t base, next_base;
    uint64_t key;    /* a hash of the call that peers compare; those that differ read the log */
    td_call checked; /* the last call, which nothing was wrong with */
    const td_collective *checked_row;
    const td_comm_plan *plan; /* of this call, when it is a schedule */
    td_comm_plan plans[TD_COMM_PLANS];
    uint64_t plan_uses;
    const td_collective *barrier;
    struct td_messages *messages; /* of ranks that MPI has started; NULL: of others */
    /* Messages that went through the cells; the steps (below) by which each cell of mine was to be
     * read; steps that all ranks are known to have reached. */
    uint32_t handed_over;
    uint64_t cell_read[TD_COMM_CELLS], met;
    uint64_t steps;  /* base, without wrapping around */
    uint32_t offers; /* pieces of all calls of overlap.h before the next; equal in all ranks */
    bool begun;      /* this call: written by worker 0 between two barriers of the team */
    /* Written by the first worker that fails, read by all after the barrier of the team. */
    _Atomic bool failed;
    td_status status;
    char text[1024];
    ptrdiff_t to_peer[]; /* from my segment to that of each rank */
};

/* One worker's view of a call. */
typedef struct td_comm_turn {
    td_comm *comm;
    td_worker *worker;
    uint64_t met;     /* peers in common memory whose descriptor has been compared */
    bool owes_waking; /* since td_comm_mark */
} td_comm_turn;

/* Workers of the rank meet; the call is checked and announced. rounds: how many values of `done`
 * the call uses besides entering. The caller returns at once on failure. */
td_status td_comm_begin(td_comm *comm, td_worker *worker, const td_collective *row,
                        const td_call *call, td_comm_turn *out);

/* The same without entering: the caller has something to put out first, and then signals
 * TD_ROUND_ENTERED. */
td_status td_comm_announce(td_comm *comm, td_worker *worker, const td_collective *row,
                           const td_call *call, td_comm_turn *out);

/* Under the thread sanitizer a test may delay workers wherever they wait or signal, so that orders
 * come up that a quiet machine does not show. NULL: no delay. */
#ifdef __SANITIZE_THREAD__
extern void (*td_comm_delay)(void);
#define TD_COMM_DELAY() (td_comm_delay != NULL ? td_comm_delay() : (void)0)
#else
#define TD_COMM_DELAY() ((void)0)
#endif

/* Waits until worker `worker->id` of the peer has signalled the round (TD_ROUND_ENTERED or later).
 * On failure the caller goes on to td_comm_end. */
td_status td_comm_await(td_comm_turn *turn, int peer, int round);

/* Waits for the same round of all peers. */
td_status td_comm_await_all(td_comm_turn *turn, int round);

/* Waits until all peers have entered a call whose base is `steps` or later, so that they have left
 * those before. Of worker 0. */
td_status td_comm_await_left(td_comm_turn *turn, uint64_t steps);

/* Waits until a rank, which may be this one, has offered so many pieces (overlap.h). */
td_status td_comm_await_offer(td_comm_turn *turn, int peer, uint32_t target);

/* This worker has done the round. */
void td_comm_signal(td_comm_turn *turn, int round);

/* The same, but sleeping peers are woken later: by td_comm_wake, or when this worker waits longer
 * itself, or by td_comm_end. */
void td_comm_mark(td_comm_turn *turn, int round);
void td_comm_wake(td_comm_turn *turn);

/* Workers of the rank meet again; also called after a failed wait, because the other workers wait
 * here. Returns the status of the call. */
td_status td_comm_end(td_comm_turn *turn);

/* Runs the plan of the call. */
void td_comm_execute(td_comm_turn *turn, const td_call *call);

/* The same over messages (execute_messages.c), for any number of ranks; those in common memory are
 * as many as bits of td_comm_turn.met. plan: makes what a rank needs of the schedule of its row. */
_Static_assert(TD_MAX_RANKS <= 64, "a bit for every peer that has been met");
enum { TD_MESSAGES_PACKED = 1024 }; /* bytes that go behind a descriptor, in the same message */
typedef struct td_messages td_messages;
td_status td_messages_create(int ranks, td_messages **out);
void td_messages_destroy(td_messages *messages);
td_status td_messages_plan(td_comm *comm, td_comm_plan *plan);
void td_messages_execute(td_comm_turn *turn, const td_call *call);

/* The rank that keeps the others waiting: from `peer`, whom I wait for, along those who wait
 * themselves. */
int td_comm_find_late(const td_comm *comm, int worker, int peer);

/* TD_EPEER, recorded for all, when a peer's call is another one. */
td_status td_comm_compare(td_comm *comm, int peer, const td_comm_call *theirs);

/* The first failure of a worker of this rank stands, and is the status of the call. */
void td_comm_keep(td_comm *comm, td_status status);

/* The part of elements [first, last) that this worker handles: whole cache lines of the buffer, so
 * that no two workers write to one. */
void td_comm_part(int64_t id, int64_t workers, int64_t element_bytes, int64_t *first,
                  int64_t *last);

/* Elements of in and of out. */
int64_t td_call_elements(const td_collective *row, int ranks, const td_call *call);

/* The peer's copy of my buffer. */
static inline void *td_comm_peer(const td_comm *comm, int peer, const void *buffer) {
    return (unsigned char *)(uintptr_t)buffer + comm->to_peer[peer];
}

/* Asks for a line to write. Without -mprfchw the compiler's own asks to read, and the line of one's
 * own that a peer has read is still shared then, so that the store waits for it. A processor that
 * does not know the instruction does nothing. */
static inline void td_comm_fetch_to_write(const void *line) {
    __asm__ volatile("prefetchw %0" : : "m"(*(const unsigned char *)line));
}

/* Where scratch vectors lie: after the shared state. */
static inline unsigned char *td_comm_scratch(const td_comm *comm) {
    return (unsigned char *)(comm->shared + 1);
}

#endif
