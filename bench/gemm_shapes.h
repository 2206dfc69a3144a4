/* SPDX-License-Identifier: Apache-2.0
 * The products of training: what the linear layers of the model configurations multiply at the
 * batches they are measured at, and squares for comparison with other programs' figures.
 */
#ifndef TD_BENCH_GEMM_SHAPES_H
#define TD_BENCH_GEMM_SHAPES_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/args.h"

enum { TD_GEMM_SHAPE_NAME = 72 };

typedef struct td_gemm_shape {
    char name[TD_GEMM_SHAPE_NAME]; /* "vit-b-32.v.fc1.fwd-m1600-n3072-k768" */
    int64_t m, n, k, k_blocks;
    bool a_trans, b_trans;
    bool linear; /* of a model; else a square */
    bool quick;
} td_gemm_shape;

/* Shape `index`, from 0; false behind the last. A shape that an earlier layer has is left out. */
bool td_gemm_shape_at(int64_t index, td_gemm_shape *out);

/* The configurations, NULL behind the last, and the products of one block of each of its towers, as
 * a training step asks for them. */
const char *td_gemm_block_model(int model);
bool td_gemm_block_shape_at(int model, int64_t index, td_gemm_shape *out);

/* The product of such a shape: a and b as it says they are stored, without gaps, and c (m, n). */
td_gemm_f32_args td_gemm_shape_args(const td_gemm_shape *shape, const float *a, const float *b,
                                    float *c);

/* An operand: uniform in [-1, 1), with full significands. */
void td_gemm_fill(float *x, int64_t n, uint64_t stream);

#endif
