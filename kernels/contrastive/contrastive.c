/* SPDX-License-Identifier: Apache-2.0
 * The softmax loss by tiles of 64 own rows against the whole batch. Both passes compute the same
 * scores with the same chain, so each direction sees exactly the other's numbers.
 */
#include "base/math.h"
#include "kernels/contrastive/probabilities.h"
#include "kernels/contrastive/score_product.h"
#include "kernels/kernel.h"

/* strip (rows, ld) = scale * x y^T, transposing y in chunks of TD_LOSS_COLS rows. */
static void scores(const float *x, const float *y, int64_t rows, int64_t batch, int64_t dim,
                   float scale, float *strip, int64_t ld, float *transposed) {
    td_v16 factor = td_v16_set1(scale);
    for (int64_t j = 0; j < batch; j += TD_LOSS_COLS) {
        int64_t cols = batch - j < TD_LOSS_COLS ? batch - j : TD_LOSS_COLS;
        td_product_transpose(transposed, TD_LOSS_COLS, y + j * dim, dim, cols, dim);
        td_score_products(x, rows, transposed, cols, dim, strip + j, ld);
    }
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < ld; c += TD_LANES) {
            float *at = strip + r * ld + c;
            td_v16_store(at, td_v16_mul(td_v16_load(at), factor));
        }
    }
}

/* state: (2) the row's maximum, and its sum of exp(score - maximum). */
TD_SIMD void row_state(const float *row, int64_t n, float *state) {
    td_v16 max = td_v16_set1(-INFINITY), sum = td_v16_zero();
    for (int64_t c = 0; c < n; c += TD_LANES) {
        max = td_v16_max(max, td_seen_or(td_v16_load(row + c), n - c, -INFINITY));
    }
    state[0] = td_v16_reduce_max(max);
    for (int64_t c = 0; c < n; c += TD_LANES) {
        td_v16 e = td_v16_exp(td_v16_sub(td_v16_load(row + c), td_v16_set1(state[0])));
        sum = td_v16_add(sum, td_seen_or(e, n - c, 0));
    }
    state[1] = td_v16_sum(sum);
}

void TD_FN(contrastive_lse_f32)(const td_contrastive_lse_f32_args *args, int64_t first,
                                int64_t last, void *scratch) {
    int64_t ld = td_loss_pad(args->batch);
    float *strip = scratch, *transposed = strip + TD_LOSS_ROWS * ld;
    for (int64_t tile = first; tile < last; tile++) {
        int64_t i = tile * TD_LOSS_ROWS;
        int64_t rows = args->rows - i < TD_LOSS_ROWS ? args->rows - i : TD_LOSS_ROWS;
        scores(args->x + i * args->dim, args->y, rows, args->batch, args->dim, *args->scale, strip,
               ld, transposed);
        for (int64_t r = 0; r < rows; r++) {
            row_state(strip + r * ld, args->batch, args->state + 2 * (i + r));
        }
    }
}

/* Maximum and 1 / (2 batch sum) of every column, each up to a whole vector. */
typedef struct columns {
    const float *top, *weight;
} columns;

static columns prepare_columns(float *memory, const float *state, int64_t batch) {
    const int64_t ld = td_loss_pad(batch);
    for (int64_t c = 0; c < ld; c++) {
        memory[c] = c < batch ? state[2 * c] : 0;
        memory[ld + c] = c < batch ? td_loss_weight((double)state[2 * c + 1], batch) : 0;
    }
    return (columns){memory, memory + ld};
}

/* One row of scores to one row of gradients, in place, except the own column's label; returns the
 * row's sum of G S with the label's share left out too. */
TD_SIMD float row_gradient(float *row, const columns *other, float top, float weight, int64_t n) {
    td_v16 sum = td_v16_zero(), shift = td_v16_set1(top), by = td_v16_set1(weight);
    for (int64_t c = 0; c < n; c += TD_LANES) {
        td_v16 s = td_v16_load(row + c);
        td_v16 g = td_loss_gradient(s, shift, by, other->top + c, other->weight + c);
        g = td_seen_or(g, n - c, 0);
        sum = td_v16_add(sum, td_seen_or(td_v16_mul(g, s), n - c, 0));
        td_v16_store(row + c, g);
    }
    return td_v16_sum(sum);
}

void TD_FN(contrastive_grad_f32)(const td_contrastive_grad_f32_args *args, int64_t first,
                                 int64_t last, void *scratch) {
    int64_t ld = td_loss_pad(args->batch), dim = args->dim;
    float *strip = scratch, *transposed = strip + TD_LOSS_ROWS * ld;
    float scale = *args->scale, inverse = 1.0f / (float)(2 * args->batch);
    td_v16 factor = td_v16_set1(scale);
    if (first >= last) {
        return;
    }
    const columns other =
        prepare_columns(transposed + TD_LOSS_COLS * dim, args->col_state, args->batch);
    for (int64_t tile = first; tile < last; tile++) {
        int64_t i = tile * TD_LOSS_ROWS;
        int64_t rows = args->rows - i < TD_LOSS_ROWS ? args->rows - i : TD_LOSS_ROWS;
        scores(args->x + i * dim, args->y, rows, args->batch, dim, scale, strip, ld, transposed);
        for (int64_t r = 0; r < rows; r++) {
            float *row = strip + r * ld, *label = row + args->offset + i + r, own_score = *label;
            const float *state = args->row_state + 2 * (i + r);
            float sum = row_gradient(row, &other, state[0],
                                     td_loss_weight((double)state[1], args->batch), args->batch);
            double own_lse = (double)(state[0] - own_score) + td_log((double)state[1]);
            args->row_loss[i + r] = (float)own_lse * inverse;
            /* The label's -2 / (2 batch) joins last: exact where the batch is a power of two. */
            args->row_dscale[i + r] = fmaf(-2.0f * inverse, own_score, sum);
            *label -= 2.0f * inverse;
        }
        for (int64_t j = 0; j < args->batch; j += TD_LOSS_CHAIN) {
            int64_t left = args->batch - j;
            td_product_run(&(td_product){.m = rows,
                                         .n = dim,
                                         .k = left < TD_LOSS_CHAIN ? left : TD_LOSS_CHAIN,
                                         .a = strip + j,
                                         .a_row = ld,
                                         .a_col = 1,
                                         .b = args->y + j * dim,
                                         .ldb = dim,
                                         .c = args->dx + i * dim,
                                         .ldc = dim,
                                         .add = j > 0});
        }
        for (int64_t c = 0; c < rows * dim; c += TD_LANES) {
            int64_t left = rows * dim - c;
            float *at = args->dx + i * dim + c;
            if (left >= TD_LANES) {
                td_v16_store(at, td_v16_mul(td_v16_load(at), factor));
            } else {
                td_v16_store_part(at, td_v16_mul(td_v16_load_part(at, left, 0), factor), left);
            }
        }
    }
}
