/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* In round k every rank takes its block from rank r - k. In place, blocks are saved first. */
void td_alltoall__pairwise(td_moves *s) {
    int p = s->ranks;
    td_buffer from = td_keep_input(s);
    for (int step = 0; step < p; step++) {
        for (int rank = 0; rank < p; rank++) {
            int peer = (rank - step + p) % p;
            td_copy(s, step == 0 ? 0 : step - 1, rank, td_at(TD_BUFFER_OUT, peer * s->segments),
                    peer, td_at(from, rank * s->segments), s->segments);
        }
    }
}
