/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

void td_scatter__linear(td_moves *s) {
    td_copy_blocks(s, 0, s->root, TD_BUFFER_OUT, s->root, s->in, s->root, 1);
    for (int v = 1; v < s->ranks; v++) {
        int rank = td_from_root(s, v);
        td_copy_blocks(s, v - 1, rank, TD_BUFFER_OUT, s->root, s->in, rank, 1);
    }
}
