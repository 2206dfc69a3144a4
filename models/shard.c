/* SPDX-License-Identifier: Apache-2.0 */
#include "models/shard.h"

#include "kernels/tiles.h"

static int64_t at_most(int64_t a, int64_t b) {
    return a < b ? a : b;
}

td_shard td_shard_make(bool sharded, int rank, int ranks, int64_t n, int64_t summed) {
    int64_t tiles = td_tiles_of(n, TD_TILE_FLAT);
    td_shard s = {.sharded = sharded && ranks > 1};
    if (!s.sharded) {
        s.n = s.most = n;
        return s;
    }
    for (int i = 0; i < ranks; i++) {
        int64_t first = tiles * i / ranks, last = tiles * (i + 1) / ranks;
        int64_t from = first * TD_TILE_FLAT, to = at_most(last * TD_TILE_FLAT, n);
        s.tiles[i] = last - first;
        s.weights[i] = to - from;
        s.sums[i] = at_most(to, summed) - at_most(from, summed);
        s.most = s.weights[i] > s.most ? s.weights[i] : s.most;
        if (i == rank) {
            s.tile = first;
            s.first = from;
            s.n = s.weights[i];
        }
    }
    return s;
}
