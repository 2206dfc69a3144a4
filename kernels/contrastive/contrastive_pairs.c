/* SPDX-License-Identifier: Apache-2.0
 * The softmax loss of both directions by block pairs: one product of features serves rows and
 * columns. The first pass keeps a running maximum and sum for each, the second has them and needs
 * two exps a pair. A row's maximum is at least every score that either pass computes of it, by the
 * same chain, so no exp overflows, whatever the scale.
 */
#include "base/math.h"
#include "kernels/contrastive/pair_tile.h"
#include "kernels/contrastive/probabilities.h"
#include "kernels/kernel.h"

/* state: (2) maximum and sum of exp(score - maximum) so far. */
static void join(double *state, float top, float sum) {
    if ((double)top > state[0]) {
        state[1] *= td_exp(state[0] - (double)top);
        state[0] = (double)top;
    }
    state[1] += (double)sum;
}

static float larger(float a, double b) {
    return (double)a > b ? a : (float)b;
}

static void join_rows(const td_pair_tile *at, double *state) {
    for (int64_t r = 0; r < at->rows; r++) {
        const float *row = at->scores + r * TD_LOSS_COLS;
        td_v16 max = td_v16_set1(-INFINITY), sum = td_v16_zero();
        for (int64_t c = 0; c < at->cols; c += TD_LANES) {
            max = td_v16_max(max, td_seen_or(td_v16_load(row + c), at->cols - c, -INFINITY));
        }
        float top = larger(td_v16_reduce_max(max), state[2 * r]);
        td_v16 shift = td_v16_set1(top);
        for (int64_t c = 0; c < at->cols; c += TD_LANES) {
            td_v16 e = td_v16_exp(td_v16_sub(td_v16_load(row + c), shift));
            sum = td_v16_add(sum, td_seen_or(e, at->cols - c, 0));
        }
        join(state + 2 * r, top, td_v16_sum(sum));
    }
}

/* Lanes are columns; their sums are chains over rows. */
static void join_columns(const td_pair_tile *at, double *state) {
    for (int64_t c = 0; c < at->cols; c += TD_LANES) {
        int64_t lanes = at->cols - c < TD_LANES ? at->cols - c : TD_LANES;
        const float *column = at->scores + c;
        float top[TD_LANES] = {0}, sums[TD_LANES];
        td_v16 max = td_v16_set1(-INFINITY), sum = td_v16_zero();
        for (int64_t r = 0; r < at->rows; r++) {
            max = td_v16_max(max, td_v16_load(column + r * TD_LOSS_COLS));
        }
        td_v16_store(top, max);
        for (int64_t l = 0; l < lanes; l++) {
            top[l] = larger(top[l], state[2 * (c + l)]);
        }
        td_v16 shift = td_v16_load(top);
        for (int64_t r = 0; r < at->rows; r++) {
            td_v16 s = td_v16_load(column + r * TD_LOSS_COLS);
            sum = td_v16_add(sum, td_v16_exp(td_v16_sub(s, shift)));
        }
        td_v16_store(sums, sum);
        for (int64_t l = 0; l < lanes; l++) {
            join(state + 2 * (c + l), top[l], sums[l]);
        }
    }
}

static void scale_scores(const td_pair_tile *at, float scale) {
    td_v16 factor = td_v16_set1(scale);
    for (int64_t r = 0; r < at->rows; r++) {
        for (int64_t c = 0; c < at->cols; c += TD_LANES) {
            float *s = at->scores + r * TD_LOSS_COLS + c;
            td_v16_store(s, td_v16_mul(td_v16_load(s), factor));
        }
    }
}

/* Between a tile and the place (rows, ld) where scores are kept. */
static void keep(const td_pair_tile *at, float *to, int64_t ld) {
    for (int64_t r = 0; r < at->rows; r++) {
        memcpy(to + r * ld, at->scores + r * TD_LOSS_COLS, (size_t)at->cols * sizeof(float));
    }
}

static void fetch(const td_pair_tile *at, const float *from, int64_t ld) {
    for (int64_t r = 0; r < at->rows; r++) {
        float *row = at->scores + r * TD_LOSS_COLS;
        memcpy(row, from + r * ld, (size_t)at->cols * sizeof(float));
        for (int64_t c = at->cols; c < td_loss_pad(at->cols); c++) {
            row[c] = 0;
        }
    }
}

static int64_t up_to(int64_t left, int64_t most) {
    return left < most ? left : most;
}

void TD_FN(contrastive_pairs_lse_f32)(const td_contrastive_pairs_lse_f32_args *args, int64_t first,
                                      int64_t last, void *scratch) {
    int64_t dim = args->dim, rows = args->rows;
    float *scores = scratch, *transposed = scores + TD_LOSS_ROWS * TD_LOSS_COLS;
    for (int64_t q = first; q < last; q++) {
        for (int64_t j = 0; j < rows; j += TD_LOSS_COLS) {
            td_pair_tile at = {.cols = up_to(rows - j, TD_LOSS_COLS),
                               .dim = dim,
                               .y = args->y + (args->y_first[q] + j) * dim,
                               .transposed = transposed,
                               .scores = scores};
            td_product_transpose(transposed, TD_LOSS_COLS, at.y, dim, at.cols, dim);
            for (int64_t i = 0; i < rows; i += TD_LOSS_ROWS) {
                at.rows = up_to(rows - i, TD_LOSS_ROWS);
                at.x = args->x + (args->x_first[q] + i) * dim;
                td_pair_products(&at);
                scale_scores(&at, *args->scale);
                if (args->scores != NULL) {
                    keep(&at, args->scores[q] + i * args->ld_scores + j, args->ld_scores);
                }
                join_rows(&at, args->x_state[q] + 2 * i);
                join_columns(&at, args->y_state[q] + 2 * j);
            }
        }
    }
}

