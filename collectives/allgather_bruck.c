/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Rank r has blocks r to r + have - 1 and doubles them each round: any number of ranks in the least
 * number of rounds. Blocks go straight to their places, so the final rotation of the original is
 * not needed. */
void td_allgather__bruck(td_moves *s) {
    int p = s->ranks;
    for (int rank = 0; rank < p; rank++) {
        td_copy_blocks(s, 0, rank, TD_BUFFER_OUT, rank, s->in, rank, 1);
        for (int round = 0, have = 1; have < p; round++, have *= 2) {
            int peer = (rank + have) % p, blocks = p - have < have ? p - have : have;
            td_copy_blocks(s, round, rank, TD_BUFFER_OUT, peer, round == 0 ? s->in : TD_BUFFER_OUT,
                           peer, blocks);
        }
    }
}
