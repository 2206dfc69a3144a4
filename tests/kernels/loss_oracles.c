/* SPDX-License-Identifier: Apache-2.0
 * The losses' kernels in f64. A score S = scale <x, y> of f32 is off by `lost`; exp of a difference
 * then by a factor of 1 + lost + rounding of the difference + 3 u, which is what a gradient
 * inherits.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "kernel_oracles.h"

typedef struct score {
    double value, lost;
} score;

static score score_of(const float *x, const float *y, int64_t dim, double scale) {
    double sum = 0, size = 0;
    for (int64_t c = 0; c < dim; c++) {
        sum += (double)x[c] * (double)y[c];
        size += fabs((double)x[c] * (double)y[c]);
    }
    double lost = scale * oracle_gamma((double)dim + 2) * size;
    return (score){scale * sum, lost + TWIN_U * fabs(scale * sum)};
}

/* A gradient of a score, and what it has lost. */
typedef struct term {
    double value, lost;
} term;

/* exp(s - lse): the difference is rounded, and lse, where it is one of f64, comes in two parts. */
static term probability(score s, double lse) {
    double p = exp(s.value - lse);
    return (term){p, p * (s.lost + 2 * TWIN_U * (fabs(s.value - lse) + fabs(lse)) + 4 * TWIN_U)};
}

static term softmax_term(score s, double row, double column, bool own, double batch) {
    term a = probability(s, row), b = probability(s, column);
    double sum = a.value + b.value - (own ? 2 : 0);
    double size = a.value + b.value + (own ? 2 : 0);
    return (term){sum / (2 * batch), (a.lost + b.lost + 4 * TWIN_U * size) / (2 * batch)};
}

/* Running sums of products with a gradient: value, magnitude, and what the gradients had lost. */
typedef struct sums {
    double value, size, lost;
} sums;

static void add_term(sums *to, term g, double by, double by_lost) {
    to->value += g.value * by;
    to->size += fabs(g.value * by);
    to->lost += g.lost * fabs(by) + fabs(g.value) * by_lost;
}

static void near_sums(const char *what, int64_t i, double got, sums s, double terms) {
    twin_near(what, i, got, s.value, s.lost + oracle_gamma(terms) * (s.size + s.lost) + 1e-42);
}

/* The log-sum-exp that a row's maximum and sum stand for. */
static double kept_lse(const float *state) {
    return (double)state[0] + log((double)state[1]);
}

/* The maximum is one of the scores as they were rounded, and so are those that the sum takes from
 * it: no rounding at the size of the scores comes on top of theirs. */
void oracle_contrastive_lse(const void *before, const void *after) {
    const td_contrastive_lse_f32_args *a = before;
    const td_contrastive_lse_f32_args *done = after;
    for (int64_t i = 0; i < a->rows; i++) {
        double top = -INFINITY, lost = 0, sum = 0;
        for (int pass = 0; pass < 2; pass++) {
            for (int64_t j = 0; j < a->batch; j++) {
                score s = score_of(a->x + i * a->dim, a->y + j * a->dim, a->dim, (double)*a->scale);
                if (pass == 1) {
                    sum += exp(s.value - top);
                    continue;
                }
                top = fmax(top, s.value);
                lost = fmax(lost, s.lost);
            }
        }
        const float *state = done->state + 2 * i;
        twin_near("maximum", i, (double)state[0], top, lost + 1e-42);
        twin_near("lse", i, kept_lse(state), top + log(sum),
                  lost + ((double)a->batch / 16 + 14) * TWIN_U);
    }
}

