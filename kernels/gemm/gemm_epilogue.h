/* SPDX-License-Identifier: Apache-2.0
 * What happens to a finished register tile on its way to C.
 */
#ifndef TD_KERNELS_GEMM_EPILOGUE_H
#define TD_KERNELS_GEMM_EPILOGUE_H

#include "kernels/args.h"
#include "kernels/convert/bf16.h"
#include "kernels/gemm/gemm_place.h"
#include "kernels/vmath.h"

static inline bool gemm_is_plain(const td_gemm_f32_args *args) {
    return args->bias == NULL && args->preact == NULL && args->act == TD_ACT_NONE &&
           args->residual == NULL && args->act_grad_of == NULL && args->c_bf16 == NULL;
}

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

/* Activations take a whole tile at a time, in L1, and not a vector on its way: several chains of
 * dependent instructions run at once, and what is constant stays in registers. One vector a call
 * made the derivative of a GELU slower here than in a pass of its own. */
TD_SIMD void gemm_act_rows(const td_act act, gemm_place at, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j += TD_LANES) {
            float *p = at.p + i * at.ld + j;
            td_v16_store(p, td_v16_act(act, td_v16_load(p)));
        }
    }
}

/* The tile times the derivative at `of`. */
TD_SIMD void gemm_act_grad_rows(const td_act act, gemm_place at, const float *of, int64_t ldof,
                                int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j += TD_LANES) {
            float *p = at.p + i * at.ld + j;
            int64_t left = cols - j;
            td_v16 x = left >= TD_LANES ? td_v16_load(of + i * ldof + j)
                                        : td_v16_load_part(of + i * ldof + j, left, 0.0f);
            td_v16_store(p, td_v16_mul(td_v16_load(p), td_v16_act_grad(act, x)));
        }
    }
}

/* Not inlined: hundreds of instructions, and in portable code thousands. */
static __attribute__((noinline)) void gemm_act_tile(td_act act, gemm_place at, int64_t rows,
                                                    int64_t cols) {
    switch (act) {
    case TD_ACT_NONE:
        break;
    case TD_ACT_GELU_ERF:
        gemm_act_rows(TD_ACT_GELU_ERF, at, rows, cols);
        break;
    case TD_ACT_GELU_TANH:
        gemm_act_rows(TD_ACT_GELU_TANH, at, rows, cols);
        break;
    case TD_ACT_GELU_QUICK:
        gemm_act_rows(TD_ACT_GELU_QUICK, at, rows, cols);
        break;
    }
}

static __attribute__((noinline)) void gemm_act_grad_tile(td_act act, gemm_place at, const float *of,
                                                         int64_t ldof, int64_t rows, int64_t cols) {
    switch (act) {
    case TD_ACT_NONE:
        break;
    case TD_ACT_GELU_ERF:
        gemm_act_grad_rows(TD_ACT_GELU_ERF, at, of, ldof, rows, cols);
        break;
    case TD_ACT_GELU_TANH:
        gemm_act_grad_rows(TD_ACT_GELU_TANH, at, of, ldof, rows, cols);
        break;
    case TD_ACT_GELU_QUICK:
        gemm_act_grad_rows(TD_ACT_GELU_QUICK, at, of, ldof, rows, cols);
        break;
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

/* before, after: which steps. Without `after` the values stay in the tile. */
TD_SIMD void gemm_finish_rows(const td_gemm_f32_args *args, gemm_place at, int64_t row, int64_t col,
                              int64_t rows, int64_t cols, const bool before, const bool after) {
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j += TD_LANES) {
            float *p = at.p + i * at.ld + j;
            td_v16 v = td_v16_load(p);
            const bool whole = cols - j >= TD_LANES;
            if (before) {
                v = whole ? gemm_before_act(args, v, row + i, col + j, TD_LANES, true)
                          : gemm_before_act(args, v, row + i, col + j, cols - j, false);
            }
            if (after && whole) {
                gemm_after_act(args, v, row + i, col + j, TD_LANES, true);
            } else if (after) {
                gemm_after_act(args, v, row + i, col + j, cols - j, false);
            } else {
                td_v16_store(p, v);
            }
        }
    }
}

/* The tile at `at`, `rows` x `cols`, to row `row` and column `col` of C. It is used up. */
static inline void gemm_finish(const td_gemm_f32_args *args, gemm_place at, int64_t row,
                               int64_t col, int64_t rows, int64_t cols) {
    if (args->act_grad_of == NULL && args->act == TD_ACT_NONE) {
        gemm_finish_rows(args, at, row, col, rows, cols, true, true);
        return;
    }
    if (args->bias != NULL || args->preact != NULL) {
        gemm_finish_rows(args, at, row, col, rows, cols, true, false);
    }
    if (args->act_grad_of != NULL) {
        const float *of = args->act_grad_of + row * args->ldact_grad_of + col;
        gemm_act_grad_tile(args->act, at, of, args->ldact_grad_of, rows, cols);
    } else {
        gemm_act_tile(args->act, at, rows, cols);
    }
    gemm_finish_rows(args, at, row, col, rows, cols, false, true);
}

#endif
