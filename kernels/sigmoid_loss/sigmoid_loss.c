/* SPDX-License-Identifier: Apache-2.0
 * The sigmoid loss of block pairs: no normaliser, so a tile's loss and gradient are known as soon
 * as its scores are, and one pass over 64 x 64 tiles does everything.
 */
#include "kernels/contrastive/pair_tile.h"
#include "kernels/kernel.h"
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

/* Scores to gradients; shift: the positive of row r is column r + shift. */
static void tile_sums(const td_sigmoid_loss_f32_args *args, const td_pair_tile *at, int64_t shift,
                      double totals[3]) {
    sums total = {td_v16_zero(), td_v16_zero(), td_v16_zero()};
    for (int64_t r = 0; r < at->rows; r++) {
        int64_t own = r + shift >= 0 && r + shift < at->cols ? r + shift : -1;
        tile_row(at->scores + r * TD_LOSS_COLS, at->cols, own, *args->scale, *args->bias,
                 1.0f / (float)args->batch, &total);
    }
    totals[0] += (double)td_v16_sum(total.loss);
    totals[1] += (double)td_v16_sum(total.dscale);
    totals[2] += (double)td_v16_sum(total.dbias);
}

void TD_FN(sigmoid_loss_f32)(const td_sigmoid_loss_f32_args *args, int64_t first, int64_t last,
                             void *scratch) {
    int64_t dim = args->dim, n = args->rows;
    float *scores = scratch, *transposed = scores + TD_LOSS_ROWS * TD_LOSS_COLS;
    for (int64_t q = first; q < last; q++) {
        double totals[3] = {0, 0, 0};
        int64_t shift = args->x_sample[q] - args->y_sample[q];
        for (int64_t j = 0; j < n; j += TD_LOSS_COLS) {
            td_pair_tile at = {.cols = n - j < TD_LOSS_COLS ? n - j : TD_LOSS_COLS,
                               .dim = dim,
                               .y = args->y + (args->y_first[q] + j) * dim,
                               .transposed = transposed,
                               .scores = scores};
            td_product_transpose(transposed, TD_LOSS_COLS, at.y, dim, at.cols, dim);
            for (int64_t i = 0; i < n; i += TD_LOSS_ROWS) {
                at.rows = n - i < TD_LOSS_ROWS ? n - i : TD_LOSS_ROWS;
                at.x = args->x + (args->x_first[q] + i) * dim;
                td_pair_products(&at);
                tile_sums(args, &at, i + shift - j, totals);
                td_pair_gradients(&at, args->dx[q] + i * dim, args->dy[q] + j * dim);
            }
        }
        args->slots[q * 3] = (float)(totals[0] / (double)args->batch);
        args->slots[q * 3 + 1] = (float)totals[1];
        args->slots[q * 3 + 2] = (float)totals[2];
    }
}
