/* SPDX-License-Identifier: Apache-2.0
 * The activation kernel: every row against float64 forms, values and gradients, in place and not,
 * at lengths around vectors and tiles; its gradient against differences of its value.
 */
#include "twin.h"

static double exact(td_act act, double x) {
    switch (act) {
    case TD_ACT_GELU_ERF:
        return 0.5 * x * erfc(-x * sqrt(0.5));
    case TD_ACT_GELU_TANH:
        return x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case TD_ACT_GELU_QUICK:
        return x / (1 + exp(-1.702 * x));
    case TD_ACT_NONE:
        break;
    }
    return x;
}

/* Fourth-order central difference: its own error is below 1e-11 for these functions. */
static double exact_grad(td_act act, double x) {
    const double h = 1e-3;
    double near = exact(act, x + h) - exact(act, x - h);
    double far = exact(act, x + 2 * h) - exact(act, x - 2 * h);
    return (8 * near - far) / (12 * h);
}

static const int64_t lengths[] = {1, 15, 16, 17, 31, 33, 1009, 16383, 16384, 16385, 3 * 16384 + 5};
enum { LENGTHS = sizeof lengths / sizeof lengths[0], LONGEST = 3 * 16384 + 5 };

static void run_cut(const td_kernel *row, const td_gelu_f32_args *args) {
    int64_t tiles = td_gelu_f32_tiles(args), cut = tiles / 2;
    row->run(args, cut, tiles, NULL);
    row->run(args, 0, cut, NULL);
}

static void check_length(const td_kernel *row, td_act act, int64_t n) {
    float *x = twin_new(n, 1, 3), *dy = twin_new(n, 2, 1), *y = twin_new(n + 1, 3, 1);
    float guard = y[n];
    run_cut(row, &(td_gelu_f32_args){.n = n, .act = act, .x = x, .y = y});
    double value_gap = 0, grad_gap = 0;
    for (int64_t i = 0; i < n; i++) {
        double want = exact(act, (double)x[i]), gap = fabs((double)y[i] - want);
        /* 8 ULP, relative to the value, and the tails that float cannot hold. */
        value_gap =
            fmax(value_gap, isnan(y[i]) ? INFINITY : gap / (8 * 0x1p-23 * fabs(want) + 1e-42));
    }
    run_cut(row, &(td_gelu_f32_args){.n = n, .act = act, .x = x, .dy = dy, .y = y});
    for (int64_t i = 0; i < n; i++) {
        double gap = fabs((double)y[i] - (double)dy[i] * exact_grad(act, (double)x[i]));
        grad_gap =
            fmax(grad_gap, isnan(y[i]) ? INFINITY : gap / (1e-6 * (1 + fabs((double)dy[i]))));
    }
    cr_expect(value_gap <= 1, "%s act %d n %lld: %g of the bound", row->name, (int)act,
              (long long)n, value_gap);
    cr_expect(grad_gap <= 1, "%s act %d n %lld: gradient %g of the bound", row->name, (int)act,
              (long long)n, grad_gap);
    cr_expect_eq(y[n], guard);
    /* In place: dy is overwritten, then x. */
    run_cut(row, &(td_gelu_f32_args){.n = n, .act = act, .x = x, .dy = dy, .y = dy});
    cr_expect_eq(memcmp(dy, y, (size_t)n * sizeof *y), 0, "%s in place of dy", row->name);
    run_cut(row, &(td_gelu_f32_args){.n = n, .act = act, .x = x, .y = y});
    run_cut(row, &(td_gelu_f32_args){.n = n, .act = act, .x = x, .y = x});
    cr_expect_eq(memcmp(x, y, (size_t)n * sizeof *y), 0, "%s in place of x", row->name);
    td_free(x);
    td_free(dy);
    td_free(y);
}

Test(gelu, every_row_is_near_the_exact_values_and_gradients) {
    TWIN_EACH_ROW(row, TD_OP_gelu_f32) {
        for (int act = TD_ACT_NONE; act <= TD_ACT_GELU_QUICK; act++) {
            for (int i = 0; i < LENGTHS; i++) {
                check_length(row, (td_act)act, lengths[i]);
            }
        }
    }
}

Test(gelu, a_nan_stays_where_it_is) {
    TWIN_EACH_ROW(row, TD_OP_gelu_f32) {
        for (int act = TD_ACT_NONE; act <= TD_ACT_GELU_QUICK; act++) {
            float x[40] = {0}, dy[40] = {0}, y[40];
            x[7] = x[39] = NAN;
            td_gelu_f32_args args = {.n = 40, .act = (td_act)act, .x = x, .y = y};
            row->run(&args, 0, 1, NULL);
            for (int i = 0; i < 40; i++) {
                cr_expect_eq(isnan(y[i]) != 0, i == 7 || i == 39, "%s act %d at %d", row->name, act,
                             i);
            }
            args.dy = dy;
            row->run(&args, 0, 1, NULL);
            cr_expect(act == TD_ACT_NONE || isnan(y[39]));
        }
    }
}
