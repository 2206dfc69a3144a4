/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

void td_scan__linear(td_moves *s) {
    td_copy_blocks(s, 0, 0, TD_BUFFER_OUT, 0, s->in, 0, s->blocks);
    for (int rank = 1; rank < s->ranks; rank++) {
        td_add_blocks(s, rank - 1, rank, TD_BUFFER_T0, s->in, rank - 1, s->at[rank - 1], 0,
                      s->blocks);
        s->at[rank] = TD_BUFFER_T0;
        td_finish_blocks(s, rank, rank, TD_BUFFER_OUT, rank, TD_BUFFER_T0, 0, s->blocks);
    }
}
