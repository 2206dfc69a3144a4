/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

void td_shift__direct(td_moves *s) {
    td_buffer from = td_keep_input(s);
    for (int rank = 0; rank < s->ranks; rank++) {
        td_copy_blocks(s, 0, rank, TD_BUFFER_OUT, (rank + s->ranks - 1) % s->ranks, from, 0,
                       s->blocks);
    }
}
