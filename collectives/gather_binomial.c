/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Virtual rank v collects the blocks of its subtree, which are consecutive. */
void td_gather__binomial(td_moves *s) {
    int p = s->ranks, round = 0;
    for (int rank = 0; rank < p; rank++) {
        td_copy_blocks(s, 0, rank, TD_BUFFER_OUT, rank, s->in, rank, 1);
    }
    for (int step = 1; step < p; round++, step *= 2) {
        for (int v = 0; v + step < p; v += 2 * step) {
            int blocks = p - v - step < step ? p - v - step : step;
            int peer = td_from_root(s, v + step);
            td_copy_blocks(s, round, td_from_root(s, v), TD_BUFFER_OUT, peer,
                           round == 0 ? s->in : TD_BUFFER_OUT, peer, blocks);
        }
    }
}
