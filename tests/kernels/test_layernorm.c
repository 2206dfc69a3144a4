/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>

#include "base/memory.h"
#include "kernel_oracles.h"

/* Moments in f64, and how far f32's may be from them. lanes: additions in one lane's chain and the
 * tree. */
typedef struct moments {
    double mean, rstd, mean_bound, rstd_bound; /* rstd_bound is relative */
} moments;

static moments moments_of(const float *x, int64_t n, double eps) {
    double sum = 0, size = 0, squares = 0, spread = 0, count = (double)n;
    double lanes = count / 16 + 6;
    for (int64_t c = 0; c < n; c++) {
        sum += (double)x[c];
        size += fabs((double)x[c]);
    }
    moments m = {.mean = sum / count};
    for (int64_t c = 0; c < n; c++) {
        double d = (double)x[c] - m.mean;
        squares += d * d;
        spread += fabs(d);
    }
    double variance = squares / count;
    m.rstd = 1 / sqrt(variance + eps);
    /* The first mean is off by `first`, which the correction removes up to its own rounding. */
    double first = lanes * TWIN_U * size / count;
    m.mean_bound = 2 * TWIN_U * fabs(m.mean) + (lanes + 2) * TWIN_U * (spread / count + first);
    m.rstd_bound =
        (lanes + 4) * TWIN_U * (variance + first * first) / (variance + eps) + 3 * TWIN_U;
    return m;
}

static void check_row(const td_layernorm_f32_args *before, const td_layernorm_f32_args *after,
                      int64_t r) {
    const float *x = before->x + r * before->ldx, *y = after->y + r * after->ldy;
    moments m = moments_of(x, before->cols, (double)before->eps);
    if (after->mean != NULL) {
        twin_near("mean", r, (double)after->mean[r], m.mean, m.mean_bound);
        twin_near("rstd", r, (double)after->rstd[r], m.rstd, m.rstd_bound * m.rstd);
    }
    for (int64_t c = 0; c < before->cols; c++) {
        double gamma = (double)before->gamma[c], beta = (double)before->beta[c];
        double xhat = ((double)x[c] - m.mean) * m.rstd, want = xhat * gamma + beta;
        double bound = fabs(gamma) * (m.rstd * m.mean_bound * (1 + m.rstd_bound) +
                                      fabs(xhat) * (m.rstd_bound + 4 * TWIN_U)) +
                       TWIN_U * fabs(want);
        twin_near("y", r * before->cols + c, (double)y[c], want, bound * 1.01);
    }
}

void oracle_layernorm(const void *before, const void *after) {
    for (int64_t r = 0; r < ((const td_layernorm_f32_args *)before)->rows; r++) {
        check_row(before, after, r);
    }
}

Test(layernorm, twin) {
    twin_each_case(TD_OP_layernorm_f32, oracle_layernorm);
}

enum { ROWS = 6, COLS = 203 };

/* Rows of a kind each; arguments for a call on them. Released by release. */
static td_layernorm_f32_args odd_rows(void) {
    float *x = twin_floats(ROWS * COLS, 1, 1);
    for (int64_t c = 0; c < COLS; c++) {
        x[c] += 10000.0f;                       /* a mean of 10,000 times the deviation */
        x[COLS + c] = 10000.3f;                 /* no deviation at all */
        x[2 * COLS + c] *= 0x1p-130f;           /* denormals */
        x[3 * COLS + c] = c % 2 ? 1e4f : -1e4f; /* cancels */
        x[4 * COLS + c] *= 1e18f;               /* squares near the end of the range */
        x[5 * COLS + c] = 0.0f;
    }
    return (td_layernorm_f32_args){.rows = ROWS,
                                   .cols = COLS,
                                   .x = x,
                                   .ldx = COLS,
                                   .ldy = COLS,
                                   .eps = 1e-5f,
                                   .y = twin_floats(ROWS * COLS, 2, 1),
                                   .gamma = twin_floats(COLS, 3, 1),
                                   .beta = twin_floats(COLS, 4, 1),
                                   .mean = twin_floats(ROWS, 5, 1),
                                   .rstd = twin_floats(ROWS, 6, 1)};
}

