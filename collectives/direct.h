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

/* The whole of a call in which all ranks enter, do their part, and leave when all have done it. */
typedef void td_direct_part_fn(td_comm *comm, td_worker *worker, const td_call *call);
td_status td_direct_run(const td_collective *row, td_comm *comm, td_worker *worker,
                        const td_call *call, td_direct_part_fn *part);

/* A small message, of up to TD_COMM_SLOT bytes a rank: every rank copies what it gives into a cell,
 * and takes what it needs out of the cells of all ranks; data lies in its own. Cells take turns:
 * who has entered the next such call has read those of this one, so all wait for all.
 * Two processes on neighbouring cores need one transfer of a line for 48 bytes. */
typedef void td_direct_take_fn(td_comm *comm, const td_call *call, const unsigned char *data);
typedef struct td_handed {
    const void *from; /* what this rank gives */
    int64_t bytes;    /* 0: nothing */
    td_direct_take_fn *take;
} td_handed;
td_status td_direct_hand_over(const td_collective *row, td_comm *comm, td_worker *worker,
                              const td_call *call, const td_handed *handed);

/* This worker's share of the whole vector. */
void td_direct_share(const td_comm *comm, const td_worker *worker, const td_call *call,
                     int64_t *first, int64_t *last);

#endif
