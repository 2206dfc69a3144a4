/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/gemm_amx/amx_plan.h"
#include "kernels/kernel.h"

int64_t td_gemm_amx_tiles(const td_gemm_amx_args *args) {
    td_amx_grid grid = td_amx_grid_of(args);
    return grid.rows * grid.strips;
}

double td_gemm_amx_flops(const td_gemm_amx_args *args) {
    return td_gemm_f32_flops(args);
}

double td_gemm_amx_bytes(const td_gemm_amx_args *args) {
    return td_gemm_f32_bytes(args);
}

int64_t td_gemm_amx_scratch(const td_gemm_amx_args *args) {
    const int64_t unread = 0;
    td_gemm_f32_args plan = td_amx_plan(args, &unread);
    return td_amx_layout_of(&plan).bytes + (args->k_blocks + 1) * (int64_t)sizeof(int64_t);
}
