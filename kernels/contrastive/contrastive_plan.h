/* SPDX-License-Identifier: Apache-2.0
 * Tiles and scratch of the contrastive losses.
 */
#ifndef TD_KERNELS_CONTRASTIVE_PLAN_H
#define TD_KERNELS_CONTRASTIVE_PLAN_H

#include <stdint.h>

/* Rows of a tile, and columns whose features are transposed at once: 64 x 512 floats are 128 KiB.
 */
enum { TD_LOSS_ROWS = 64, TD_LOSS_COLS = 64 };

static inline int64_t td_loss_pad(int64_t n) {
    return (n + 15) / 16 * 16;
}

#endif
