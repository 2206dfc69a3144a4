/* SPDX-License-Identifier: Apache-2.0
 * Tile sizes of the row, column and flat kernels. They are part of the contract: who owns a tile
 * may differ from run to run, what a tile is may not. 64 rows of 768 floats are 192 KiB, enough
 * work to hide a claim of some 100 ns; 64 columns are four cache lines, so no two tiles write the
 * same line of an aligned matrix.
 */
#ifndef TD_KERNELS_TILES_H
#define TD_KERNELS_TILES_H

#include <stddef.h>
#include <stdint.h>

enum {
    TD_TILE_ROWS = 64,
    TD_TILE_COLS = 64,
    TD_TILE_IDS = 16,
    TD_TILE_FLAT = 16384,
    TD_TILE_CONVERT = 65536
};

static inline int64_t td_tiles_of(int64_t n, int64_t tile) {
    return (n + tile - 1) / tile;
}

/* Where block b of rows starts; b may be `blocks`: its end. */
static inline int64_t td_block_start(const int64_t *starts, int64_t rows, int64_t blocks,
                                     int64_t b) {
    return starts != NULL ? starts[b] : rows / blocks * b;
}

/* The end of a range of tiles in elements: the last tile may be short. */
static inline int64_t td_tile_end(int64_t n, int64_t tile, int64_t last) {
    return last * tile < n ? last * tile : n;
}

#endif
