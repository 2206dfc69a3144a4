/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* van de Geijn: scatter down a binomial tree, then a ring in which the root, which has all, takes
 * no part as a receiver. */
void td_broadcast__scatter_ring(td_moves *s) {
    int p = s->ranks;
    td_copy_blocks(s, 0, s->root, TD_BUFFER_OUT, s->root, s->in, 0, s->blocks);
    td_scatter__binomial(s);
    td_then(s);
    for (int step = 0; step < p - 1; step++) {
        for (int rank = 0; rank < p; rank++) {
            if (rank != s->root) {
                td_copy_blocks(s, step, rank, TD_BUFFER_OUT, (rank + p - 1) % p, TD_BUFFER_OUT,
                               rank - step - 1, 1);
            }
        }
    }
}
