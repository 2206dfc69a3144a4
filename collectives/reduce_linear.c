/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

void td_reduce__linear(td_moves *s) {
    int root = s->root;
    for (int v = 1; v < s->ranks; v++) {
        td_add_blocks(s, v - 1, root, TD_BUFFER_PARTIAL, v == 1 ? s->in : TD_BUFFER_PARTIAL,
                      td_from_root(s, v), s->in, 0, s->blocks);
    }
    td_finish_blocks(s, s->ranks - 1, root, TD_BUFFER_OUT, root, TD_BUFFER_PARTIAL, 0, s->blocks);
}
