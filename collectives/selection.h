/* SPDX-License-Identifier: Apache-2.0
 * Which algorithm to call: a table that was measured (tandem tune), or else the cost model. Which
 * one is called decides the order of a sum, so training does not ask: it calls the direct rows,
 * whose sums are the same on every layout.
 */
#ifndef TD_COLLECTIVES_SELECTION_H
#define TD_COLLECTIVES_SELECTION_H

#include "collectives/comm.h"

/* From so many bytes of the vector on, up to the next entry of the same operation and layout. */
typedef struct td_selection_entry {
    td_operation_id operation;
    td_rank_kind kind; /* what is fastest between threads need not be between processes */
    int ranks, workers; /* of each rank */
    int64_t bytes;
    const td_collective *row;
} td_selection_entry;

typedef struct td_selection {
    td_selection_entry *entries; /* in any order */
    int n;
} td_selection;

/* What the model says of ranks that share the memory of one machine: the simulator (loggops.h) for
 * schedules; two meetings, and the traffic shared out evenly, for direct rows. The parameters are
 * those of a present server core and decide which row is best, not how long it takes. */
const td_collective *td_selection_default(td_operation_id operation, int ranks, int64_t bytes);

/* The entry for a call by ranks of this layout, or the default where there is none. table may be
 * NULL. Of ranks that MPI runs on several hosts: never a direct row, and by default what the model
 * says of a network. Of an operation that has no row for so many ranks: NULL. */
const td_collective *td_selection_find(const td_selection *table, td_operation_id operation,
                                       const td_layout *layout, int64_t bytes);

#endif
