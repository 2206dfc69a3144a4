/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* The ring with every block in segments: the next rank adds a segment while this one is at the
 * next, so that adding and waiting overlap. */
void td_allreduce__segmented_ring(td_moves *s) {
    int p = s->ranks, k = s->segments;
    for (int step = 0; step < p - 1; step++) {
        td_buffer from = step == 0 ? s->in : TD_BUFFER_PARTIAL;
        for (int segment = 0; segment < k; segment++) {
            for (int rank = 0; rank < p; rank++) {
                int chunk = (rank - step - 2 + 2 * p) % p * k + segment;
                td_add(s, step * k + segment, rank, td_at(TD_BUFFER_PARTIAL, chunk),
                       td_at(s->in, chunk), (rank + p - 1) % p, td_at(from, chunk), 1);
            }
        }
    }
    for (int rank = 0; rank < p; rank++) {
        td_finish_blocks(s, (p - 1) * k, rank, TD_BUFFER_OUT, rank, TD_BUFFER_PARTIAL, rank, 1);
    }
    td_then(s);
    for (int step = 0; step < p - 1; step++) {
        for (int segment = 0; segment < k; segment++) {
            for (int rank = 0; rank < p; rank++) {
                int chunk = (rank - step - 1 + p) % p * k + segment;
                td_copy(s, step * k + segment, rank, td_at(TD_BUFFER_OUT, chunk),
                        (rank + p - 1) % p, td_at(TD_BUFFER_OUT, chunk), 1);
            }
        }
    }
}
