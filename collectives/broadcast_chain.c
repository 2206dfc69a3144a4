/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Segments follow each other down the chain of ranks. */
void td_broadcast__chain(td_moves *s) {
    td_copy_blocks(s, 0, s->root, TD_BUFFER_OUT, s->root, s->in, 0, s->blocks);
    for (int v = 1; v < s->ranks; v++) {
        for (int segment = 0; segment < td_chunks(s); segment++) {
            td_copy(s, v - 1 + segment, td_from_root(s, v), td_at(TD_BUFFER_OUT, segment),
                    td_from_root(s, v - 1), td_at(v == 1 ? s->in : TD_BUFFER_OUT, segment), 1);
        }
    }
}
