/* SPDX-License-Identifier: Apache-2.0
 * Schedules as data. An algorithm is a generator: for a number of ranks it lists moves, each "in
 * this round this rank takes these chunks from that rank, and stores or adds them". Everything else
 * follows from the list: who must wait for whom (schedule_link.c), proof for any number of ranks
 * (schedule_check.c), cost, pictures, and execution (execute.c).
 *
 * What a round means: every rank reads its peers as they were when the round began, and carries out
 * its own moves in the order in which they were added. A rank writes to its own buffers only.
 * Rounds order the moves; nobody waits for a round to end, only for the data of a move.
 */
#ifndef TD_COLLECTIVES_SCHEDULE_H
#define TD_COLLECTIVES_SCHEDULE_H

#include "base/status.h"
#include "collectives/types.h"

/* IN and OUT are the caller's. PARTIAL holds partial sums, a vector of the type they have: it is
 * OUT itself unless that type is wider (bf16). T0 and T1 are scratch vectors of that type. */
typedef enum td_buffer {
    TD_BUFFER_IN,
    TD_BUFFER_OUT,
    TD_BUFFER_PARTIAL,
    TD_BUFFER_T0,
    TD_BUFFER_T1,
    TD_BUFFER_COUNT
} td_buffer;

typedef enum td_move_kind {
    TD_MOVE_COPY,   /* to = peer's from */
    TD_MOVE_REDUCE, /* to = own `with` + peer's from */
    TD_MOVE_FINISH, /* to = peer's from, rounded and, for avg, divided */
    TD_MOVE_MEET,   /* no data: the peer has ended the rounds before this one */
} td_move_kind;

typedef struct td_place {
    td_buffer buffer;
    int chunk;
} td_place;

typedef struct td_move {
    td_move_kind kind;
    int round, rank, peer; /* rank carries it out; peer == rank: local */
    td_place from, with, to;
    int chunks; /* consecutive ones, from each place on */
} td_move;

/* The vector is cut into `blocks` blocks, each into `segments`: chunk = block * segments + segment.
 */
typedef struct td_moves {
    int ranks, root, blocks, segments;
    const int *nodes; /* the host of each rank, from 0 in the order of first ranks; NULL: unknown */
    bool in_place;  /* OUT is IN: what peers still need of IN must be saved before it is written */
    td_move *moves; /* sorted by round once linked, otherwise as added */
    int n_moves, capacity, rounds;
    bool out_of_memory;
    /* When set, moves are handed on as they are added, and not kept; false: no more are wanted. */
    bool (*sink)(void *arg, const struct td_move *move);
    void *sink_arg;
    bool sink_full;
    /* Of the phase that is being added: where a phase finds its input, and its first round. */
    td_buffer in;
    int base;
    /* For generators that move a rank's value about: where it is now; IN at the start of a phase.
     */
    td_buffer *at;
} td_moves;

/* Adds the moves of an algorithm, for at least two ranks. */
typedef void td_generate_fn(td_moves *s);

/* generate may be NULL: no moves. TD_ENOMEM. */
typedef struct td_schedule_options {
    int ranks, root, blocks, segments;
    const int *nodes; /* see td_moves; borrowed while moves are made */
    bool in_place;
    bool (*sink)(void *arg, const struct td_move *move); /* or NULL; see td_moves */
    void *sink_arg;
} td_schedule_options;
td_status td_schedule_create(const td_schedule_options *options, td_generate_fn *generate,
                             td_moves *out);
void td_schedule_destroy(td_moves *s);

/* What generators are written with. Rounds count from the beginning of the phase. */
static inline td_place td_at(td_buffer buffer, int chunk) {
    return (td_place){buffer, chunk};
}
static inline int td_chunks(const td_moves *s) {
    return s->blocks * s->segments;
}
static inline td_buffer td_other_scratch(td_buffer buffer) {
    return buffer == TD_BUFFER_T0 ? TD_BUFFER_T1 : TD_BUFFER_T0;
}
void td_copy(td_moves *s, int round, int rank, td_place to, int peer, td_place from, int chunks);
void td_add(td_moves *s, int round, int rank, td_place to, td_place with, int peer, td_place from,
            int chunks);
void td_finish(td_moves *s, int round, int rank, td_place to, int peer, td_place from, int chunks);
void td_meet(td_moves *s, int round, int rank, int peer);

/* The same for whole blocks [block, block + blocks), wrapping round the last one, at the same place
 * on both sides. */
void td_copy_blocks(td_moves *s, int round, int rank, td_buffer to, int peer, td_buffer from,
                    int block, int blocks);
void td_add_blocks(td_moves *s, int round, int rank, td_buffer to, td_buffer with, int peer,
                   td_buffer from, int block, int blocks);
void td_finish_blocks(td_moves *s, int round, int rank, td_buffer to, int peer, td_buffer from,
                      int block, int blocks);

/* When OUT is IN, saves the input in T0 first, as a phase of its own, for algorithms that write to
 * OUT what others may still need. Returns the buffer that keeps the input. */
td_buffer td_keep_input(td_moves *s);

/* The next moves are a phase of their own, which finds in OUT what the one before it left there. */
void td_then(td_moves *s);

/* The first round after all moves so far, counted in the phase. */
static inline int td_next_round(const td_moves *s) {
    return s->rounds - s->base;
}

/* Ranks counted from the root. */
static inline int td_from_root(const td_moves *s, int virtual_rank) {
    return (virtual_rank + s->root) % s->ranks;
}

