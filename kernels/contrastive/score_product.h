/* SPDX-License-Identifier: Apache-2.0
 * Scores of features, as every way of a contrastive loss by tiles computes them.
 */
#ifndef TD_KERNELS_CONTRASTIVE_SCORE_PRODUCT_H
#define TD_KERNELS_CONTRASTIVE_SCORE_PRODUCT_H

#include "kernels/contrastive/contrastive_plan.h"
#include "kernels/product.h"

/* to (rows, ld) = x (rows, dim) times transposed (dim, TD_LOSS_COLS), up to td_loss_pad(cols): sums
 * of chains of TD_SCORE_CHAIN features in ascending order. */
static inline void td_score_products(const float *x, int64_t rows, const float *transposed,
                                     int64_t cols, int64_t dim, float *to, int64_t ld) {
    for (int64_t k = 0; k < dim; k += TD_SCORE_CHAIN) {
        td_product_run(&(td_product){.m = rows,
                                     .n = td_loss_pad(cols),
                                     .k = dim - k < TD_SCORE_CHAIN ? dim - k : TD_SCORE_CHAIN,
                                     .a = x + k,
                                     .a_row = dim,
                                     .a_col = 1,
                                     .b = transposed + k * TD_LOSS_COLS,
                                     .ldb = TD_LOSS_COLS,
                                     .c = to,
                                     .ldc = ld,
                                     .add = k > 0});
    }
}

#endif
