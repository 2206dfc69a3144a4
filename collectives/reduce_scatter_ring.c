/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"
#include "collectives/comm_state.h"
#include "collectives/elements.h"

/* At step s rank r adds to its chunk r - s - 2 what the rank before it has there: that rank's own
 * data at step 0, after that the partial sum of the ranks behind, finished one step earlier. The
 * last chunk it touches is its own. A partial sum is read once, by the next rank, and not written
 * again before all have left: no staging is needed. */
td_status td_reduce_scatter__ring(td_comm *comm, td_worker *worker, void *buffer, int64_t count,
                                  td_dtype dtype) {
    TD_TRY(td_comm_enter(comm, worker, "reduce_scatter/ring", buffer, count, dtype));
    int p = td_comm_size(comm), rank = td_comm_rank(comm);
    int64_t bytes = td_dtype_bytes(dtype);
    unsigned char *mine = buffer;
    const unsigned char *previous = td_comm_peer(comm, (rank + p - 1) % p, buffer);
    uint32_t start = td_comm_steps(comm, worker);
    for (int step = 0; step < p - 1; step++) {
        if (step > 0 && td_comm_await_previous(comm, worker, start + (uint32_t)step) != TD_OK) {
            break;
        }
        int chunk = (rank - step - 2 + 2 * p) % p;
        int64_t first = td_chunk_first(count, chunk, p);
        int64_t last = td_chunk_first(count, chunk + 1, p);
        td_comm_part(worker->id, worker->count, bytes, &first, &last);
        td_accumulate(mine + first * bytes, previous + first * bytes, last - first, dtype);
        td_comm_step_done(comm, worker);
    }
    return td_comm_leave(comm, worker);
}
