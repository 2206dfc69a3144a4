/* SPDX-License-Identifier: Apache-2.0
 * The two towers as ops of a program. Both are stacks of the same pre-norm block; they differ in
 * how tokens come in and how one row per sample comes out. The forward pass keeps what the backward
 * pass needs; without training all blocks share one set of buffers.
 *
 * Sums over the batch run over `blocks` equal groups of consecutive samples, each sequential,
 * combined by a balanced binary tree (kernels/kernel.h); with the sums over ranks that follow they
 * do not depend on the layout.
 */
#ifndef TD_MODELS_TOWER_H
#define TD_MODELS_TOWER_H

#include "base/memory.h"
#include "models/config.h"
#include "models/program.h"
#include "models/tensors.h"

/* Where a tower is built: run the same code twice, with the plan's base NULL to size and then for
 * real. */
typedef struct td_build {
    td_program *program;
    td_plan *plan;
    const td_model_config *config;
    const td_tensors *tensors;
    float *params;  /* flat buffers; NULL while sizing */
    float *grads;   /* NULL also without training */
    int64_t rows;   /* samples of this rank, a multiple of blocks */
    int64_t blocks; /* logical blocks they are */
    bool training;
} td_build;

/* What one block keeps. x is its input, (rows * tokens, width). */
typedef struct td_block_state {
    float *x, *h1, *mean1, *rstd1, *qkv, *o, *lse;
    float *x2, *h2, *mean2, *rstd2, *pre, *act;
} td_block_state;

typedef struct td_tower {
    const td_tower_config *shape;
    char tag;    /* 'v' or 't', first letter of op names */
    td_role ln1; /* the first of the twelve roles of a block */
    int64_t tokens;
    bool causal;
    td_block_state blocks[TD_MODEL_MAX_LAYERS];
    float *out;                             /* of the last block */
    const int32_t *ids;                     /* text: (rows, context) */
    float *patches, *embedded;              /* vision: im2col and its product */
    float *tokens_in, *mean_pre, *rstd_pre; /* vision, clip: input of ln_pre */
    int32_t *order, *start;                 /* text: positions by token id */
    float *pooled, *mean_post, *rstd_post,
        *normed; /* rows of ln_post: pooled ones, or all tokens in siglip's vision */
    struct {
        float *probes, *q, *kv, *o, *lse, *y, *mean, *rstd, *h, *pre, *act;
    } map;                     /* attention pooling */
    float *feature, *inv_norm; /* (rows, embed) before l2 normalisation, and 1 / norm */
    const float *z;            /* normalised */
    float *dx, *dh, *dx2,
        *dwide; /* gradients: (tokens, width) three times, and max(3 width, mlp) */
    float *dfeature, *dnormed,
        *dpooled; /* gradients on the way from the feature to the pooled rows */
} td_tower;

/* Forward from pixels (images is patched into the op "v.im2col" before every run) to normalised
 * features z (rows, embed), written where the caller wants them. Returns the first phase after. */
int td_vision_forward(const td_build *build, td_tower *tower, int phase, float *z);
int td_text_forward(const td_build *build, td_tower *tower, int phase, const int32_t *ids,
                    float *z);

/* Backward from dz (rows, embed) to all gradients of the tower. */
int td_vision_backward(const td_build *build, td_tower *tower, int phase, const float *dz);
int td_text_backward(const td_build *build, td_tower *tower, int phase, const float *dz);

#endif
