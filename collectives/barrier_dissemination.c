/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* After round k a rank knows of the 2^(k+1) ranks that end with itself. */
void td_barrier__dissemination(td_moves *s) {
    int p = s->ranks;
    for (int round = 0, step = 1; step < p; round++, step *= 2) {
        for (int rank = 0; rank < p; rank++) {
            td_meet(s, round, rank, (rank - step + p) % p);
        }
    }
}
