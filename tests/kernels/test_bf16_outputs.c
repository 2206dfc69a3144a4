/* SPDX-License-Identifier: Apache-2.0
 * Results that are stored as bf16 are the f32 ones, rounded last of all, and operands read from
 * bf16 give what their values give in f32, on every row; nothing behind them is touched.
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

static void widen(const uint16_t *x, float *y, int64_t n) {
    const td_bf16_to_f32_args args = {.n = n, .x = x, .y = y};
    td_bf16_to_f32__portable(&args, 0, td_bf16_to_f32_tiles(&args), NULL);
}

/* New random numbers, rounded, and the same as f32. */
static uint16_t *rounded_new(int64_t n, uint32_t seed, float *wide) {
    float *x = twin_new(n, seed, 2);
    uint16_t *rounded = td_alloc((size_t)n * sizeof *rounded);
    const td_f32_to_bf16_args args = {.n = n, .x = x, .y = rounded};
    td_f32_to_bf16__portable(&args, 0, td_f32_to_bf16_tiles(&args), NULL);
    widen(rounded, wide, n);
    td_free(x);
    return rounded;
}

Test(bf16_outputs, activations_of_stored) {
    float wide[N], want[N], got[N], *dy = twin_new(N, 6, 1);
    uint16_t *x = rounded_new(N, 5, wide);
    TWIN_EACH_ROW(row, TD_OP_gelu_f32) {
        for (int back = 0; back < 2; back++) {
            td_gelu_f32_args args = {
                .n = N, .act = TD_ACT_GELU_TANH, .x = wide, .dy = back ? dy : NULL, .y = want};
            row->run(&args, 0, td_gelu_f32_tiles(&args), NULL);
            args.x = NULL;
            args.x_bf16 = x;
            args.y = got;
            row->run(&args, 0, td_gelu_f32_tiles(&args), NULL);
            cr_assert_arr_eq(got, want, sizeof want, "gelu by %s", row->name);
        }
    }
    td_free(x);
    td_free(dy);
}

Test(bf16_outputs, sums_of_stored) {
    float wide[N], want[COLS], got[COLS];
    uint16_t *x = rounded_new(N, 7, wide);
    TWIN_EACH_ROW(row, TD_OP_colsum_f32) {
        td_colsum_f32_args args = {
            .rows = ROWS, .cols = COLS, .blocks = 2, .x = wide, .ldx = COLS, .out = want};
        void *scratch = td_alloc((size_t)td_colsum_f32_scratch(&args));
        row->run(&args, 0, td_colsum_f32_tiles(&args), scratch);
        args.x = NULL;
        args.x_bf16 = x;
        args.out = got;
        row->run(&args, 0, td_colsum_f32_tiles(&args), scratch);
        cr_assert_arr_eq(got, want, sizeof want, "colsum by %s", row->name);
        td_free(scratch);
    }
    td_free(x);
}

/* A product of gemm_bf16 or gemm_amx: what a perceptron's first layer stores, what it goes on with,
 * and the gradient behind its second. */
static void expect_stored_activation(td_op_id op) {
    enum { K = 40 };
    float *a = twin_new(ROWS * K, 8, 1), *b = twin_new(COLS * K, 9, 1),
          *bias = twin_new(COLS, 3, 1);
    float sums[N], act[N], want[N], got[N], wide[N];
    uint16_t pre[N + 1] = {[N] = GUARD}, *of = rounded_new(N, 10, wide);
    TWIN_EACH_ROW(row, op) {
        const td_gemm_f32_args plain = {.m = ROWS,
                                        .n = COLS,
                                        .k = K,
                                        .a = a,
                                        .lda = K,
                                        .b = b,
                                        .ldb = K,
                                        .b_trans = true,
                                        .ldc = COLS,
                                        .k_blocks = 1,
                                        .bias = bias,
                                        .ldpreact = COLS,
                                        .ldact_grad_of = COLS};
        const int64_t tiles = td_ops[op].tiles(&plain);
        void *scratch = td_alloc((size_t)td_ops[op].scratch(&plain));
        td_gemm_f32_args args = plain;
        args.c = sums;
        row->run(&args, 0, tiles, scratch);
        args.act = TD_ACT_GELU_QUICK;
        args.c = act;
        args.preact_bf16 = pre;
        row->run(&args, 0, tiles, scratch);
        expect_rounded("preact", row->name, sums, pre);
        widen(pre, sums, N);
        const td_gelu_f32_args after = {.n = N, .act = args.act, .x = sums, .y = want};
        td_gelu_f32__portable(&after, 0, td_gelu_f32_tiles(&after), NULL);
        cr_assert_arr_eq(act, want, sizeof want, "activated by %s", row->name);
        args.preact_bf16 = NULL;
        args.act_grad_of = wide;
        args.c = want;
        row->run(&args, 0, tiles, scratch);
        args.act_grad_of = NULL;
        args.act_grad_of_bf16 = of;
        args.c = got;
        row->run(&args, 0, tiles, scratch);
        cr_assert_arr_eq(got, want, sizeof want, "gradient by %s", row->name);
        td_free(scratch);
    }
    td_free(a);
    td_free(b);
    td_free(bias);
    td_free(of);
}

Test(bf16_outputs, activations_of_products) {
    expect_stored_activation(TD_OP_gemm_bf16);
    expect_stored_activation(TD_OP_gemm_amx);
}
