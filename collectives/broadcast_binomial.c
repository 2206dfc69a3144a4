/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* In round k the 2^k ranks that have the vector give it to as many others. */
void td_broadcast__binomial(td_moves *s) {
    td_copy_blocks(s, 0, s->root, TD_BUFFER_OUT, s->root, s->in, 0, s->blocks);
    for (int round = 0, step = 1; step < s->ranks; round++, step *= 2) {
        for (int v = 0; v < step && v + step < s->ranks; v++) {
            td_copy_blocks(s, round, td_from_root(s, v + step), TD_BUFFER_OUT, td_from_root(s, v),
                           v == 0 ? s->in : TD_BUFFER_OUT, 0, s->blocks);
        }
    }
}
