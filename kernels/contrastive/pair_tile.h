/* SPDX-License-Identifier: Apache-2.0
 * What the losses by block pairs share: tiles of up to 64 x 64 scores of two feature blocks, and
 * their gradients' way back into both. A pair is walked with the texts outermost, so that a chunk
 * of texts is transposed once; into every row of dx the texts still come in ascending order, and
 * into every row of dy the images.
 */
#ifndef TD_KERNELS_CONTRASTIVE_PAIR_TILE_H
#define TD_KERNELS_CONTRASTIVE_PAIR_TILE_H

#include "kernels/contrastive/score_product.h"

typedef struct td_pair_tile {
    int64_t rows, cols, dim;
    const float *x, *y;      /* (rows, dim), (cols, dim) */
    const float *transposed; /* of y: (dim, TD_LOSS_COLS) */
    float *scores;           /* (TD_LOSS_ROWS, TD_LOSS_COLS), defined up to td_loss_pad(cols) */
} td_pair_tile;

/* scores = x y^T */
static inline void td_pair_products(const td_pair_tile *at) {
    td_score_products(at->x, at->rows, at->transposed, at->cols, at->dim, at->scores, TD_LOSS_COLS);
}

/* dx += g y, dy += g^T x, where g is what has become of the scores; a tile's sum is added whole. */
static inline void td_pair_gradients(const td_pair_tile *at, float *dx, float *dy) {
    td_product product = {.m = at->rows,
                          .n = at->dim,
                          .k = at->cols,
                          .a = at->scores,
                          .a_row = TD_LOSS_COLS,
                          .a_col = 1,
                          .b = at->y,
                          .ldb = at->dim,
                          .c = dx,
                          .ldc = at->dim,
                          .add = true};
    td_product_run(&product);
    product.m = at->cols;
    product.k = at->rows;
    product.a_row = 1;
    product.a_col = TD_LOSS_COLS;
    product.b = at->x;
    product.c = dy;
    td_product_run(&product);
}

#endif