static void release(td_layernorm_f32_args *args) {
    td_free((void *)args->x);
    td_free((void *)args->gamma);
    td_free((void *)args->beta);
    td_free(args->y);
    td_free(args->mean);
    td_free(args->rstd);
}

Test(layernorm, odd_rows_keep_the_bound) {
    td_layernorm_f32_args args = odd_rows();
    twin_each_row(TD_OP_layernorm_f32, &args, oracle_layernorm);
    release(&args);
}

static void check_constant(const void *before, const void *after) {
    (void)before;
    const td_layernorm_f32_args *args = after;
    twin_same("mean", 1, args->mean[1], 10000.3f);
    for (int64_t c = 0; c < COLS; c++) {
        twin_same("y", c, args->y[COLS + c], args->beta[c]);
    }
}

Test(layernorm, constant_row_gives_beta_exactly) {
    td_layernorm_f32_args args = odd_rows();
    twin_each_row(TD_OP_layernorm_f32, &args, check_constant);
    release(&args);
}

static void check_poisoned(const void *before, const void *after) {
    (void)before;
    const td_layernorm_f32_args *args = after;
    for (int64_t r = 0; r < ROWS; r++) {
        for (int64_t c = 0; c < COLS; c++) {
            bool nan = isnan(args->y[r * COLS + c]) != 0;
            cr_expect_eq(nan, r == 1 || r == 2, "%s: row %d column %d", twin_row(), (int)r, (int)c);
        }
    }
}

Test(layernorm, nan_and_infinity_stay_in_their_rows) {
    td_layernorm_f32_args args = odd_rows();
    float *x = (float *)args.x;
    x[COLS + 17] = NAN;
    x[2 * COLS + COLS - 1] = INFINITY;
    twin_each_row(TD_OP_layernorm_f32, &args, check_poisoned);
    release(&args);
}

/* dx in f64, without the residual. */
static void grad_x_twin(const float *dy, const float *x, const float *gamma, double mean,
                        double rstd, int64_t n, double *dx, double *mean_abs_h,
                        double *mean_abs_hx) {
    double sum_h = 0, sum_hx = 0, count = (double)n;
    *mean_abs_h = *mean_abs_hx = 0;
    for (int64_t c = 0; c < n; c++) {
        double h = (double)dy[c] * (double)gamma[c], xhat = ((double)x[c] - mean) * rstd;
        sum_h += h;
        sum_hx += h * xhat;
        *mean_abs_h += fabs(h) / count;
        *mean_abs_hx += fabs(h * xhat) / count;
    }
    for (int64_t c = 0; c < n; c++) {
        double h = (double)dy[c] * (double)gamma[c], xhat = ((double)x[c] - mean) * rstd;
        dx[c] = rstd * (h - sum_h / count - xhat * sum_hx / count);
    }
}

void oracle_layernorm_grad_x(const void *before, const void *after) {
    const td_layernorm_grad_x_f32_args *args = before;
    const td_layernorm_grad_x_f32_args *done = after;
    double *dx = td_alloc((size_t)args->cols * sizeof *dx), lanes = (double)args->cols / 16 + 8;
    for (int64_t r = 0; r < args->rows; r++) {
        const float *dy = args->dy + r * args->lddy, *x = args->x + r * args->ldx;
        double mean = (double)args->mean[r], rstd = (double)args->rstd[r], abs_h, abs_hx;
        grad_x_twin(dy, x, args->gamma, mean, rstd, args->cols, dx, &abs_h, &abs_hx);
        for (int64_t c = 0; c < args->cols; c++) {
            double residual =
                args->residual != NULL ? (double)args->residual[r * args->ldresidual + c] : 0;
            double h = (double)dy[c] * (double)args->gamma[c], xhat = ((double)x[c] - mean) * rstd;
            double bound =
                rstd * TWIN_U * (6 * fabs(h) + lanes * abs_h + fabs(xhat) * (lanes + 4) * abs_hx) +
                TWIN_U * (fabs(dx[c]) + fabs(dx[c] + residual));
            twin_near("dx", r * args->cols + c, (double)done->dx[r * args->lddx + c],
                      dx[c] + residual, bound);
        }
    }
    td_free(dx);
}

Test(layernorm, grad_x_twin) {
    twin_each_case(TD_OP_layernorm_grad_x_f32, oracle_layernorm_grad_x);
}

