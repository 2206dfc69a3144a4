/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* At step k rank r adds to its block r - k - 2 what the rank before it has there: that rank's own
 * input at step 0, after that the partial sum of the ranks behind. The last block it touches is its
 * own. */
void td_reduce_scatter__ring(td_moves *s) {
    int p = s->ranks;
    for (int step = 0; step < p - 1; step++) {
        for (int rank = 0; rank < p; rank++) {
            td_add_blocks(s, step, rank, TD_BUFFER_PARTIAL, s->in, (rank + p - 1) % p,
                          step == 0 ? s->in : TD_BUFFER_PARTIAL, rank - step - 2, 1);
        }
    }
    for (int rank = 0; rank < p; rank++) {
        td_finish_blocks(s, p - 1, rank, TD_BUFFER_OUT, rank, TD_BUFFER_PARTIAL, rank, 1);
    }
}
