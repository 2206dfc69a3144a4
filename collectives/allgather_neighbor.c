/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* The two neighbours in turn: first the own block, then always the two blocks that came last. Pair
 * 2k, 2k + 1 has blocks 2k and 2k + 1 after the first round; after round i rank r has those of the
 * pair that is i steps away, forth and back in turn. */
void td_allgather__neighbor(td_moves *s) {
    int p = s->ranks;
    for (int rank = 0; rank < p; rank++) {
        int other = rank % 2 == 0 ? rank + 1 : rank - 1;
        td_copy_blocks(s, 0, rank, TD_BUFFER_OUT, rank, s->in, rank, 1);
        td_copy_blocks(s, 0, rank, TD_BUFFER_OUT, other, s->in, other, 1);
    }
    for (int round = 1; round < p / 2; round++) {
        for (int rank = 0; rank < p; rank++) {
            bool even = rank % 2 == 0;
            int direction = (round % 2 == 1) == even ? -1 : 1;
            /* The pair moves outwards: 1 pair to one side, 1 to the other, 2, 2, and so on. */
            int pair = rank / 2 * 2 + direction * ((round + 1) / 2 * 2);
            td_copy_blocks(s, round, rank, TD_BUFFER_OUT, (rank + direction + p) % p, TD_BUFFER_OUT,
                           pair, 2);
        }
    }
}
