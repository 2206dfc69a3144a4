/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of the sigmoid loss: three products, and per pair one exp, one log1p and
 * one division, 38 operations.
 */
#include "kernels/contrastive/contrastive_plan.h"
#include "kernels/kernel.h"

int64_t td_sigmoid_loss_f32_tiles(const td_sigmoid_loss_f32_args *args) {
    return args->pairs;
}

double td_sigmoid_loss_f32_flops(const td_sigmoid_loss_f32_args *args) {
    double scores = (double)args->pairs * (double)args->rows * (double)args->rows;
    return scores * (6 * (double)args->dim + 38);
}

double td_sigmoid_loss_f32_bytes(const td_sigmoid_loss_f32_args *args) {
    return 24 * (double)args->pairs * (double)args->rows * (double)args->dim;
}

int64_t td_sigmoid_loss_f32_scratch(const td_sigmoid_loss_f32_args *args) {
    return (TD_LOSS_ROWS * TD_LOSS_COLS + TD_LOSS_COLS * args->dim) * (int64_t)sizeof(float);
}
