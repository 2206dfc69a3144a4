/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Block number i of rank r is on its way to rank r + i. In round k all blocks whose number has bit
 * k go 2^k ranks on: log2 p rounds, but each block travels once for every bit. A block changes
 * between the scratch vectors at every hop, because the next rank still reads the old place. */
void td_alltoall__bruck(td_moves *s) {
    int p = s->ranks, round = 0, n = s->segments;
    for (int rank = 0; rank < p; rank++) {
        for (int i = 0; i < p; i++) {
            td_copy(s, 0, rank, td_at(TD_BUFFER_T0, i * n), rank, td_at(s->in, (rank + i) % p * n),
                    n);
        }
    }
    td_buffer *at = s->at; /* of block number i, in every rank alike */
    for (int i = 0; i < p; i++) {
        at[i] = TD_BUFFER_T0;
    }
    for (int step = 1; step < p; step *= 2) {
        round++;
        for (int rank = 0; rank < p; rank++) { /* all blocks of a pair of ranks: one message */
            for (int i = step; i < p; i = (i + 1) | step) {
                td_copy(s, round, rank, td_at(td_other_scratch(at[i]), i * n),
                        (rank - step + p) % p, td_at(at[i], i * n), n);
            }
        }
        for (int i = step; i < p; i = (i + 1) | step) {
            at[i] = td_other_scratch(at[i]);
        }
    }
    for (int rank = 0; rank < p; rank++) {
        for (int i = 0; i < p; i++) {
            td_copy(s, round + 1, rank, td_at(TD_BUFFER_OUT, (rank - i + p) % p * n), rank,
                    td_at(at[i], i * n), n);
        }
    }
}
