/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Virtual rank v passes on the blocks of its subtree, which are consecutive, largest part first. */
void td_scatter__binomial(td_moves *s) {
    int p = s->ranks, round = 0;
    td_copy_blocks(s, 0, s->root, TD_BUFFER_OUT, s->root, s->in, s->root, 1);
    for (int step = 1 << (td_log2_up(p) - 1); step >= 1; round++, step /= 2) {
        for (int v = 0; v + step < p; v += 2 * step) {
            int blocks = p - v - step < step ? p - v - step : step;
            int rank = td_from_root(s, v + step);
            td_copy_blocks(s, round, rank, TD_BUFFER_OUT, td_from_root(s, v),
                           v == 0 ? s->in : TD_BUFFER_OUT, rank, blocks);
        }
    }
}