void oracle_contrastive_grad(const void *before, const void *after) {
    const td_contrastive_grad_f32_args *a = before;
    const td_contrastive_grad_f32_args *done = after;
    double scale = (double)*a->scale, batch = (double)a->batch;
    sums *dx = td_alloc((size_t)a->dim * sizeof *dx);
    for (int64_t i = 0; i < a->rows; i++) {
        sums slope = {0, 0, 0};
        double row = kept_lse(a->row_state + 2 * i);
        memset(dx, 0, (size_t)a->dim * sizeof *dx);
        for (int64_t j = 0; j < a->batch; j++) {
            bool own = j == a->offset + i;
            score s = score_of(a->x + i * a->dim, a->y + j * a->dim, a->dim, scale);
            term g = softmax_term(s, row, kept_lse(a->col_state + 2 * j), own, batch);
            add_term(&slope, g, s.value, s.lost);
            for (int64_t c = 0; c < a->dim; c++) {
                add_term(&dx[c], g, scale * (double)a->y[j * a->dim + c], 0);
            }
            if (own) {
                twin_near("row_loss", i, (double)done->row_loss[i], (row - s.value) / (2 * batch),
                          (s.lost + 4 * TWIN_U * fabs(row - s.value)) / (2 * batch) + 1e-42);
            }
        }
        near_sums("row_dscale", i, (double)done->row_dscale[i], slope, batch + 8);
        for (int64_t c = 0; c < a->dim; c++) {
            near_sums("dx", i * a->dim + c, (double)done->dx[i * a->dim + c], dx[c], batch + 8);
        }
    }
    td_free(dx);
}

/* log of the sum that a state stands for. */
static double state_lse(const double *state) {
    return state[1] > 0 ? state[0] + log(state[1]) : -INFINITY;
}

/* Row (side 0) or column r of a pair: its state after, from the one before and all its scores. */
static void check_state(const td_contrastive_pairs_lse_f32_args *a,
                        const td_contrastive_pairs_lse_f32_args *done, int64_t q, int64_t r,
                        int side) {
    const double *old = (side == 0 ? a->x_state : a->y_state)[q] + 2 * r;
    const double *now = (side == 0 ? done->x_state : done->y_state)[q] + 2 * r;
    double before = state_lse(old), top = before, lost = 0, largest = 0, sum = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t o = 0; o < a->rows; o++) {
            int64_t i = side == 0 ? r : o, j = side == 0 ? o : r;
            score s = score_of(a->x + (a->x_first[q] + i) * a->dim,
                               a->y + (a->y_first[q] + j) * a->dim, a->dim, (double)*a->scale);
            top = pass == 0 ? fmax(top, s.value) : top;
            lost = fmax(lost, s.lost);
            largest = fmax(largest, fabs(s.value));
            sum += pass == 1 ? exp(s.value - top) : 0;
            if (pass == 0 && side == 0 && a->scores != NULL) {
                twin_near("scores", i * a->rows + j, (double)done->scores[q][i * a->ld_scores + j],
                          s.value, s.lost + 1e-42);
            }
        }
    }
    sum += isinf(before) ? 0 : exp(before - top);
    /* Sums of a tile in f32: chains of 64, exp of differences that were rounded. */
    double bound = lost + (64 + 16) * TWIN_U + 4 * TWIN_U * largest + 1e-12 * fabs(top);
    twin_near(side == 0 ? "x_state" : "y_state", q * a->rows + r, state_lse(now), top + log(sum),
              bound);
}

void oracle_pairs_lse(const void *before, const void *after) {
    const td_contrastive_pairs_lse_f32_args *a = before;
    for (int64_t i = 0; i < a->pairs * a->rows; i++) {
        check_state(a, after, i / a->rows, i % a->rows, 0);
        check_state(a, after, i / a->rows, i % a->rows, 1);
    }
}

/* A pair of blocks of either loss: gradients (rows, rows) of its scores are given by fn. */
typedef struct pair {
    int64_t rows, dim;
    const float *x, *y;     /* of this pair */
    const float *dx0, *dy0; /* what was there */
    const float *dx, *dy;
    double scale;
    const term *g;
} pair;

