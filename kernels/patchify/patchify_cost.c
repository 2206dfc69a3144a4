/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of the patch and token copies.
 */
#include "kernels/kernel.h"

static double patch_elements(const td_im2col_f32_args *args) {
    int64_t side = args->size / args->patch;
    int64_t patches = args->keep != NULL ? args->kept : side * side;
    return 3.0 * (double)(args->batch * patches) * (double)(args->patch * args->patch);
}

int64_t td_im2col_f32_tiles(const td_im2col_f32_args *args) {
    return args->batch;
}

double td_im2col_f32_flops(const td_im2col_f32_args *args) {
    (void)args;
    return 0;
}

double td_im2col_f32_bytes(const td_im2col_f32_args *args) {
    return 8 * patch_elements(args);
}

int64_t td_im2col_f32_scratch(const td_im2col_f32_args *args) {
    (void)args;
    return 0;
}

static double token_elements(const td_tokens_assemble_f32_args *args) {
    return (double)args->batch * (double)args->tokens * (double)args->width;
}

int64_t td_tokens_assemble_f32_tiles(const td_tokens_assemble_f32_args *args) {
    return args->batch;
}

double td_tokens_assemble_f32_flops(const td_tokens_assemble_f32_args *args) {
    return token_elements(args);
}

double td_tokens_assemble_f32_bytes(const td_tokens_assemble_f32_args *args) {
    return 8 * token_elements(args) + 4.0 * (double)args->tokens * (double)args->width;
}

int64_t td_tokens_assemble_f32_scratch(const td_tokens_assemble_f32_args *args) {
    (void)args;
    return 0;
}

static double copied_elements(const td_rows_copy_f32_args *args) {
    return (double)args->groups * (double)args->rows * (double)args->cols;
}

int64_t td_rows_copy_f32_tiles(const td_rows_copy_f32_args *args) {
    return args->groups;
}

double td_rows_copy_f32_flops(const td_rows_copy_f32_args *args) {
    return args->add ? copied_elements(args) : 0;
}

double td_rows_copy_f32_bytes(const td_rows_copy_f32_args *args) {
    return (args->add ? 12 : 8) * copied_elements(args);
}

int64_t td_rows_copy_f32_scratch(const td_rows_copy_f32_args *args) {
    (void)args;
    return 0;
}
