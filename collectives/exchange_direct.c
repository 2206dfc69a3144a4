/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

void td_exchange__direct(td_moves *s) {
    int p = s->ranks;
    td_buffer from = td_keep_input(s);
    for (int rank = 0; rank < p; rank++) {
        td_copy_blocks(s, 0, rank, TD_BUFFER_OUT, (rank + p - 1) % p, from, 0, 1);
        td_copy_blocks(s, 0, rank, TD_BUFFER_OUT, (rank + 1) % p, from, 1, 1);
    }
}