/* dx and dy got g y and g^T x, a chain each of tiles of 64. */
static void check_pair(const pair *p) {
    double chain = (double)p->rows + (double)(p->rows / 64) + 12;
    for (int64_t r = 0; r < p->rows * p->dim; r++) {
        int64_t i = r / p->dim, c = r % p->dim;
        sums dx = {(double)p->dx0[r], fabs((double)p->dx0[r]), 0};
        sums dy = {(double)p->dy0[r], fabs((double)p->dy0[r]), 0};
        for (int64_t o = 0; o < p->rows; o++) {
            add_term(&dx, p->g[i * p->rows + o], p->scale * (double)p->y[o * p->dim + c], 0);
            add_term(&dy, p->g[o * p->rows + i], p->scale * (double)p->x[o * p->dim + c], 0);
        }
        near_sums("dx", r, (double)p->dx[r], dx, chain);
        near_sums("dy", r, (double)p->dy[r], dy, chain);
    }
}

static void check_softmax_pair(const td_contrastive_pairs_grad_f32_args *a,
                               const td_contrastive_pairs_grad_f32_args *done, int64_t q, term *g) {
    const float *x = a->x + a->x_first[q] * a->dim, *y = a->y + a->y_first[q] * a->dim;
    double scale = (double)*a->scale, batch = (double)a->batch;
    sums loss = {0, 0, 0}, slope = {0, 0, 0};
    for (int64_t k = 0; k < a->rows * a->rows; k++) {
        int64_t i = k / a->rows, j = k % a->rows;
        bool own = a->x_sample[q] + i == a->y_sample[q] + j;
        score s = score_of(x + i * a->dim, y + j * a->dim, a->dim, scale);
        if (a->scores != NULL) {
            s = (score){(double)a->scores[q][i * a->ld_scores + j], 0};
        }
        double row = state_lse(a->x_state[q] + 2 * i), column = state_lse(a->y_state[q] + 2 * j);
        g[k] = softmax_term(s, row, column, own, batch);
        add_term(&slope, g[k], s.value, s.lost);
        if (own) {
            term one = {1 / (2 * batch), 0};
            add_term(&loss, one, row + column - 2 * s.value,
                     2 * s.lost + 4 * TWIN_U * (fabs(row) + fabs(column) + fabs(s.value)));
        }
    }
    near_sums("loss", q, done->slots[2 * q], loss, (double)a->rows + 8);
    near_sums("dscale", q, done->slots[2 * q + 1], slope, (double)a->rows + 80);
    check_pair(&(pair){.rows = a->rows,
                       .dim = a->dim,
                       .x = x,
                       .y = y,
                       .dx0 = a->dx[q],
                       .dy0 = a->dy[q],
                       .dx = done->dx[q],
                       .dy = done->dy[q],
                       .scale = scale,
                       .g = g});
}

void oracle_pairs_grad(const void *before, const void *after) {
    const td_contrastive_pairs_grad_f32_args *a = before;
    term *g = td_alloc((size_t)(a->rows * a->rows) * sizeof *g);
    for (int64_t q = 0; q < a->pairs; q++) {
        check_softmax_pair(a, after, q, g);
    }
    td_free(g);
}

/* Loss and gradient of one logit l with label +1 (own) or -1, divided by batch; softplus and
 * sigmoid change no faster than their argument. */
static term sigmoid_term(double l, double lost, bool own, double batch, term *loss) {
    double z = own ? -l : l, value = own ? -1 / (1 + exp(l)) : 1 / (1 + exp(-l));
    double softplus = fmax(z, 0) + log1p(exp(-fabs(z)));
    *loss = (term){softplus / batch, (fabs(value) * lost + 8 * TWIN_U * softplus) / batch};
    /* d sigmoid = sigmoid (1 - sigmoid) dl. */
    return (term){value / batch, (fabs(value) * lost + 8 * TWIN_U * fabs(value)) / batch};
}

