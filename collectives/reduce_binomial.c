/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

void td_reduce__binomial(td_moves *s) {
    int p = s->ranks, round = 0;
    for (int step = 1; step < p; round++, step *= 2) {
        for (int v = 0; v + step < p; v += 2 * step) {
            int rank = td_from_root(s, v), peer = td_from_root(s, v + step);
            td_add_blocks(s, round, rank, TD_BUFFER_PARTIAL, s->at[rank], peer, s->at[peer], 0,
                          s->blocks);
            s->at[rank] = TD_BUFFER_PARTIAL;
        }
    }
    td_finish_blocks(s, round, s->root, TD_BUFFER_OUT, s->root, s->at[s->root], 0, s->blocks);
}
