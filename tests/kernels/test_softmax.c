/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>

#include "base/memory.h"
#include "kernel_oracles.h"

static void check_row(const float *x, const float *y, int64_t r, int64_t cols) {
    double max = -INFINITY, least = INFINITY, sum = 0, total = 0;
    for (int64_t c = 0; c < cols; c++) {
        max = fmax(max, (double)x[c]);
        least = fmin(least, isinf(x[c]) ? INFINITY : (double)x[c]);
    }
    for (int64_t c = 0; c < cols; c++) {
        sum += exp((double)x[c] - max);
    }
    /* exp is within 2 u of its argument's, the argument within u * |x - max|; below 2^-126 results
     * are denormal. */
    double share = ((double)cols / 16 + 30) * TWIN_U + 2 * TWIN_U * fmin(max - least, 104);
    for (int64_t c = 0; c < cols; c++) {
        double want = exp((double)x[c] - max) / sum;
        twin_near("y", r * cols + c, (double)y[c], want, share * want + 0x1p-148);
        total += (double)y[c];
    }
    twin_near("sum of row", r, total, 1, ((double)cols / 16 + 10) * TWIN_U);
}

void oracle_softmax(const void *before, const void *after) {
    const td_softmax_f32_args *args = before;
    const float *y = ((const td_softmax_f32_args *)after)->y;
    for (int64_t r = 0; r < args->rows; r++) {
        check_row(args->x + r * args->cols, y + r * args->cols, r, args->cols);
    }
}

Test(softmax, twin) {
    twin_each_case(TD_OP_softmax_f32, oracle_softmax);
}

enum { COLS = 53 };

Test(softmax, wide_ranges_keep_the_bound) {
    float *x = twin_floats(5 * COLS, 1, 1), *y = twin_floats(5 * COLS, 2, 1);
    for (int64_t c = 0; c < COLS; c++) {
        x[c] *= 40;                                 /* spread over the whole range of exp */
        x[COLS + c] = -3.5f;                        /* all equal */
        x[2 * COLS + c] = c == 50 ? 1e30f : -1e30f; /* one winner, in the tail */
        x[3 * COLS + c] += 1e4f;
        x[4 * COLS + c] = c % 3 ? x[4 * COLS + c] : -INFINITY; /* masked */
    }
    td_softmax_f32_args args = {.rows = 5, .cols = COLS, .x = x, .y = y};
    twin_each_row(TD_OP_softmax_f32, &args, oracle_softmax);
    td_free(x);
    td_free(y);
}

static void check_poisoned(const void *before, const void *after) {
    (void)before;
    const float *y = ((const td_softmax_f32_args *)after)->y;
    for (int64_t i = 0; i < 5 * COLS; i++) {
        cr_expect_eq(isnan(y[i]) != 0, i / COLS != 2, "%s: row %d column %d", twin_row(),
                     (int)(i / COLS), (int)(i % COLS));
    }
}

Test(softmax, nan_makes_its_row_nan) {
    float *x = twin_floats(5 * COLS, 3, 1), *y = twin_floats(5 * COLS, 4, 1);
    x[0] = NAN;
    x[COLS + COLS - 1] = NAN;
    for (int64_t c = 0; c < COLS; c++) {
        x[3 * COLS + c] = -INFINITY;
    }
    x[4 * COLS + 20] = INFINITY;
    td_softmax_f32_args args = {.rows = 5, .cols = COLS, .x = x, .y = y};
    twin_each_row(TD_OP_softmax_f32, &args, check_poisoned);
    td_free(x);
    td_free(y);
}
