/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Every rank takes every block from its owner, beginning with its neighbour's. */
void td_allgather__linear(td_moves *s) {
    int p = s->ranks;
    for (int rank = 0; rank < p; rank++) {
        td_copy_blocks(s, 0, rank, TD_BUFFER_OUT, rank, s->in, rank, 1);
    }
    for (int step = 1; step < p; step++) {
        for (int rank = 0; rank < p; rank++) {
            int peer = (rank + step) % p;
            td_copy_blocks(s, step - 1, rank, TD_BUFFER_OUT, peer, s->in, peer, 1);
        }
    }
}
