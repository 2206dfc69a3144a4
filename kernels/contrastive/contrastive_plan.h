/* SPDX-License-Identifier: Apache-2.0
 * Tiles and scratch of the contrastive losses.
 */
#ifndef TD_KERNELS_CONTRASTIVE_PLAN_H
#define TD_KERNELS_CONTRASTIVE_PLAN_H

#include <stdint.h>

/* Rows of a tile, and columns whose features are transposed at once: 64 x 512 floats are 128 KiB.
 */
enum { TD_LOSS_ROWS = 64, TD_LOSS_COLS = 64 };

/* Terms of a gradient in one chain of FMAs. A chain over 65,536 samples is in error by 1e-4 of the
 * result where their features repeat; sums of 256 by 2e-6, at the same speed. */
enum { TD_LOSS_CHAIN = 256 };

/* Features of a score in one chain of FMAs. Features point the same way in an untrained model, so
 * partial sums grow to one and every further term is rounded at that size; a scale multiplies it.
 * With chains of 512, losses of the sigmoid loss were 1.6e-6 from those of f64 arithmetic. */
enum { TD_SCORE_CHAIN = 64 };

static inline int64_t td_loss_pad(int64_t n) {
    return (n + 15) / 16 * 16;
}

#endif
