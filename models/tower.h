/* SPDX-License-Identifier: Apache-2.0
 * The two towers as ops of a program. Both are stacks of the same pre-norm block (block.h); they
 * differ in how tokens come in and how one row per sample comes out.
 *
 * A tower is planned once (td_*_plan: what it is, and the buffers of its inputs) and may then be
 * built into a program any number of times: forward alone, whose blocks share one set of buffers,
 * or forward and backward, where the forward pass keeps what the backward pass needs. Activations
 * come from the build's plan, so two passes that never overlap may be given the same memory.
 *
 * Sums over the batch run over `blocks` equal groups of consecutive samples, each sequential,
 * combined by a balanced binary tree (kernels/kernel.h); with the sums over ranks that follow they
 * do not depend on the layout. Rows of zeros may be left out of such sums, and these are:
 *   pack    a causal text tower pooled at its end token has no rows behind that token: nothing
 *           before it sees them, and their gradients are zero
 *   prune   where one token of a sample is pooled, the last block computes the others' keys and
 *           values only
 * Both give the bits of the whole computation in f32. In bf16 each is an answer of its own, as
 * rows that are left out change which rows make a pair (kernels/kernel.h).
 */
#ifndef TD_MODELS_TOWER_H
#define TD_MODELS_TOWER_H

#include "base/memory.h"
#include "models/config.h"
#include "models/program.h"
#include "models/tensors.h"
#include "models/update.h"

enum { TD_MAX_BLOCKS = 64 };

/* Where a tower is built: run the same code twice, with the plans' bases NULL to size and then for
 * real. */
typedef struct td_build {
    td_program *program;
    td_plan *plan; /* activations */
    const td_model_config *config;
    const td_tensors *tensors;
    float *params;           /* flat; NULL while sizing */
    float *grads;            /* as update->grads; NULL also without training */
    const td_update *update; /* NULL without training */
    td_precision precision;
    int64_t rows;   /* samples, a multiple of blocks */
    int64_t blocks; /* logical blocks they are */
    bool training;  /* the forward pass keeps what the backward pass needs */
    bool prune, pack;
    bool recompute; /* keep each block's input only, and run it again before its backward pass */
    int64_t kept;   /* patches of each image that are embedded; 0: all */
} td_build;

/* The token matrix of a tower: sample s owns rows [starts[s], starts[s + 1]). Without padding they
 * change from run to run. */
typedef struct td_sequences {
    int64_t rows;
    int64_t hidden;  /* elements of a perceptron's hidden layer: rows times its width */
    int64_t *starts; /* (samples + 1) */
    int64_t *pooled; /* (samples): the row that is pooled */
    int64_t *seen;   /* (samples): rows of its sample that the pooled row sees; NULL: all */
    int64_t blocks[TD_MAX_BLOCKS + 1]; /* first row of each logical block, and the end */
} td_sequences;

/* A matrix that only products and attention read: in f32, or rounded to bf16 where they would round
 * it anyway. One of the two is NULL, and both are while sizing. */
typedef struct td_operand {
    float *f32;
    uint16_t *bf16;
} td_operand;

/* What one block keeps, and where it finds what blocks share: h1, h2 and act of whole blocks are
 * the tower's h and wide. x is the input, (rows, width). In a pruned block qkv holds keys and
 * values, (rows, 2 width), and what follows attention is of pooled rows. The backward pass turns
 * pre into its own gradient. */
typedef struct td_block_state {
    float *x, *mean1, *rstd1, *o, *lse, *x2, *mean2, *rstd2;
    td_operand h1, qkv, h2, pre, act;
} td_block_state;

typedef struct td_tower {
    const td_tower_config *shape;
    char tag;    /* 'v' or 't', first letter of op names */
    td_role ln1; /* the first of the twelve roles of a block */
    int64_t samples, n_blocks;
    int64_t tokens;    /* of a sample, at most */
    int64_t positions; /* rows of the positional embedding */
    bool causal;
    bool end_token; /* text: pooled at the largest id, not at the last position */
    bool packed;    /* rows change from run to run */
    bool pruned;    /* the last block gives pooled rows */
    td_sequences seq;
    td_block_state blocks[TD_MODEL_MAX_LAYERS];
    float *out; /* of the last block */
    struct {
        float *x, *h1, *q, *dq;
    } last;                         /* of a pruned block: pooled rows of x, of ln1, queries */
    const float *images;            /* vision: set before a run */
    int64_t kept, n_patches;        /* vision: patches embedded of each image, and all */
    int32_t *keep;                  /* vision: (rows, kept), NULL when none is dropped */
    int32_t *ids;                   /* text: of each row */
    int32_t *position;              /* of each row */
    int32_t *order, *start;         /* text: rows by token id */
    int32_t *pos_order, *pos_start; /* rows by position */
    float *tokens_in, *mean_pre, *rstd_pre; /* vision, clip: input of ln_pre */
    float *pooled, *mean_post, *rstd_post,
        *normed; /* rows of ln_post: pooled ones, or all tokens in siglip's vision */
    struct {
        float *probes, *q, *kv, *o, *lse, *y, *mean, *rstd, *h, *pre, *act;
    } map;                     /* attention pooling */
    float *feature, *inv_norm; /* (rows, embed) before l2 normalisation, and 1 / norm */
    const float *z;            /* normalised */
    float *h, *wide;           /* (rows, width), (rows, max(3 width, mlp)): what no block keeps;
                                  before the first block and after it, wide holds the patches */
    float *dx, *dh;            /* gradients, (rows, width) */
    float *dfeature, *dnormed,
        *dpooled; /* gradients on the way from the feature to the pooled rows */
} td_tower;

/* What the towers are for these options, and their input buffers. */
void td_vision_plan(const td_build *build, td_tower *tower, td_plan *inputs);
void td_text_plan(const td_build *build, td_tower *tower, td_plan *inputs);

/* Forward from tower->images to normalised features z (rows, embed), or from the tokens set last;
 * returns the first phase after. */
int td_vision_forward(const td_build *build, td_tower *tower, int phase, float *z);
int td_text_forward(const td_build *build, td_tower *tower, int phase, float *z);

/* Backward from dz (rows, embed) to all gradients of the tower. */
int td_vision_backward(const td_build *build, td_tower *tower, int phase, const float *dz);
int td_text_backward(const td_build *build, td_tower *tower, int phase, const float *dz);

/* Bytes that a forward pass alone of one tower plans, built as `like` says. */
td_status td_tower_forward_bytes(const td_build *like, bool image, int64_t *out);

/* Before a run. tokens (rows, context): rows of the token matrix follow from them. */
void td_text_set_tokens(td_tower *tower, const int32_t *tokens);

/* Chooses the patches that are kept: without replacement, keyed by (seed, step, sample), so that a
 * sample keeps the same ones wherever and however often it is computed. */
void td_vision_set_patches(td_tower *tower, uint64_t seed, int64_t step, int64_t first_sample);

#endif
