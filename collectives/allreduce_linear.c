/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

void td_allreduce__linear(td_moves *s) {
    td_reduce__linear(s);
    td_then(s);
    td_broadcast__linear(s);
}
