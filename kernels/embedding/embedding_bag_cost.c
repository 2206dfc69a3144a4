/* SPDX-License-Identifier: Apache-2.0
 * Tiles, work and traffic of bags of ids. Rows of the table count once an id, as if no id came
 * twice. With a limit on norms every id takes a sum of squares more, and its gradient a product.
 */
#include "kernels/kernel.h"
#include "kernels/tiles.h"

static double elements(int64_t n, int64_t width) {
    return (double)n * (double)width;
}

int64_t td_embedding_bag_f32_tiles(const td_embedding_bag_f32_args *args) {
    return td_tiles_of(args->rows, TD_TILE_ROWS);
}

double td_embedding_bag_f32_flops(const td_embedding_bag_f32_args *args) {
    return elements(args->n, args->width) * (args->max_norm > 0 ? 4 : 2);
}

double td_embedding_bag_f32_bytes(const td_embedding_bag_f32_args *args) {
    double y = elements(args->rows, args->width) * (args->accumulate ? 8 : 4);
    return y + 4 * elements(args->n, args->width) + 8.0 * (double)args->n +
           4.0 * (double)args->rows;
}

int64_t td_embedding_bag_f32_scratch(const td_embedding_bag_f32_args *args) {
    (void)args;
    return 0;
}

int64_t td_embedding_bag_grad_f32_tiles(const td_embedding_bag_grad_f32_args *args) {
    return td_tiles_of(args->rows, TD_TILE_ROWS);
}

double td_embedding_bag_grad_f32_flops(const td_embedding_bag_grad_f32_args *args) {
    return elements(args->n, args->width) * (args->max_norm > 0 ? 7 : 1);
}

double td_embedding_bag_grad_f32_bytes(const td_embedding_bag_grad_f32_args *args) {
    double table = args->max_norm > 0 ? 4 * elements(args->n, args->width) : 0;
    return table + 4 * elements(args->n + args->rows, args->width) + 8.0 * (double)args->n +
           4.0 * (double)args->rows;
}

int64_t td_embedding_bag_grad_f32_scratch(const td_embedding_bag_grad_f32_args *args) {
    (void)args;
    return 0;
}
