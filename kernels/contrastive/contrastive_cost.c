/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of the softmax loss. An exp counts 13.
 */
#include "kernels/contrastive/contrastive_plan.h"
#include "kernels/kernel.h"

static int64_t strip_bytes(int64_t batch, int64_t dim) {
    return (TD_LOSS_ROWS * td_loss_pad(batch) + TD_LOSS_COLS * dim) * (int64_t)sizeof(float);
}

static int64_t tiles_of_rows(int64_t rows) {
    return (rows + TD_LOSS_ROWS - 1) / TD_LOSS_ROWS;
}

int64_t td_contrastive_lse_f32_tiles(const td_contrastive_lse_f32_args *args) {
    return tiles_of_rows(args->rows);
}

double td_contrastive_lse_f32_flops(const td_contrastive_lse_f32_args *args) {
    return (double)args->rows * (double)args->batch * (2 * (double)args->dim + 16);
}

double td_contrastive_lse_f32_bytes(const td_contrastive_lse_f32_args *args) {
    return 4 * (double)(args->rows + args->batch) * (double)args->dim + 8 * (double)args->rows;
}

int64_t td_contrastive_lse_f32_scratch(const td_contrastive_lse_f32_args *args) {
    return strip_bytes(args->batch, args->dim);
}

int64_t td_contrastive_grad_f32_tiles(const td_contrastive_grad_f32_args *args) {
    return tiles_of_rows(args->rows);
}

double td_contrastive_grad_f32_flops(const td_contrastive_grad_f32_args *args) {
    return (double)args->rows * (double)args->batch * (4 * (double)args->dim + 33);
}

double td_contrastive_grad_f32_bytes(const td_contrastive_grad_f32_args *args) {
    return 4 * (double)(2 * args->rows + args->batch) * (double)args->dim +
           8 * (double)(args->batch + 2 * args->rows);
}

int64_t td_contrastive_grad_f32_scratch(const td_contrastive_grad_f32_args *args) {
    return strip_bytes(args->batch, args->dim) +
           2 * td_loss_pad(args->batch) * (int64_t)sizeof(float);
}
