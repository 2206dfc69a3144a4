/* SPDX-License-Identifier: Apache-2.0
 * The sigmoid loss of block pairs: no normaliser, so a tile's loss and gradient are known as soon
 * as its scores are, and one pass over 64 x 64 tiles does everything.
 */
#include "kernels/contrastive/contrastive_plan.h"
#include "kernels/kernel.h"
#include "kernels/product.h"
#include "kernels/vmath.h"

typedef struct sums {
    td_v16 loss, dscale, dbias;
} sums;

/* One row of a tile: raw products to gradients times scale, in place, zero from `cols` on. own: the
 * column of the positive pair, or negative. */
TD_SIMD void tile_row(float *row, int64_t cols, int64_t own, float scale, float bias, float inverse,
                      sums *total) {
    td_v16 factor = td_v16_set1(scale), shift = td_v16_set1(bias), by = td_v16_set1(inverse);
    for (int64_t c = 0; c < td_loss_pad(cols); c += TD_LANES) {
        td_m16 seen = td_m16_first(cols - c < TD_LANES ? cols - c : TD_LANES);
        td_m16 positive = td_i16_eq(td_i16_add(td_i16_iota(), td_i16_set1((int32_t)c)),
                                    td_i16_set1((int32_t)own));
        td_v16 s = td_v16_mul(td_v16_load(row + c), factor), logit = td_v16_add(s, shift);
        /* z = -label * logit: the loss is softplus(z), its slope -label * sigmoid(z). sigmoid(l) -
         * 1 as -sigmoid(-l) loses nothing where the pair is well fitted. */
        td_v16 z = td_v16_select(positive, td_v16_neg(logit), logit);
        td_v16 e = td_v16_exp_minus_abs(z), slope = td_v16_sigmoid_of(z, e);
        td_v16 loss = td_v16_softplus_of(z, e);
        td_v16 g = td_v16_select(positive, td_v16_neg(slope), slope);
        g = td_v16_select(seen, td_v16_mul(g, by), td_v16_zero());
        total->loss = td_v16_add(total->loss, td_v16_select(seen, loss, td_v16_zero()));
        total->dscale =
            td_v16_add(total->dscale, td_v16_select(seen, td_v16_mul(g, s), td_v16_zero()));
        total->dbias = td_v16_add(total->dbias, g);
        td_v16_store(row + c, td_v16_mul(g, factor));
    }
}

typedef struct pair {
    const float *x, *y;
    float *dx, *dy;
    int64_t shift; /* the positive of row i is column i + shift */
} pair;

static void pair_tile(const td_sigmoid_loss_f32_args *args, const pair *at, int64_t i, int64_t j,
                      float *tile, float *transposed, double totals[3]) {
    int64_t dim = args->dim, left = args->rows - j;
    int64_t rows = args->rows - i < TD_LOSS_ROWS ? args->rows - i : TD_LOSS_ROWS;
    int64_t cols = left < TD_LOSS_COLS ? left : TD_LOSS_COLS;
    const float *x = at->x + i * dim, *y = at->y + j * dim;
    td_product_transpose(transposed, TD_LOSS_COLS, y, dim, cols, dim);
    td_product_run(&(td_product){.m = rows,
                                 .n = td_loss_pad(cols),
                                 .k = dim,
                                 .a = x,
                                 .a_row = dim,
                                 .a_col = 1,
                                 .b = transposed,
                                 .ldb = TD_LOSS_COLS,
                                 .c = tile,
                                 .ldc = TD_LOSS_COLS});
    sums total = {td_v16_zero(), td_v16_zero(), td_v16_zero()};
    for (int64_t r = 0; r < rows; r++) {
        int64_t own = i + r + at->shift - j;
        tile_row(tile + r * TD_LOSS_COLS, cols, own >= 0 && own < cols ? own : -1, *args->scale,
                 *args->bias, 1.0f / (float)args->batch, &total);
    }
    totals[0] += (double)td_v16_sum(total.loss);
    totals[1] += (double)td_v16_sum(total.dscale);
    totals[2] += (double)td_v16_sum(total.dbias);
    td_product product = {.m = rows,
                          .n = dim,
                          .k = cols,
                          .a = tile,
                          .a_row = TD_LOSS_COLS,
                          .a_col = 1,
                          .b = y,
                          .ldb = dim,
                          .c = at->dx + i * dim,
                          .ldc = dim,
                          .accumulate = true};
    td_product_run(&product);
    product.m = cols;
    product.k = rows;
    product.a_row = 1;
    product.a_col = TD_LOSS_COLS;
    product.b = x;
    product.c = at->dy + j * dim;
    td_product_run(&product);
}

void TD_FN(sigmoid_loss_f32)(const td_sigmoid_loss_f32_args *args, int64_t first, int64_t last,
                             void *scratch) {
    float *tile = scratch, *transposed = tile + TD_LOSS_ROWS * TD_LOSS_COLS;
    for (int64_t q = first; q < last; q++) {
        pair at = {.x = args->x + args->x_first[q] * args->dim,
                   .y = args->y + args->y_first[q] * args->dim,
                   .dx = args->dx[q],
                   .dy = args->dy[q],
                   .shift = args->x_sample[q] - args->y_sample[q]};
        double totals[3] = {0, 0, 0};
        for (int64_t i = 0; i < args->rows; i += TD_LOSS_ROWS) {
            for (int64_t j = 0; j < args->rows; j += TD_LOSS_COLS) {
                pair_tile(args, &at, i, j, tile, transposed, totals);
            }
        }
        args->slots[q * 3] = (float)(totals[0] / (double)args->batch);
        args->slots[q * 3 + 1] = (float)totals[1];
        args->slots[q * 3 + 2] = (float)totals[2];
    }
}
