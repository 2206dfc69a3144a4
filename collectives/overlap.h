/* SPDX-License-Identifier: Apache-2.0
 * allreduce/tree in pieces, while the ranks compute: gradients are summed as soon as all ranks have
 * them, behind the backward pass of the layers below. Nobody waits for another rank before the end.
 *
 *   td_overlap_begin     all workers; as any collective, it must be the same call in all ranks
 *   td_overlap_offer     worker 0, when the next piece is final in this rank; for every piece
 *   td_overlap_progress  any worker, any time: sums its share of the pieces that all have offered
 *   td_overlap_finish    all workers: the pieces that are left, then all are done
 *
 * Between begin and finish the ranks make no other call. A piece that was offered may neither be
 * read nor written until the end. Sums are bit for bit those of one allreduce/tree.
 */
#ifndef TD_COLLECTIVES_OVERLAP_H
#define TD_COLLECTIVES_OVERLAP_H

#include "collectives/comm.h"

typedef struct td_overlap td_overlap; /* opaque; one per rank */

enum { TD_OVERLAP_PIECES = 32 };

/* Pieces [pieces[i][0], pieces[i][1]) of f32 elements of buffer, which lies in the segment, in the
 * order in which they will be offered; buffer and pieces equal in all ranks. */
td_status td_overlap_create(td_comm *comm, float *buffer, int64_t count, int64_t (*pieces)[2],
                            int n, td_overlap **out);
void td_overlap_destroy(td_overlap *overlap);

td_status td_overlap_begin(td_overlap *overlap, td_worker *worker);
void td_overlap_offer(td_overlap *overlap);

/* Returns TD_OK always: a failure is told by finish, to all workers alike. */
td_status td_overlap_progress(td_overlap *overlap, td_worker *worker);
td_status td_overlap_finish(td_overlap *overlap, td_worker *worker);

/* Elements, of all calls so far, that were summed by progress, and all. */
void td_overlap_elements(const td_overlap *overlap, int64_t *early, int64_t *all);

#endif