static void check_sigmoid_pair(const td_sigmoid_loss_f32_args *a,
                               const td_sigmoid_loss_f32_args *done, int64_t q, term *g) {
    const float *x = a->x + a->x_first[q] * a->dim, *y = a->y + a->y_first[q] * a->dim;
    double scale = (double)*a->scale, bias = (double)*a->bias;
    sums loss = {0, 0, 0}, slope = {0, 0, 0}, shift = {0, 0, 0};
    for (int64_t k = 0; k < a->rows * a->rows; k++) {
        int64_t i = k / a->rows, j = k % a->rows;
        bool own = a->x_sample[q] + i == a->y_sample[q] + j;
        score s = score_of(x + i * a->dim, y + j * a->dim, a->dim, scale);
        double l = s.value + bias, lost = 1.01 * s.lost + 2 * TWIN_U * (fabs(l) + fabs(s.value));
        term of_loss;
        g[k] = sigmoid_term(l, lost, own, (double)a->batch, &of_loss);
        add_term(&loss, of_loss, 1, 0);
        add_term(&slope, g[k], s.value, s.lost);
        add_term(&shift, g[k], 1, 0);
    }
    double terms = (double)a->rows + 80;
    near_sums("loss", q, (double)done->slots[3 * q], loss, terms);
    near_sums("dscale", q, (double)done->slots[3 * q + 1], slope, terms);
    near_sums("dbias", q, (double)done->slots[3 * q + 2], shift, terms);
    check_pair(&(pair){.rows = a->rows,
                       .dim = a->dim,
                       .x = x,
                       .y = y,
                       .dx0 = a->dx[q],
                       .dy0 = a->dy[q],
                       .dx = done->dx[q],
                       .dy = done->dy[q],
                       .scale = scale,
                       .g = g});
}

void oracle_sigmoid_loss(const void *before, const void *after) {
    const td_sigmoid_loss_f32_args *a = before;
    term *g = td_alloc((size_t)(a->rows * a->rows) * sizeof *g);
    for (int64_t q = 0; q < a->pairs; q++) {
        check_sigmoid_pair(a, after, q, g);
    }
    td_free(g);
}

/* ---- stored products ---- */

static double row_lse(const float *products, int64_t n, double scale, double *largest) {
    double top = -INFINITY, sum = 0;
    *largest = 0;
    for (int64_t j = 0; j < n; j++) {
        top = fmax(top, scale * (double)products[j]);
        *largest = fmax(*largest, fabs(scale * (double)products[j]));
    }
    for (int64_t j = 0; j < n; j++) {
        sum += exp(scale * (double)products[j] - top);
    }
    return top + log(sum);
}

void oracle_scores_softmax(const void *before, const void *after) {
    const td_scores_softmax_f32_args *a = before;
    const td_scores_softmax_f32_args *done = after;
    double scale = (double)*a->scale, batch = (double)a->batch;
    for (int64_t i = 0; i < a->rows; i++) {
        const float *products = a->scores + i * a->ld_scores;
        double largest, lse = row_lse(products, a->batch, scale, &largest);
        double lost = (batch / 16 + 14) * TWIN_U + 8 * TWIN_U * largest;
        sums slope = {0, 0, 0};
        for (int64_t j = 0; j < a->batch; j++) {
            bool own = j == a->offset + i;
            double s = scale * (double)products[j], p = exp(s - lse);
            term g = {(p - own) / (2 * batch), (p * lost + 6 * TWIN_U * (p + own)) / (2 * batch)};
            add_term(&slope, g, s, 2 * TWIN_U * fabs(s));
            twin_near("scores", i * a->batch + j, (double)done->scores[i * a->ld_scores + j],
                      scale * g.value, scale * (g.lost + 2 * TWIN_U * fabs(g.value)) + 1e-42);
            if (own) {
                twin_near("row_loss", i, (double)done->row_loss[i], (lse - s) / (2 * batch),
                          (lost + 4 * TWIN_U * (fabs(lse) + fabs(s))) / (2 * batch));
            }
        }
        near_sums("row_dscale", i, (double)done->row_dscale[i], slope, batch / 16 + 10);
    }
}

