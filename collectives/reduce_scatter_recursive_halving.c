/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

void td_reduce_scatter__recursive_halving(td_moves *s) {
    int p = s->ranks, round = 0;
    for (int step = p / 2; step >= 1; round++, step /= 2) {
        td_buffer at = round == 0 ? s->in : TD_BUFFER_PARTIAL;
        for (int rank = 0; rank < p; rank++) {
            td_add_blocks(s, round, rank, TD_BUFFER_PARTIAL, at, rank ^ step, at,
                          rank / step * step, step);
        }
    }
    for (int rank = 0; rank < p; rank++) {
        td_finish_blocks(s, round, rank, TD_BUFFER_OUT, rank, TD_BUFFER_PARTIAL, rank, 1);
    }
}
