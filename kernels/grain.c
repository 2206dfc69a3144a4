/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/grain.h"

#include "kernels/gemm/gemm_plan.h"
#include "kernels/gemm_amx/amx_plan.h"

int64_t td_kernel_grain(td_op_id op, const void *args) {
    int64_t rows = 1;
    if (op == TD_OP_gemm_f32 || op == TD_OP_gemm_bf16) {
        rows = td_gemm_grid_of(args).rows; /* the arguments of all products are the same */
    } else if (op == TD_OP_gemm_amx) {
        rows = td_amx_grid_of(args).rows;
    } else if (op == TD_OP_layernorm_grad_w_f32 || op == TD_OP_colsum_f32) {
        rows = td_ops[op].tiles(args);
    }
    return rows > 1 ? rows : 1;
}
