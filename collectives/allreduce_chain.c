/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* A segment starts down the chain as soon as it has come up: the rounds of the two phases overlap.
 */
void td_allreduce__chain(td_moves *s) {
    int p = s->ranks;
    td_reduce__chain(s);
    td_then(s);
    s->base = p - 1;
    td_broadcast__chain(s);
}
