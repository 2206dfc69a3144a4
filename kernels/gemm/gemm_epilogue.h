/* SPDX-License-Identifier: Apache-2.0
 * What happens to a finished register tile on its way to C.
 */
#ifndef TD_KERNELS_GEMM_EPILOGUE_H
#define TD_KERNELS_GEMM_EPILOGUE_H

#include "kernels/args.h"
#include "kernels/gemm/gemm_place.h"
#include "kernels/vmath.h"

static inline bool gemm_is_plain(const td_gemm_f32_args *args) {
    return args->bias == NULL && args->preact == NULL && args->act == TD_ACT_NONE &&
           args->residual == NULL && args->act_grad_of == NULL;
}

/* Not inlined: each is hundreds of instructions, and in portable code thousands. */
static __attribute__((noinline)) td_v16 gemm_act(td_act act, td_v16 v) {
    return td_v16_act(act, v);
}

static __attribute__((noinline)) td_v16 gemm_act_grad(td_act act, td_v16 v) {
    return td_v16_act_grad(act, v);
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

TD_SIMD void gemm_finish_vector(const td_gemm_f32_args *args, td_v16 v, int64_t row, int64_t col,
                                int64_t count, const bool whole) {
    if (args->bias != NULL) {
        v = td_v16_add(v, gemm_read(args->bias + col, count, whole));
    }
    if (args->preact != NULL) {
        gemm_write(args->preact + row * args->ldpreact + col, v, count, whole);
    }
    if (args->act_grad_of != NULL) {
        const float *of = args->act_grad_of + row * args->ldact_grad_of + col;
        v = td_v16_mul(v, gemm_act_grad(args->act, gemm_read(of, count, whole)));
    } else if (args->act != TD_ACT_NONE) {
        v = gemm_act(args->act, v);
    }
    if (args->residual != NULL) {
        v = td_v16_add(v, gemm_read(args->residual + row * args->ldresidual + col, count, whole));
    }
    gemm_write(args->c + row * args->ldc + col, v, count, whole);
}

/* The tile at `from`, `rows` x `cols`, to row `row` and column `col` of C. */
static inline void gemm_finish(const td_gemm_f32_args *args, gemm_place from, int64_t row,
                               int64_t col, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j += TD_LANES) {
            td_v16 v = td_v16_load(from.p + i * from.ld + j);
            if (cols - j >= TD_LANES) {
                gemm_finish_vector(args, v, row + i, col + j, TD_LANES, true);
            } else {
                gemm_finish_vector(args, v, row + i, col + j, cols - j, false);
            }
        }
    }
}

#endif
