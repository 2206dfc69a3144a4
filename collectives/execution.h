/* SPDX-License-Identifier: Apache-2.0
 * One worker's run of one plan: where chunks lie and what a move does to them, for the executor
 * over memory that all ranks see (execute.c) and the one over messages (execute_messages.c).
 */
#ifndef TD_COLLECTIVES_EXECUTION_H
#define TD_COLLECTIVES_EXECUTION_H

#include "collectives/comm_state.h"

typedef struct td_execution {
    td_comm_turn *turn;
    const td_call *call;
    const td_operation *operation;
    td_aliases aliases;
    int ranks, blocks, segments;
    td_dtype partial;                /* type of partial results */
    void *base[TD_BUFFER_COUNT];     /* in my segment */
    int64_t first[TD_MAX_RANKS + 1]; /* of each block, when counts are given for them */
} td_execution;

typedef struct td_extent {
    int64_t first, n;
} td_extent;

void td_execution_begin(td_comm_turn *turn, const td_call *call, td_execution *out);

/* Where a chunk of a buffer of a rank lies, in elements. */
td_extent td_execution_extent(const td_execution *e, int owner, td_buffer buffer, int chunk);

td_dtype td_execution_type(const td_execution *e, td_buffer buffer);

/* An element of a buffer of mine. */
unsigned char *td_execution_mine(const td_execution *e, td_buffer buffer, int64_t element);

/* A worker's part of n elements. */
td_extent td_execution_share(const td_execution *e, int64_t n);

/* What the move does with n elements of one chunk. source: where those of move->from lie; with and
 * to: elements of own buffers. */
void td_execution_move(const td_execution *e, const td_move *move, const void *source, int64_t with,
                       int64_t to, int64_t n);

#endif
