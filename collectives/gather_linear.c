/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

void td_gather__linear(td_moves *s) {
    int root = s->root;
    td_copy_blocks(s, 0, root, TD_BUFFER_OUT, root, s->in, root, 1);
    for (int v = 1; v < s->ranks; v++) {
        int peer = td_from_root(s, v);
        td_copy_blocks(s, v - 1, root, TD_BUFFER_OUT, peer, s->in, peer, 1);
    }
}
