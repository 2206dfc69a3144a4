/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of the embedding kernels.
 */
#include "kernels/kernel.h"
#include "kernels/tiles.h"
#include "kernels/tree.h"

static double token_elements(const td_embedding_f32_args *args) {
    return (double)args->n * (double)args->width;
}

int64_t td_embedding_f32_tiles(const td_embedding_f32_args *args) {
    return td_tiles_of(args->n, TD_TILE_ROWS);
}

double td_embedding_f32_flops(const td_embedding_f32_args *args) {
    return token_elements(args);
}

double td_embedding_f32_bytes(const td_embedding_f32_args *args) {
    return 8 * token_elements(args) + 8.0 * (double)args->n +
           4.0 * (double)args->positions * (double)args->width;
}

int64_t td_embedding_f32_scratch(const td_embedding_f32_args *args) {
    (void)args;
    return 0;
}

int64_t td_embedding_sort_i32_tiles(const td_embedding_sort_i32_args *args) {
    return args->n > 0 || args->vocab > 0 ? 1 : 0;
}

double td_embedding_sort_i32_flops(const td_embedding_sort_i32_args *args) {
    (void)args;
    return 0;
}

double td_embedding_sort_i32_bytes(const td_embedding_sort_i32_args *args) {
    return 8.0 * (double)args->n + 4.0 * (double)(args->vocab + 1);
}

int64_t td_embedding_sort_i32_scratch(const td_embedding_sort_i32_args *args) {
    (void)args;
    return 0;
}

int64_t td_embedding_grad_f32_tiles(const td_embedding_grad_f32_args *args) {
    return td_tiles_of(args->vocab, TD_TILE_IDS);
}

double td_embedding_grad_f32_flops(const td_embedding_grad_f32_args *args) {
    return (double)args->n * (double)args->width;
}

double td_embedding_grad_f32_bytes(const td_embedding_grad_f32_args *args) {
    return 4.0 * (double)(args->n + args->vocab) * (double)(args->width + 1);
}

int64_t td_embedding_grad_f32_scratch(const td_embedding_grad_f32_args *args) {
    return td_tree_scratch(args->width, args->blocks);
}
