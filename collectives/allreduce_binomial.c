/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

void td_allreduce__binomial(td_moves *s) {
    td_reduce__binomial(s);
    td_then(s);
    td_broadcast__binomial(s);
}