/* The twin itself, against central differences of sum(dy * layernorm(x)) in f64. */
static double weighted(const double *x, const float *dy, const float *gamma, int64_t n,
                       double eps) {
    double mean = 0, variance = 0, total = 0;
    for (int64_t c = 0; c < n; c++) {
        mean += x[c] / (double)n;
    }
    for (int64_t c = 0; c < n; c++) {
        variance += (x[c] - mean) * (x[c] - mean) / (double)n;
    }
    for (int64_t c = 0; c < n; c++) {
        total += (double)dy[c] * (double)gamma[c] * (x[c] - mean) / sqrt(variance + eps);
    }
    return total;
}

Test(layernorm, gradient_agrees_with_central_differences) {
    enum { N = 23 };
    float *x = twin_floats(N, 11, 1), *dy = twin_floats(N, 12, 1), *gamma = twin_floats(N, 13, 1);
    double wide[N], dx[N], abs_h, abs_hx;
    for (int c = 0; c < N; c++) {
        wide[c] = (double)x[c];
    }
    moments m = moments_of(x, N, 1e-5);
    grad_x_twin(dy, x, gamma, m.mean, m.rstd, N, dx, &abs_h, &abs_hx);
    for (int c = 0; c < N; c++) {
        const double step = 1e-5;
        wide[c] = (double)x[c] + step;
        double above = weighted(wide, dy, gamma, N, 1e-5);
        wide[c] = (double)x[c] - step;
        double below = weighted(wide, dy, gamma, N, 1e-5);
        wide[c] = (double)x[c];
        twin_near("dx", c, dx[c], (above - below) / (2 * step), 1e-7 * fmax(1, fabs(dx[c])));
    }
    td_free(x);
    td_free(dy);
    td_free(gamma);
}

void oracle_layernorm_grad_w(const void *before, const void *after) {
    const td_layernorm_grad_w_f32_args *args = before;
    const td_layernorm_grad_w_f32_args *done = after;
    double terms = (double)(args->rows + args->blocks) + 4;
    for (int64_t c = 0; c < args->cols; c++) {
        double gamma = 0, beta = 0, abs_gamma = 0, abs_beta = 0;
        for (int64_t r = 0; r < args->rows; r++) {
            double dy = (double)args->dy[r * args->lddy + c];
            double xhat = ((double)args->x[r * args->ldx + c] - (double)args->mean[r]) *
                          (double)args->rstd[r];
            gamma += dy * xhat;
            beta += dy;
            abs_gamma += fabs(dy * xhat);
            abs_beta += fabs(dy);
        }
        twin_near("dgamma", c, (double)done->dgamma[c], gamma, terms * TWIN_U * abs_gamma);
        twin_near("dbeta", c, (double)done->dbeta[c], beta, terms * TWIN_U * abs_beta);
    }
}

Test(layernorm, grad_w_twin) {
    twin_each_case(TD_OP_layernorm_grad_w_f32, oracle_layernorm_grad_w);
}

/* The order of summation is part of the contract: both gradients, bit for bit, from serial code. */
static void check_grad_w_order(const void *before, const void *after) {
    const td_layernorm_grad_w_f32_args *args = before;
    const td_layernorm_grad_w_f32_args *done = after;
    float gamma[8], beta[8];
    for (int64_t c = 0; c < args->cols; c++) {
        for (int64_t b = 0; b < args->blocks; b++) {
            gamma[b] = beta[b] = 0;
            int64_t first = twin_block(args->starts, args->rows, args->blocks, b);
            int64_t end = twin_block(args->starts, args->rows, args->blocks, b + 1);
            for (int64_t r = first; r < end; r++) {
                float dy = args->dy[r * args->lddy + c];
                float xhat = (args->x[r * args->ldx + c] - args->mean[r]) * args->rstd[r];
                gamma[b] = fmaf(dy, xhat, gamma[b]);
                beta[b] += dy;
            }
        }
        twin_same("dgamma", c, done->dgamma[c], twin_tree(gamma, args->blocks));
        twin_same("dbeta", c, done->dbeta[c], twin_tree(beta, args->blocks));
    }
}

Test(layernorm, grad_w_sums_blocks_by_the_tree) {
    twin_each_case(TD_OP_layernorm_grad_w_f32, check_grad_w_order);
}
