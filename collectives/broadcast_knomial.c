/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

enum { RADIX = 4 };

/* As the binomial tree, but a rank that has the vector gives it to RADIX - 1 others before the next
 * level begins: fewer levels, more messages a level. The top level is that of the longest step. */
void td_broadcast__knomial(td_moves *s) {
    int p = s->ranks, top = 1, round = 0;
    while (top * RADIX < p) {
        top *= RADIX;
    }
    td_copy_blocks(s, 0, s->root, TD_BUFFER_OUT, s->root, s->in, 0, s->blocks);
    for (int step = top; step >= 1; step /= RADIX) {
        for (int child = 1; child < RADIX && child * step < p; child++, round++) {
            for (int v = 0; v + child * step < p; v += step * RADIX) {
                td_copy_blocks(s, round, td_from_root(s, v + child * step), TD_BUFFER_OUT,
                               td_from_root(s, v), v == 0 ? s->in : TD_BUFFER_OUT, 0, s->blocks);
            }
        }
    }
}
