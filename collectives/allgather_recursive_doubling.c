/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

void td_allgather__recursive_doubling(td_moves *s) {
    int p = s->ranks;
    for (int rank = 0; rank < p; rank++) {
        td_copy_blocks(s, 0, rank, TD_BUFFER_OUT, rank, s->in, rank, 1);
        for (int round = 0, have = 1; have < p; round++, have *= 2) {
            int peer = rank ^ have;
            td_copy_blocks(s, round, rank, TD_BUFFER_OUT, peer, round == 0 ? s->in : TD_BUFFER_OUT,
                           peer / have * have, have);
        }
    }
}
