/* SPDX-License-Identifier: Apache-2.0
 * What direct algorithms share: sums over all ranks, read where they lie, in one order.
 */
#ifndef TD_COLLECTIVES_DIRECT_H
#define TD_COLLECTIVES_DIRECT_H

#include "collectives/comm_state.h"

/* Elements [first, last) of out of ranks [to, to + n_to) = the sum over ranks of call->in, which in
 * other ranks lies where `mine` lies in this one. The order of additions is a balanced tree over
 * ranks, so that the bits do not depend on who sums which part; an element is written after it is
 * read, so `mine` may be out. */
void td_direct_sum(const td_comm *comm, const td_call *call, const void *mine, int64_t first,
                   int64_t last, int to, int n_to);

/* Copies a part of a vector of so many bytes, past the caches where it does not fit. */
void td_direct_copy(const td_comm *comm, const td_call *call, int64_t vector_bytes, void *to,
                    const void *from, int64_t bytes);

/* The whole of a call in which all ranks enter, do their part, and leave when all have done it. */
typedef void td_direct_part_fn(td_comm *comm, td_worker *worker, const td_call *call);
td_status td_direct_run(const td_collective *row, td_comm *comm, td_worker *worker,
                        const td_call *call, td_direct_part_fn *part);

/* A small message: a rank copies what it gives into a cell, and who takes finds it in the cells of
 * those who give; data lies in its own. All wait for all, or, where they share CPUs, who takes for
 * those who give. Cells take turns: one is written again when all have left the call in which it
 * was read.
 * Two processes on neighbouring cores need one transfer of a line for 48 bytes. */
typedef void td_direct_take_fn(td_comm *comm, const td_call *call, const unsigned char *data);
typedef struct td_handed {
    int giver;               /* the rank that gives; TD_ALL_GIVE: all */
    const void *from;        /* what this rank gives */
    int64_t bytes;           /* of it */
    td_direct_take_fn *take; /* NULL: this rank takes nothing */
} td_handed;
enum { TD_ALL_GIVE = -1 };
td_status td_direct_hand_over(const td_collective *row, td_comm *comm, td_worker *worker,
                              const td_call *call, const td_handed *handed);

/* This worker's share of the whole vector. */
void td_direct_share(const td_comm *comm, const td_worker *worker, const td_call *call,
                     int64_t *first, int64_t *last);

#endif
