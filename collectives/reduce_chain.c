/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Segments come up the chain of ranks, from the last to the root. */
void td_reduce__chain(td_moves *s) {
    int last = s->ranks - 1, segments = td_chunks(s);
    for (int v = last - 1; v >= 0; v--) {
        int rank = td_from_root(s, v), peer = td_from_root(s, v + 1);
        for (int segment = 0; segment < segments; segment++) {
            td_add(s, last - 1 - v + segment, rank, td_at(TD_BUFFER_PARTIAL, segment),
                   td_at(s->in, segment), peer,
                   td_at(v + 1 == last ? s->in : TD_BUFFER_PARTIAL, segment), 1);
        }
    }
    for (int segment = 0; segment < segments; segment++) {
        td_finish(s, last - 1 + segment, s->root, td_at(TD_BUFFER_OUT, segment), s->root,
                  td_at(TD_BUFFER_PARTIAL, segment), 1);
    }
}
