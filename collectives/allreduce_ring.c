/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

void td_allreduce__ring(td_moves *s) {
    td_reduce_scatter__ring(s);
    td_then(s);
    td_allgather__ring(s);
}