/* Maximum and 1 / (2 batch sum) of the columns of a tile. */
typedef struct columns {
    float top[TD_LOSS_COLS], weight[TD_LOSS_COLS];
} columns;

static void prepare_columns(columns *to, const double *state, int64_t cols, int64_t batch) {
    for (int64_t c = 0; c < TD_LOSS_COLS; c++) {
        to->top[c] = c < cols ? (float)state[2 * c] : 0;
        to->weight[c] = c < cols ? td_loss_weight(state[2 * c + 1], batch) : 0;
    }
}

/* One row of scores to gradients times scale, in place; own: the column of the positive, or
 * negative. Returns the sum of g * score without the label's share. */
TD_SIMD float gradient_row(float *row, int64_t cols, int64_t own, float top, float weight,
                           const columns *other, float scale, float label) {
    td_v16 factor = td_v16_set1(scale), shift = td_v16_set1(top), by = td_v16_set1(weight);
    td_v16 sum = td_v16_zero();
    for (int64_t c = 0; c < cols; c += TD_LANES) {
        td_m16 positive = td_i16_eq(td_i16_add(td_i16_iota(), td_i16_set1((int32_t)c)),
                                    td_i16_set1((int32_t)own));
        td_v16 s = td_v16_load(row + c);
        td_v16 g = td_loss_gradient(s, shift, by, other->top + c, other->weight + c);
        g = td_seen_or(g, cols - c, 0);
        sum = td_v16_add(sum, td_seen_or(td_v16_mul(g, s), cols - c, 0));
        g = td_v16_select(positive, td_v16_sub(g, td_v16_set1(label)), g);
        td_v16_store(row + c, td_v16_mul(g, factor));
    }
    return td_v16_sum(sum);
}

/* shift: the positive of row r of the tile is column r + shift. */
static void gradient_tile(const td_contrastive_pairs_grad_f32_args *args, const td_pair_tile *at,
                          const double *x_state, const double *y_state, int64_t shift,
                          double slot[2]) {
    columns other;
    double inverse = 1 / (double)args->batch;
    prepare_columns(&other, y_state, at->cols, args->batch);
    for (int64_t r = 0; r < at->rows; r++) {
        const double *mine = x_state + 2 * r;
        float *row = at->scores + r * TD_LOSS_COLS;
        int64_t own = r + shift >= 0 && r + shift < at->cols ? r + shift : -1;
        if (own >= 0) {
            const double *theirs = y_state + 2 * own;
            double score = (double)row[own];
            slot[0] +=
                0.5 * inverse *
                (mine[0] - score + td_log(mine[1]) + (theirs[0] - score) + td_log(theirs[1]));
            slot[1] -= inverse * score;
        }
        slot[1] += (double)gradient_row(row, at->cols, own, (float)mine[0],
                                        td_loss_weight(mine[1], args->batch), &other, *args->scale,
                                        (float)inverse);
    }
}

void TD_FN(contrastive_pairs_grad_f32)(const td_contrastive_pairs_grad_f32_args *args,
                                       int64_t first, int64_t last, void *scratch) {
    int64_t dim = args->dim, rows = args->rows;
    float *scores = scratch, *transposed = scores + TD_LOSS_ROWS * TD_LOSS_COLS;
    for (int64_t q = first; q < last; q++) {
        double *slot = args->slots + 2 * q;
        slot[0] = slot[1] = 0;
        for (int64_t j = 0; j < rows; j += TD_LOSS_COLS) {
            td_pair_tile at = {.cols = up_to(rows - j, TD_LOSS_COLS),
                               .dim = dim,
                               .y = args->y + (args->y_first[q] + j) * dim,
                               .transposed = transposed,
                               .scores = scores};
            if (args->scores == NULL) {
                td_product_transpose(transposed, TD_LOSS_COLS, at.y, dim, at.cols, dim);
            }
            for (int64_t i = 0; i < rows; i += TD_LOSS_ROWS) {
                at.rows = up_to(rows - i, TD_LOSS_ROWS);
                at.x = args->x + (args->x_first[q] + i) * dim;
                if (args->scores != NULL) {
                    fetch(&at, args->scores[q] + i * args->ld_scores + j, args->ld_scores);
                } else {
                    td_pair_products(&at);
                    scale_scores(&at, *args->scale);
                }
                gradient_tile(args, &at, args->x_state[q] + 2 * i, args->y_state[q] + 2 * j,
                              args->x_sample[q] + i - args->y_sample[q] - j, slot);
                td_pair_gradients(&at, args->dx[q] + i * dim, args->dy[q] + j * dim);
            }
        }
    }
}
