/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

void td_broadcast__linear(td_moves *s) {
    td_copy_blocks(s, 0, s->root, TD_BUFFER_OUT, s->root, s->in, 0, s->blocks);
    for (int v = 1; v < s->ranks; v++) {
        td_copy_blocks(s, v - 1, td_from_root(s, v), TD_BUFFER_OUT, s->root, s->in, 0, s->blocks);
    }
}
