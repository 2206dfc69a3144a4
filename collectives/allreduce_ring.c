/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

td_status td_allreduce__ring(td_comm *comm, td_worker *worker, void *buffer, int64_t count,
                             td_dtype dtype) {
    TD_TRY(td_reduce_scatter__ring(comm, worker, buffer, count, dtype));
    return td_allgather__ring(comm, worker, buffer, count, dtype);
}
