/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* As scan/chain; a rank keeps what came for itself, and hands on the sum with its own. */
void td_exscan__chain(td_moves *s) {
    int last = s->ranks - 1;
    td_buffer before = s->in_place ? TD_BUFFER_T1 : TD_BUFFER_PARTIAL;
    for (int rank = 1; rank <= last; rank++) {
        td_buffer came = rank == last ? TD_BUFFER_PARTIAL : before;
        for (int segment = 0; segment < td_chunks(s); segment++) {
            td_place sum = td_at(TD_BUFFER_T0, segment), kept = td_at(came, segment);
            int round = rank - 1 + segment;
            td_copy(s, round, rank, kept, rank - 1,
                    td_at(rank == 1 ? s->in : TD_BUFFER_T0, segment), 1);
            if (rank < last) {
                td_add(s, round, rank, sum, td_at(s->in, segment), rank, kept, 1);
            }
            td_finish(s, round, rank, td_at(TD_BUFFER_OUT, segment), rank, kept, 1);
        }
    }
}
