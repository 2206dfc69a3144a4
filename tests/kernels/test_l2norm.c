/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>

#include "base/memory.h"
#include "kernel_oracles.h"

/* Bit for bit from the order of a row reduction, and within a bound of f64. */
void oracle_l2norm(const void *before, const void *after) {
    const td_l2norm_f32_args *args = before;
    const td_l2norm_f32_args *done = after;
    double bound = ((double)args->cols / 32 + 8) * TWIN_U;
    for (int64_t r = 0; r < args->rows; r++) {
        const float *x = args->x + r * args->cols;
        float lanes[16] = {0};
        double squares = 0;
        for (int64_t c = 0; c < args->cols; c++) {
            lanes[c % 16] = fmaf(x[c], x[c], lanes[c % 16]);
            squares += (double)x[c] * (double)x[c];
        }
        float norm = sqrtf(twin_lanes(lanes));
        float divisor = norm >= args->eps ? norm : args->eps;
        double exact = fmax(sqrt(squares), (double)args->eps);
        twin_same("inv_norm", r, done->inv_norm[r], 1 / divisor);
        twin_near("inv_norm", r, (double)done->inv_norm[r], 1 / exact, bound / exact);
        for (int64_t c = 0; c < args->cols; c++) {
            twin_same("z", r * args->cols + c, done->z[r * args->cols + c], x[c] / divisor);
            twin_near("z", r * args->cols + c, (double)done->z[r * args->cols + c],
                      (double)x[c] / exact, bound * fabs((double)x[c]) / exact);
        }
    }
}

Test(l2norm, order_and_bound) {
    twin_each_case(TD_OP_l2norm_f32, oracle_l2norm);
}

Test(l2norm, rows_shorter_than_eps_are_divided_by_it) {
    enum { COLS = 19 };
    float *x = twin_floats(2 * COLS, 1, 1e-6f), z[2 * COLS], inv_norm[2];
    for (int64_t c = 0; c < COLS; c++) {
        x[COLS + c] = 0;
    }
    td_l2norm_f32_args args = {
        .rows = 2, .cols = COLS, .x = x, .z = z, .inv_norm = inv_norm, .eps = 1e-3f};
    twin_each_row(TD_OP_l2norm_f32, &args, oracle_l2norm);
    cr_expect_eq(inv_norm[0], 1 / 1e-3f);
    cr_expect_eq(z[COLS], 0);
    td_free(x);
}

static void check_nan(const void *before, const void *after) {
    (void)before;
    const td_l2norm_f32_args *args = after;
    for (int64_t i = 0; i < args->rows * args->cols; i++) {
        cr_expect_eq(isnan(args->z[i]) != 0, i / args->cols == 1, "%s: element %d", twin_row(),
                     (int)i);
    }
    cr_expect(isnan(args->inv_norm[1]) != 0);
}

Test(l2norm, nan_stays_in_its_row) {
    enum { COLS = 19 };
    float *x = twin_floats(3 * COLS, 2, 1), z[3 * COLS], inv_norm[3];
    x[COLS + 18] = NAN;
    td_l2norm_f32_args args = {
        .rows = 3, .cols = COLS, .x = x, .z = z, .inv_norm = inv_norm, .eps = 1e-3f};
    twin_each_row(TD_OP_l2norm_f32, &args, check_nan);
    td_free(x);
}

static double dot(const float *a, const float *b, int64_t n, double *size) {
    double sum = 0;
    *size = 0;
    for (int64_t c = 0; c < n; c++) {
        sum += (double)a[c] * (double)b[c];
        *size += fabs((double)a[c] * (double)b[c]);
    }
    return sum;
}

void oracle_l2norm_grad(const void *before, const void *after) {
    const td_l2norm_grad_f32_args *args = before;
    const float *got = ((const td_l2norm_grad_f32_args *)after)->dx;
    for (int64_t r = 0; r < args->rows; r++) {
        const float *dz = args->dz + r * args->cols, *z = args->z + r * args->cols;
        double size, inner = dot(z, dz, args->cols, &size), inv = (double)args->inv_norm[r];
        for (int64_t c = 0; c < args->cols; c++) {
            double want = ((double)dz[c] - (double)z[c] * inner) * inv;
            double bound =
                ((double)args->cols / 16 + 6) * TWIN_U * size * fabs((double)z[c]) * inv +
                2.01 * TWIN_U * fabs(want);
            twin_near("dx", r * args->cols + c, (double)got[r * args->cols + c], want, bound);
        }
    }
}

Test(l2norm, gradient_twin) {
    twin_each_case(TD_OP_l2norm_grad_f32, oracle_l2norm_grad);
}

/* The formula of the gradient against central differences of sum(dz * x / |x|), in f64. */
static double weighted(const double *x, const float *dz, int64_t n) {
    double squares = 0, sum = 0;
    for (int64_t c = 0; c < n; c++) {
        squares += x[c] * x[c];
        sum += x[c] * (double)dz[c];
    }
    return sum / sqrt(squares);
}

Test(l2norm, gradient_agrees_with_central_differences) {
    enum { N = 21 };
    float *x = twin_floats(N, 3, 1), *dz = twin_floats(N, 4, 1);
    double wide[N], squares = 0, inner = 0;
    for (int c = 0; c < N; c++) {
        wide[c] = (double)x[c];
        squares += wide[c] * wide[c];
        inner += wide[c] * (double)dz[c];
    }
    for (int c = 0; c < N; c++) {
        double want = ((double)dz[c] - wide[c] * inner / squares) / sqrt(squares), kept = wide[c];
        wide[c] = kept + 1e-5;
        double above = weighted(wide, dz, N);
        wide[c] = kept - 1e-5;
        double below = weighted(wide, dz, N);
        wide[c] = kept;
        twin_near("dx", c, want, (above - below) / 2e-5, 1e-7);
    }
    td_free(x);
    td_free(dz);
}
