/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* A binomial tree to rank 0 and back. */
void td_barrier__tree(td_moves *s) {
    int p = s->ranks, q = td_log2_up(p);
    for (int k = 0; k < q; k++) {
        int step = 1 << k;
        for (int rank = 0; rank + step < p; rank += 2 * step) {
            td_meet(s, k, rank, rank + step);
            td_meet(s, 2 * q - 1 - k, rank + step, rank);
        }
    }
}