void oracle_scores_sigmoid(const void *before, const void *after) {
    const td_scores_sigmoid_f32_args *a = before;
    const td_scores_sigmoid_f32_args *done = after;
    double scale = (double)*a->scale, bias = (double)*a->bias, batch = (double)a->batch;
    for (int64_t i = 0; i < a->rows; i++) {
        sums loss = {0, 0, 0}, slope = {0, 0, 0}, shift = {0, 0, 0};
        for (int64_t j = 0; j < a->batch; j++) {
            double s = scale * (double)a->scores[i * a->ld_scores + j], l = s + bias;
            term of_loss;
            term g = sigmoid_term(l, 2 * TWIN_U * (fabs(s) + fabs(l)), j == a->offset + i, batch,
                                  &of_loss);
            add_term(&loss, of_loss, 1, 0);
            add_term(&slope, g, s, 2 * TWIN_U * fabs(s));
            add_term(&shift, g, 1, 0);
            twin_near("scores", i * a->batch + j, (double)done->scores[i * a->ld_scores + j],
                      scale * g.value, scale * (g.lost + 2 * TWIN_U * fabs(g.value)) + 1e-42);
        }
        near_sums("row_loss", i, (double)done->row_loss[i], loss, batch / 16 + 10);
        near_sums("row_dscale", i, (double)done->row_dscale[i], slope, batch / 16 + 10);
        near_sums("row_dbias", i, (double)done->row_dbias[i], shift, batch / 16 + 10);
    }
}

/* ---- the gradients themselves, against central differences of the losses ---- */

enum { SIDE = 5, SCORES = SIDE * SIDE };

static double line_lse(const double *s, int64_t first, int64_t step) {
    double sum = 0;
    for (int64_t k = 0; k < SIDE; k++) {
        sum += exp(s[first + k * step]);
    }
    return log(sum);
}

static double softmax_loss(const double *s) {
    double loss = 0;
    for (int64_t i = 0; i < SIDE; i++) {
        loss += line_lse(s, i * SIDE, 1) + line_lse(s, i, SIDE) - 2 * s[i * SIDE + i];
    }
    return loss / (2 * SIDE);
}

static double sigmoid_loss(const double *s) {
    double loss = 0;
    for (int64_t k = 0; k < SCORES; k++) {
        term of_loss;
        sigmoid_term(s[k], 0, k % (SIDE + 1) == 0, SIDE, &of_loss);
        loss += of_loss.value;
    }
    return loss;
}

static double slope_at(double (*loss)(const double *), double *s, int64_t k) {
    const double h = 1e-5, kept = s[k];
    s[k] = kept + h;
    double above = loss(s);
    s[k] = kept - h;
    double below = loss(s);
    s[k] = kept;
    return (above - below) / (2 * h);
}

Test(loss_oracles, gradients_agree_with_central_differences) {
    float *random = twin_floats(SCORES, 31, 4);
    double s[SCORES];
    for (int64_t k = 0; k < SCORES; k++) {
        s[k] = (double)random[k];
    }
    twin_named("oracle");
    for (int64_t k = 0; k < SCORES; k++) {
        bool own = k % (SIDE + 1) == 0;
        term of_loss;
        double row = line_lse(s, k / SIDE * SIDE, 1), column = line_lse(s, k % SIDE, SIDE);
        term softmax = softmax_term((score){s[k], 0}, row, column, own, SIDE);
        term sigmoid = sigmoid_term(s[k], 0, own, SIDE, &of_loss);
        twin_near("softmax", k, softmax.value, slope_at(softmax_loss, s, k), 1e-7);
        twin_near("sigmoid", k, sigmoid.value, slope_at(sigmoid_loss, s, k), 1e-7);
    }
    td_free(random);
}
