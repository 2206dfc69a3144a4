/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of the softmax loss by block pairs and of the losses on stored scores. An
 * exp counts 13. Scores that are kept are written by the first pass and save the second a product.
 */
#include "kernels/contrastive/contrastive_plan.h"
#include "kernels/kernel.h"

static int64_t pair_scratch(int64_t dim) {
    return (TD_LOSS_ROWS * TD_LOSS_COLS + TD_LOSS_COLS * dim) * (int64_t)sizeof(float);
}

int64_t td_contrastive_pairs_lse_f32_tiles(const td_contrastive_pairs_lse_f32_args *args) {
    return args->pairs;
}

double td_contrastive_pairs_lse_f32_flops(const td_contrastive_pairs_lse_f32_args *args) {
    double scores = (double)args->pairs * (double)args->rows * (double)args->rows;
    return scores * (2 * (double)args->dim + 33);
}

double td_contrastive_pairs_lse_f32_bytes(const td_contrastive_pairs_lse_f32_args *args) {
    double rows = (double)args->pairs * (double)args->rows;
    double kept = args->scores == NULL ? 0 : 4 * rows * (double)args->rows;
    return rows * (8 * (double)args->dim + 64) + kept;
}

int64_t td_contrastive_pairs_lse_f32_scratch(const td_contrastive_pairs_lse_f32_args *args) {
    return pair_scratch(args->dim);
}

int64_t td_contrastive_pairs_grad_f32_tiles(const td_contrastive_pairs_grad_f32_args *args) {
    return args->pairs;
}

double td_contrastive_pairs_grad_f32_flops(const td_contrastive_pairs_grad_f32_args *args) {
    double scores = (double)args->pairs * (double)args->rows * (double)args->rows;
    return scores * ((args->scores == NULL ? 6 : 4) * (double)args->dim + 35);
}

double td_contrastive_pairs_grad_f32_bytes(const td_contrastive_pairs_grad_f32_args *args) {
    double rows = (double)args->pairs * (double)args->rows;
    double kept = args->scores == NULL ? 0 : 4 * rows * (double)args->rows;
    return rows * (24 * (double)args->dim + 32) + kept;
}

int64_t td_contrastive_pairs_grad_f32_scratch(const td_contrastive_pairs_grad_f32_args *args) {
    return pair_scratch(args->dim);
}

static int64_t tiles_of_rows(int64_t rows) {
    return (rows + TD_LOSS_ROWS - 1) / TD_LOSS_ROWS;
}

int64_t td_scores_softmax_f32_tiles(const td_scores_softmax_f32_args *args) {
    return tiles_of_rows(args->rows);
}

double td_scores_softmax_f32_flops(const td_scores_softmax_f32_args *args) {
    return (double)args->rows * (double)args->batch * 20;
}

double td_scores_softmax_f32_bytes(const td_scores_softmax_f32_args *args) {
    return (double)args->rows * (8 * (double)args->batch + 8);
}

int64_t td_scores_softmax_f32_scratch(const td_scores_softmax_f32_args *args) {
    (void)args;
    return 0;
}

int64_t td_scores_sigmoid_f32_tiles(const td_scores_sigmoid_f32_args *args) {
    return tiles_of_rows(args->rows);
}

double td_scores_sigmoid_f32_flops(const td_scores_sigmoid_f32_args *args) {
    return (double)args->rows * (double)args->batch * 38;
}

double td_scores_sigmoid_f32_bytes(const td_scores_sigmoid_f32_args *args) {
    return (double)args->rows * (8 * (double)args->batch + 12);
}

int64_t td_scores_sigmoid_f32_scratch(const td_scores_sigmoid_f32_args *args) {
    (void)args;
    return 0;
}
