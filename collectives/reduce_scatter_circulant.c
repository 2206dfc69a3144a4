/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Traeff's circulant graph: the least number of rounds and p - 1 blocks for any p. Seen from rank
 * r, block r + i is number i. In a round of skip s = ceil(s'/2) rank r takes numbers s to s' - 1 of
 * rank r - s, which are its own 0 to s' - s - 1. After a round numbers below `summed` are partial
 * sums, the rest is input still. */
void td_reduce_scatter__circulant(td_moves *s) {
    int p = s->ranks, round = 0, summed = 0;
    for (int above = p, skip = (p + 1) / 2; above > 1;
         round++, above = skip, skip = (skip + 1) / 2) {
        int blocks = above - skip, partial = summed - skip < blocks ? summed - skip : blocks;
        partial = partial > 0 ? partial : 0;
        for (int rank = 0; rank < p; rank++) {
            int peer = (rank - skip + p) % p;
            td_buffer own = round == 0 ? s->in : TD_BUFFER_PARTIAL;
            td_add_blocks(s, round, rank, TD_BUFFER_PARTIAL, own, peer, TD_BUFFER_PARTIAL, rank,
                          partial);
            td_add_blocks(s, round, rank, TD_BUFFER_PARTIAL, own, peer, s->in, rank + partial,
                          blocks - partial);
        }
        summed = blocks > summed ? blocks : summed;
    }
    for (int rank = 0; rank < p; rank++) {
        td_finish_blocks(s, round, rank, TD_BUFFER_OUT, rank, TD_BUFFER_PARTIAL, rank, 1);
    }
}
