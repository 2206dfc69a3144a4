/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of pooling. Bytes are those of the pooled rows, not of all tokens.
 */
#include "kernels/kernel.h"

static double pooled(int64_t batch, int64_t width) {
    return (double)batch * (double)width;
}

int64_t td_pool_f32_tiles(const td_pool_f32_args *args) {
    return args->batch;
}

double td_pool_f32_flops(const td_pool_f32_args *args) {
    return args->index == NULL ? (double)(args->tokens + 1) * pooled(args->batch, args->width) : 0;
}

double td_pool_f32_bytes(const td_pool_f32_args *args) {
    return 4.0 * (args->index == NULL ? (double)args->tokens + 1 : 2) *
           pooled(args->batch, args->width);
}

int64_t td_pool_f32_scratch(const td_pool_f32_args *args) {
    (void)args;
    return 0;
}

int64_t td_pool_grad_f32_tiles(const td_pool_grad_f32_args *args) {
    return args->batch;
}

double td_pool_grad_f32_flops(const td_pool_grad_f32_args *args) {
    return args->index == NULL ? pooled(args->batch, args->width) : 0;
}

double td_pool_grad_f32_bytes(const td_pool_grad_f32_args *args) {
    double rows = args->starts != NULL ? (double)args->starts[args->batch]
                                       : (double)(args->batch * args->tokens);
    return 4.0 * (rows + (double)args->batch) * (double)args->width;
}

int64_t td_pool_grad_f32_scratch(const td_pool_grad_f32_args *args) {
    (void)args;
    return 0;
}
