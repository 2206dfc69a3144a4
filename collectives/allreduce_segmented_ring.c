/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* The ring with every block in segments: the next rank adds a segment while this one is at the
 * next, so that adding and waiting overlap. */
void td_allreduce__segmented_ring(td_moves *s) {
    int p = s->ranks, k = s->segments;
    for (int rank = 0; rank < p; rank++) {
        int previous = (rank + p - 1) % p;
        for (int step = 0; step < p - 1; step++) {
            int block = (rank - step - 2 + 2 * p) % p;
            td_buffer from = step == 0 ? s->in : TD_BUFFER_PARTIAL;
            for (int chunk = block * k; chunk < (block + 1) * k; chunk++) {
                td_add(s, step * k + chunk % k, rank, td_at(TD_BUFFER_PARTIAL, chunk),
                       td_at(s->in, chunk), previous, td_at(from, chunk), 1);
            }
        }
        td_finish_blocks(s, (p - 1) * k, rank, TD_BUFFER_OUT, rank, TD_BUFFER_PARTIAL, rank, 1);
    }
    td_then(s);
    for (int rank = 0; rank < p; rank++) {
        for (int step = 0; step < p - 1; step++) {
            int block = (rank - step - 1 + p) % p;
            for (int chunk = block * k; chunk < (block + 1) * k; chunk++) {
                td_copy(s, step * k + chunk % k, rank, td_at(TD_BUFFER_OUT, chunk),
                        (rank + p - 1) % p, td_at(TD_BUFFER_OUT, chunk), 1);
            }
        }
    }
}
