/* SPDX-License-Identifier: Apache-2.0
 * Results that are stored as bf16 are the f32 ones, rounded last of all, on every row; nothing
 * behind them is touched.
 */
#include "twin.h"

enum { ROWS = 9, COLS = 85, N = ROWS * COLS, GUARD = 0xA5A5 };

/* got (N + 1): what a kernel stored, and a guard behind it. */
static void expect_rounded(const char *what, const char *row, const float *f32,
                           const uint16_t *got) {
    uint16_t want[N];
    const td_f32_to_bf16_args to = {.n = N, .x = f32, .y = want};
    td_f32_to_bf16__portable(&to, 0, td_f32_to_bf16_tiles(&to), NULL);
    cr_assert_arr_eq(got, want, sizeof want, "%s by %s", what, row);
    cr_assert_eq(got[N], GUARD, "%s by %s: behind the end", what, row);
}

Test(bf16_outputs, layernorm) {
    float *x = twin_new(N, 1, 1), *gamma = twin_new(COLS, 2, 1), *beta = twin_new(COLS, 3, 1);
    float y[N];
    uint16_t stored[N + 1] = {[N] = GUARD};
    TWIN_EACH_ROW(row, TD_OP_layernorm_f32) {
        td_layernorm_f32_args args = {.rows = ROWS,
                                      .cols = COLS,
                                      .x = x,
                                      .ldx = COLS,
                                      .y = y,
                                      .ldy = COLS,
                                      .gamma = gamma,
                                      .beta = beta,
                                      .eps = 1e-5F};
        row->run(&args, 0, td_layernorm_f32_tiles(&args), NULL);
        args.y = NULL;
        args.y_bf16 = stored;
        row->run(&args, 0, td_layernorm_f32_tiles(&args), NULL);
        expect_rounded("layernorm", row->name, y, stored);
    }
    td_free(x);
    td_free(gamma);
    td_free(beta);
}

Test(bf16_outputs, activations) {
    float *x = twin_new(N, 4, 2), y[N];
    uint16_t stored[N + 1] = {[N] = GUARD};
    TWIN_EACH_ROW(row, TD_OP_gelu_f32) {
        for (td_act act = TD_ACT_GELU_ERF; act <= TD_ACT_GELU_QUICK; act++) {
            td_gelu_f32_args args = {.n = N, .act = act, .x = x, .y = y};
            row->run(&args, 0, td_gelu_f32_tiles(&args), NULL);
            args.y = NULL;
            args.y_bf16 = stored;
            row->run(&args, 0, td_gelu_f32_tiles(&args), NULL);
            expect_rounded("gelu", row->name, y, stored);
        }
    }
    td_free(x);
}
