/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Segments follow each other down the chain of ranks, each growing by what a rank has of it. The
 * rank after reads a sum where it is, so that over messages the segment before is still in a cache
 * when it is added to; it is rounded when that rank has taken it. */
void td_scan__chain(td_moves *s) {
    td_copy_blocks(s, 0, 0, TD_BUFFER_OUT, 0, s->in, 0, s->blocks);
    for (int rank = 1; rank < s->ranks; rank++) {
        for (int segment = 0; segment < td_chunks(s); segment++) {
            td_place sum = td_at(TD_BUFFER_PARTIAL, segment), own = td_at(s->in, segment);
            int round = rank - 1 + segment;
            td_add(s, round, rank, sum, own, rank - 1,
                   td_at(rank == 1 ? s->in : TD_BUFFER_PARTIAL, segment), 1);
            td_finish(s, round + 2, rank, td_at(TD_BUFFER_OUT, segment), rank, sum, 1);
        }
    }
}
