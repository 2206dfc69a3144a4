/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Every rank adds up its own block, from one peer after another. */
void td_reduce_scatter__pairwise(td_moves *s) {
    int p = s->ranks;
    for (int step = 1; step < p; step++) {
        for (int rank = 0; rank < p; rank++) {
            td_add_blocks(s, step - 1, rank, TD_BUFFER_PARTIAL,
                          step == 1 ? s->in : TD_BUFFER_PARTIAL, (rank + step) % p, s->in, rank, 1);
        }
    }
    for (int rank = 0; rank < p; rank++) {
        td_finish_blocks(s, p - 1, rank, TD_BUFFER_OUT, rank, TD_BUFFER_PARTIAL, rank, 1);
    }
}
