/* SPDX-License-Identifier: Apache-2.0
 * How a collective call is timed: one procedure for our ranks and for those of an MPI library,
 * which tools/peers/mpi_driver.c runs. A round is a few calls. In each, buffers are put into the
 * state asked for, ranks start as the mode says, and every rank notes when it called and when the
 * call returned.
 */
#ifndef TD_BENCH_COLL_ROUND_H
#define TD_BENCH_COLL_ROUND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* streaming: a rank calls as soon as its last call has returned and its buffer is ready;
 * isolated: all start at one agreed time; skewed: as isolated, but one rank, another one each time,
 * TD_COLL_SKEW_NS later. */
#define TD_COLL_MODE_MAP(X) X(STREAMING, streaming) X(ISOLATED, isolated) X(SKEWED, skewed)
/* hot: not touched between calls; rotating: another buffer each time, so that caches have lost it;
 * flushed: its lines thrown out of all caches; written: the rank has just written its whole input,
 * as a backward pass has. */
#define TD_COLL_STATE_MAP(X)                                                                       \
    X(HOT, hot) X(ROTATING, rotating) X(FLUSHED, flushed) X(WRITTEN, written)

#define TD_COLL_ENUM(id, name) TD_COLL_##id,
typedef enum td_coll_mode { TD_COLL_MODE_MAP(TD_COLL_ENUM) TD_COLL_MODES } td_coll_mode;
typedef enum td_coll_state { TD_COLL_STATE_MAP(TD_COLL_ENUM) TD_COLL_STATES } td_coll_state;
#undef TD_COLL_ENUM
const char *td_coll_mode_name(td_coll_mode mode);
const char *td_coll_state_name(td_coll_state state);

enum {
    TD_COLL_SKEW_NS = 20000,
    TD_COLL_CALLS = 32, /* of a round that are timed */
    TD_COLL_WARM = 2,   /* before them, not timed */
    TD_COLL_RANKS = 64,
    TD_COLL_ROTATED = 64, /* buffers at most, and their bytes together: */
    TD_COLL_ROTATED_BYTES = 128 << 20,
};

/* What ranks write while a round runs, in memory that all share; zero to start. */
typedef struct td_coll_board {
    _Alignas(64) _Atomic uint32_t arrived;
    _Alignas(64) _Atomic uint32_t passed;
    _Atomic uint64_t go; /* time stamp at which the calls of the round of arrivals start */
    struct {
        _Alignas(64) uint64_t start[TD_COLL_CALLS], end[TD_COLL_CALLS];
    } rank[TD_COLL_RANKS];
} td_coll_board;

typedef struct td_coll_round {
    int rank, ranks, workers;
    bool shares_cpus; /* ranks take turns on a CPU */
    td_coll_mode mode;
    td_coll_state state;
    int64_t calls;           /* to time, 1 to TD_COLL_CALLS */
    unsigned char *in, *out; /* equal: in place. Rotating: td_coll_copies of them, one after the
                              * other */
    int64_t bytes;           /* of each */
    int64_t element_bytes;   /* 4 or 2: what is written are f32 or bf16 numbers */
    double ticks_per_ns;
    void *arg;
    void (*call)(void *arg, int worker, void *in, void *out);
    void (*meet)(void *arg, int worker); /* of the rank's workers; NULL: it has one */
    bool (*given_up)(void *arg);         /* asked while waiting for other ranks */
    /* Of all ranks, by worker 0: the time stamp of the start, 0: given up. NULL: on the board. */
    uint64_t (*meet_ranks)(void *arg);
} td_coll_round;

/* Buffers that rotate, and the distance between them. */
int64_t td_coll_copies(td_coll_state state, int64_t bytes);
int64_t td_coll_stride(int64_t bytes);

/* Element i of what rank r writes: a small integer, so that sums over up to 16 ranks are exact in
 * any order, in bf16 too (at most 256). */
static inline int td_coll_value(int rank, int64_t i) {
    return (int)((i * 7 + rank * 13) % 31) - 15;
}
void td_coll_write(unsigned char *to, int rank, int64_t first, int64_t n, int64_t element_bytes);

/* Called by all workers of all ranks. False: given up. */
bool td_coll_round_run(const td_coll_round *round, td_coll_board *board, int worker);

/* After the round, in any rank: nanoseconds of each call. isolated and skewed: from the last rank's
 * call to the last rank's return, and nobody prepares the next call before; streaming: the longest
 * that any rank was in the call. Ranks that share CPUs call, by this count, at the agreed start:
 * one that comes later had to wait until another left it the CPU, and what that one did with it in
 * the call is time of the call. */
void td_coll_round_times(const td_coll_round *round, const td_coll_board *board, double *ns);

#endif
