/* SPDX-License-Identifier: Apache-2.0
 * ZeRO-1 (Rajbhandari et al., 2020): every rank updates a part of the flat buffer alone, and keeps
 * the optimizer's moments of that part only. Parts are whole tiles of the kernels that pass over
 * flat buffers, so a sum over such tiles has the same terms however many ranks there are.
 */
#ifndef TD_MODELS_SHARD_H
#define TD_MODELS_SHARD_H

#include <stdint.h>

#include "threads/layout.h"

/* Elements are counted from the first trained one. counts: what collectives over blocks of every
 * rank are told; not changed once made, as they are read when those run. */
typedef struct td_shard {
    bool sharded;
    int64_t first, n;              /* this rank's part; of all elements, unless sharded */
    int64_t most;                  /* elements of the largest part */
    int64_t tile;                  /* the first tile of this rank's part */
    int64_t sums[TD_MAX_RANKS];    /* elements of each part that are summed over ranks */
    int64_t weights[TD_MAX_RANKS]; /* elements of each part */
    int64_t tiles[TD_MAX_RANKS];
} td_shard;

/* Of n elements, of which the first `summed` are summed over ranks: in `ranks` parts if sharded.
 */
td_shard td_shard_make(bool sharded, int rank, int ranks, int64_t n, int64_t summed);

#endif
