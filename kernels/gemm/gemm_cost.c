/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/gemm/gemm_plan.h"
#include "kernels/kernel.h"

int64_t td_gemm_f32_tiles(const td_gemm_f32_args *args) {
    td_gemm_grid grid = td_gemm_grid_of(args);
    return grid.rows * grid.strips;
}

double td_gemm_f32_flops(const td_gemm_f32_args *args) {
    return 2.0 * (double)args->m * (double)args->n * (double)args->k;
}

/* Bytes of an element of what is there, if any. */
static double each(const float *f32, const uint16_t *bf16) {
    return f32 != NULL ? 4.0 : bf16 != NULL ? 2.0 : 0.0;
}

/* Each operand once: C is written, and read when accumulating; the epilogue's matrices count. */
double td_gemm_f32_bytes(const td_gemm_f32_args *args) {
    double m = (double)args->m, n = (double)args->n, k = (double)args->k;
    double of_a = args->a_bf16 != NULL ? 2.0 : 4.0, of_b = args->b_bf16 != NULL ? 2.0 : 4.0;
    double of_c = (args->c_bf16 != NULL ? 2.0 : 4.0) + (args->accumulate ? 4.0 : 0.0) +
                  each(args->preact, args->preact_bf16) + each(args->residual, NULL) +
                  each(args->act_grad_of, args->act_grad_of_bf16);
    return of_a * m * k + of_b * k * n + of_c * m * n + (args->bias != NULL ? 4.0 * n : 0.0);
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t layout_bytes(const td_gemm_f32_args *args) {
    return larger(td_gemm_layout_of(args, td_gemm_f32_cut_of(args, TD_GEMM_DEPTH_AVX512)).bytes,
                  td_gemm_layout_of(args, td_gemm_f32_cut_of(args, TD_GEMM_DEPTH_AVX2)).bytes);
}

/* For so many rows or fewer: products whose rows differ from step to step plan for the most. */
int64_t td_gemm_f32_scratch(const td_gemm_f32_args *args) {
    td_gemm_f32_args few = *args;
    few.m = args->m < TD_GEMM_IN_PLACE_ROWS ? args->m : TD_GEMM_IN_PLACE_ROWS;
    const td_gemm_f32_args turned = td_gemm_turned(&few);
    int64_t bytes = larger(layout_bytes(args), layout_bytes(&few));
    return args->b_trans
               ? larger(bytes, td_gemm_layout_of(&turned, td_gemm_turned_cut_of(&turned)).bytes)
               : bytes;
}

int64_t td_gemm_pack_f32_tiles(const td_gemm_pack_f32_args *args) {
    return td_gemm_ceil_div(args->n, TD_GEMM_PACK_COLS);
}

double td_gemm_pack_f32_flops(const td_gemm_pack_f32_args *args) {
    (void)args;
    return 0;
}

double td_gemm_pack_f32_bytes(const td_gemm_pack_f32_args *args) {
    return 4.0 * (double)(args->n * args->k + td_gemm_packed_floats(args->n, args->k));
}

int64_t td_gemm_pack_f32_scratch(const td_gemm_pack_f32_args *args) {
    (void)args;
    return 0;
}
