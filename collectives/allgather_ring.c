/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* At step k rank r copies block r - k - 1, which the rank before it owns at step 0 and has copied
 * one step earlier after that. */
void td_allgather__ring(td_moves *s) {
    int p = s->ranks;
    for (int rank = 0; rank < p; rank++) {
        td_copy_blocks(s, 0, rank, TD_BUFFER_OUT, rank, s->in, rank, 1);
    }
    for (int step = 0; step < p - 1; step++) {
        for (int rank = 0; rank < p; rank++) {
            td_copy_blocks(s, step, rank, TD_BUFFER_OUT, (rank + p - 1) % p,
                           step == 0 ? s->in : TD_BUFFER_OUT, rank - step - 1, 1);
        }
    }
}
