/* SPDX-License-Identifier: Apache-2.0
 * What happens to a finished register tile on its way to C.
 */
#ifndef TD_KERNELS_GEMM_EPILOGUE_H
#define TD_KERNELS_GEMM_EPILOGUE_H

#include "kernels/args.h"
#include "kernels/convert/bf16.h"
#include "kernels/gemm/gemm_place.h"
#include "kernels/vmath.h"

/* Row `row`, columns [col, col + count) of C, count <= 16; whole: count is 16, a constant at the
 * call, so that the loads and stores are plain. */
TD_SIMD td_v16 gemm_read(const float *p, int64_t count, const bool whole) {
    return whole ? td_v16_load(p) : td_v16_load_part(p, count, 0.0f);
}

TD_SIMD void gemm_write(float *p, td_v16 v, int64_t count, const bool whole) {
    if (whole) {
        td_v16_store(p, v);
    } else {
        td_v16_store_part(p, v, count);
    }
}

/* The value that is activated, for the tile at `at`; stores preact. */
TD_SIMD td_v16 gemm_before_act(const td_gemm_f32_args *args, td_v16 v, int64_t row, int64_t col,
                               int64_t count, const bool whole) {
    if (args->bias != NULL) {
        v = td_v16_add(v, gemm_read(args->bias + col, count, whole));
    }
    if (args->preact != NULL) {
        gemm_write(args->preact + row * args->ldpreact + col, v, count, whole);
    } else if (args->preact_bf16 != NULL) {
        td_v16_store_bf16(args->preact_bf16 + row * args->ldpreact + col, v, count);
        v = td_v16_round_bf16(v);
    }
    return v;
}

/* What is left to do, and the end of the way. */
TD_SIMD void gemm_after_act(const td_gemm_f32_args *args, td_v16 v, int64_t row, int64_t col,
                            int64_t count, const bool whole) {
    if (args->residual != NULL) {
        v = td_v16_add(v, gemm_read(args->residual + row * args->ldresidual + col, count, whole));
    }
    if (args->c_bf16 != NULL) {
        td_v16_store_bf16(args->c_bf16 + row * args->ldc + col, v, count);
    } else {
        gemm_write(args->c + row * args->ldc + col, v, count, whole);
    }
}

/* The tile at `at`, `rows` x `cols`, to row `row` and column `col` of C. act and grad are constants
 * at each use: the loop has no call, so that several vectors' chains of dependent instructions run
 * at once, and what is constant stays in registers. */
TD_SIMD void gemm_finish_rows(const td_act act, const bool grad, const td_gemm_f32_args *args,
                              gemm_place at, int64_t row, int64_t col, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j += TD_LANES) {
            const int64_t left = cols - j, r = row + i, c = col + j;
            const bool whole = left >= TD_LANES;
            td_v16 v = td_v16_load(at.p + i * at.ld + j);
            v = whole ? gemm_before_act(args, v, r, c, TD_LANES, true)
                      : gemm_before_act(args, v, r, c, left, false);
            if (grad) {
                const bf16_source of = {args->act_grad_of, args->act_grad_of_bf16,
                                        args->ldact_grad_of};
                const bool stored = of.bf16 != NULL;
                td_v16 x = whole ? bf16_read(&of, r * of.ld + c, TD_LANES, stored)
                                 : bf16_read(&of, r * of.ld + c, left, stored);
                v = td_v16_mul(v, td_v16_act_grad(act, x));
            } else if (act != TD_ACT_NONE) {
                v = td_v16_act(act, v);
            }
            if (whole) {
                gemm_after_act(args, v, r, c, TD_LANES, true);
            } else {
                gemm_after_act(args, v, r, c, left, false);
            }
        }
    }
}

/* Not inlined: hundreds of instructions, and in portable code thousands. */
#define GEMM_FINISH(name, act, grad)                                                               \
    static __attribute__((noinline)) void gemm_finish_##name(                                      \
        const td_gemm_f32_args *args, gemm_place at, int64_t row, int64_t col, int64_t rows,       \
        int64_t cols) {                                                                            \
        gemm_finish_rows(act, grad, args, at, row, col, rows, cols);                               \
    }
GEMM_FINISH(sums, TD_ACT_NONE, false)
GEMM_FINISH(erf, TD_ACT_GELU_ERF, false)
GEMM_FINISH(tanh, TD_ACT_GELU_TANH, false)
GEMM_FINISH(quick, TD_ACT_GELU_QUICK, false)
GEMM_FINISH(erf_grad, TD_ACT_GELU_ERF, true)
GEMM_FINISH(tanh_grad, TD_ACT_GELU_TANH, true)
GEMM_FINISH(quick_grad, TD_ACT_GELU_QUICK, true)

static inline void gemm_finish(const td_gemm_f32_args *args, gemm_place at, int64_t row,
                               int64_t col, int64_t rows, int64_t cols) {
    const bool grad = args->act_grad_of != NULL || args->act_grad_of_bf16 != NULL;
    switch (args->act) {
    case TD_ACT_NONE:
        gemm_finish_sums(args, at, row, col, rows, cols);
        break;
    case TD_ACT_GELU_ERF:
        (grad ? gemm_finish_erf_grad : gemm_finish_erf)(args, at, row, col, rows, cols);
        break;
    case TD_ACT_GELU_TANH:
        (grad ? gemm_finish_tanh_grad : gemm_finish_tanh)(args, at, row, col, rows, cols);
        break;
    case TD_ACT_GELU_QUICK:
        (grad ? gemm_finish_quick_grad : gemm_finish_quick)(args, at, row, col, rows, cols);
        break;
    }
}

#endif