/* The least q with 2^q >= p, and the largest f with 2^f <= p. */
static inline int td_log2_up(int p) {
    int q = 0;
    while (1 << q < p) {
        q++;
    }
    return q;
}
static inline int td_log2_down(int p) {
    int f = 0;
    while (2 << f <= p) {
        f++;
    }
    return f;
}

/* The width of a grid of p ranks: the largest divisor that is no more than the height. */
static inline int td_torus_width(int p) {
    int width = 1;
    for (int i = 2; i * i <= p; i++) {
        width = p % i == 0 ? i : width;
    }
    return width;
}

/* Cost in the model of the literature: rounds in which data moves between ranks (or ranks meet),
 * and the sum over rounds of the most that any rank sends or receives in one, in chunks. loads and
 * stores: chunks that all ranks together read and write. */
typedef struct td_schedule_cost {
    int rounds;
    int64_t chunks;
    int64_t loads, stores;
} td_schedule_cost;
td_status td_schedule_cost_of(const td_moves *s, td_schedule_cost *out);

/* ---- linked: what one rank executes ---- */

typedef enum td_step_kind {
    TD_STEP_WAIT,   /* until `peer` has signalled `round` */
    TD_STEP_MOVE,   /* see move */
    TD_STEP_SIGNAL, /* `round` is done */
} td_step_kind;

/* Round ENTERED is signalled on entry: IN may be read. */
enum { TD_ROUND_ENTERED = -1 };

typedef struct td_step {
    td_step_kind kind;
    int round, peer;
    td_move move;
} td_step;

typedef struct td_linked {
    int ranks, rounds;
    td_step **steps; /* of each rank; those of ranks that were not asked for are NULL */
    int *n_steps;
    bool uses[TD_BUFFER_COUNT];
} td_linked;

/* How buffers lie on top of each other. */
typedef struct td_aliases {
    bool in_place; /* OUT is IN */
    bool wide;     /* PARTIAL is not OUT */
} td_aliases;

static inline td_buffer td_physical(td_buffer buffer, td_aliases aliases) {
    if (buffer == TD_BUFFER_PARTIAL && !aliases.wide) {
        buffer = TD_BUFFER_OUT;
    }
    return buffer == TD_BUFFER_OUT && aliases.in_place ? TD_BUFFER_IN : buffer;
}

/* Whether a copy leaves everything where it is. */
bool td_move_is_nothing(const td_move *move, td_aliases aliases);

/* Orders moves by round; those of a round stay as they were added. False: no memory. */
bool td_schedule_sort(td_moves *s);

/* Orders the moves and finds the waits: before a read, the round in which the peer wrote; before a
 * write, the rounds in which peers read what was there; at the end, all who still read. only: the
 * rank whose steps are wanted, -1: of all. TD_EINPUT when a schedule reads what nobody wrote or
 * what is written in the same round. */
td_status td_schedule_link(td_moves *s, td_aliases aliases, int only, td_linked *out);
void td_linked_destroy(td_linked *linked);

/* Runs the steps of all ranks on symbols (which rank's contribution, of which chunk, how often, in
 * which order of additions) with vector clocks, and says what is wrong: a read that no signal
 * orders after its write, a write before the last reader is done, a contribution that is missing or
 * counted twice, results that differ between ranks, a deadlock. TD_ECHECK with the first finding.
 */
td_status td_schedule_check(const td_moves *s, const td_linked *linked, td_operation_id operation,
                            td_aliases aliases);

/* The same, and tells what the symbols are: wrote is called for every chunk that a rank has when it
 * enters (TD_ROUND_ENTERED) and for every chunk that a move of a round has written, with the chunk
 * of the input that lies there now and the ranks that have contributed, 64 to a word. at.buffer is
 * the physical one. Rounds of one rank come in order; ranks run ahead of each other. */
typedef struct td_watch {
    void (*wrote)(void *arg, int rank, int round, td_place at, int chunk, const uint64_t *ranks);
    void *arg;
} td_watch;
td_status td_schedule_watch(const td_moves *s, const td_linked *linked, td_operation_id operation,
                            td_aliases aliases, const td_watch *watch);

struct td_collective;

/* Appends the schedule of a row as text, in place with root 0: in each round who sends which chunk
 * to whom and what becomes of it, then what every rank holds, as the check saw it. A schedule that
 * is two rows in sequence, move for move, says so. Pipelined rows have one segment a rank. 2 to
 * TD_EXPLAIN_RANKS ranks; TD_ECHECK when the schedule is wrong. */
enum { TD_EXPLAIN_RANKS = 16 };
struct td_text;
td_status td_schedule_explain(const struct td_collective *row, int ranks, struct td_text *out);

/* The same as HTML: a grid of ranks by chunks before the first round and after each in which ranks
 * talk, without scratch vectors, every number as above, darker with every rank that is in it. The
 * row has a schedule that fits. */
td_status td_schedule_draw(const struct td_collective *row, int ranks, struct td_text *out);

/* The schedule of a row; the same with other options, whose blocks are the row's; how many segments
 * the pipelined ones use for blocks of so many bytes. */
td_status td_collective_schedule(const struct td_collective *row, int ranks, int root, int segments,
                                 bool in_place, td_moves *out);
td_status td_collective_moves(const struct td_collective *row, const td_schedule_options *options,
                              td_moves *out);
int td_collective_segments(const struct td_collective *row, int64_t bytes);

#endif
