/* SPDX-License-Identifier: Apache-2.0
 * Layers: one or a few ops each, forward and backward, with their tensors looked up by role. A
 * linear layer's bias, a norm's offset are the role after their weight's (tensors.h). Every
 * function returns the phase after its ops.
 */
#ifndef TD_MODELS_LAYER_H
#define TD_MODELS_LAYER_H

#include "models/tower.h"

/* Where a layer stands: op names are "v.3.qkv" inside block 3 of the vision tower, "v.proj" outside
 * (block -1). */
typedef struct td_layer {
    const td_build *build;
    char tag;
    int64_t block;
    const td_sequences *seq; /* of rows that change from run to run; NULL: they do not */
} td_layer;

/* `at` for rows of a tower's token matrix. */
static inline td_layer td_layer_of(const td_build *build, const td_tower *tower, int64_t block) {
    return (td_layer){build, tower->tag, block, tower->packed ? &tower->seq : NULL};
}

/* base + offset, or NULL while sizing: arithmetic on a null pointer is undefined. */
static inline float *td_at(float *base, int64_t offset) {
    return base == NULL ? NULL : base + offset;
}

/* An operand in f32; the same from `offset` elements on. */
static inline td_operand td_f32(float *matrix) {
    return (td_operand){matrix, NULL};
}

static inline td_operand td_operand_at(td_operand base, int64_t offset) {
    return (td_operand){td_at(base.f32, offset), base.bf16 == NULL ? NULL : base.bf16 + offset};
}

/* A tensor's weights and gradients; NULL for a role the model lacks. */
float *td_layer_weight(const td_build *build, td_role role, int64_t block);
float *td_layer_grad(const td_build *build, td_role role, int64_t block);

/* FMA chains that a product over k features of a tower `width` wide is made of. */
int64_t td_layer_chains(int64_t width, td_precision precision, int64_t k);

int td_layer_op(const td_layer *at, int phase, td_op_id op, const void *args, const char *family,
                const char *name);

/* y (m, n) = act(x (m, k) W^T + c) + residual; preact keeps the value before act. first: the first
 * of the weight's output features that are computed. */
typedef struct td_linear_extra {
    td_operand y;
    int64_t first;
    td_act act;
    td_operand preact;
    const float *residual;
} td_linear_extra;
int td_layer_linear(const td_layer *at, int phase, const char *name, int64_t m, int64_t k,
                    int64_t n, td_operand x, td_role weight, const td_linear_extra *extra);

/* dW = dy^T x and dc = column sums of dy; dx = dy W, times act'(preact) when act is not NONE. */
int td_layer_linear_grad_w(const td_layer *at, int phase, const char *name, int64_t m, int64_t k,
                           int64_t n, td_operand x, td_operand dy, td_role weight);
int td_layer_linear_grad_x(const td_layer *at, int phase, const char *name, int64_t m, int64_t k,
                           int64_t n, td_operand dy, td_role weight, td_operand dx, td_act act,
                           td_operand preact);

/* The same for an attention's input projection, packed [q | k | v] or [k | v], and of those `count`
 * parts from the first that dy (m, lddy) starts with. The bias of the keys adds the same to all
 * scores of a query, which softmax does not see: its gradient is zero, and is set so. Computed, it
 * would be rounding noise, and AdamW, which divides by the noise's own size, would make a drift of
 * it. */
typedef struct td_parts {
    int64_t all, first, count;
} td_parts;
int td_layer_attention_in_grad_w(const td_layer *at, int phase, const char *name, int64_t m,
                                 int64_t width, td_parts parts, td_operand x, float *dy,
                                 int64_t lddy, td_role weight);

/* A projection whose weight is stored (in, out), without bias: open_clip's proj and
 * text_projection. */
bool td_layer_stored_in_out(const td_build *build, td_role weight);
int td_layer_project(const td_layer *at, int phase, const char *name, int64_t m, int64_t k,
                     int64_t n, const float *x, td_role weight, float *y);
int td_layer_project_grad(const td_layer *at, int phase, const char *name, int64_t m, int64_t k,
                          int64_t n, const float *x, const float *dy, td_role weight, float *dx);

/* y = act(x) of n elements, those of a hidden layer. */
int td_layer_act(const td_layer *at, int phase, const char *name, int64_t n, td_act act,
                 td_operand x, td_operand y);

int td_layer_norm(const td_layer *at, int phase, const char *name, int64_t rows, int64_t cols,
                  const float *x, td_role weight, td_operand y, float *mean, float *rstd);
int td_layer_norm_grad(const td_layer *at, int phase, const char *name, int64_t rows, int64_t cols,
                       const float *dy, const float *x, const float *mean, const float *rstd,
                       td_role weight, const float *residual, float *dx);

/* The tensors of `count` roles from `weight` on have their gradients and are not read again in this
 * step: td_update_tensors. Returns the phase after it, or `phase` when they are updated later. */
int td_layer_update(const td_layer *at, int phase, const char *name, td_role weight, int count);

/* The gradient of a tensor that is added to every sample: sums of rows of x. */
int td_layer_colsum(const td_layer *at, int phase, const char *name, int64_t rows, int64_t cols,
                    int64_t ldx, const float *x, td_role role);

/* y (samples, width): the pooled rows of x. And back: dx (rows, lddx), zero but for pooled rows. */
int td_layer_pool(const td_layer *at, int phase, const char *name, const td_tower *tower,
                  const float *x, float *y);
int td_layer_unpool(const td_layer *at, int phase, const char *name, const td_tower *tower,
                    const float *dy, float *dx, int64_t lddx);
int td_layer_l2norm(const td_layer *at, int phase, td_tower *tower, float *z);
int td_layer_l2norm_grad(const td_layer *at, int phase, td_tower *tower, const float *dz);

td_attention_f32_args td_layer_map_attention(const td_build *build, const td_tower *tower);

#endif
