/* SPDX-License-Identifier: Apache-2.0
 * The tensors of a model: names, shapes and places in the flat buffer, all from tensors.inc.
 *
 * Every buffer of a model's size (weights, gradients, moments) has the same layout: tensors in
 * table order, each starting at a multiple of 16 elements, zero between them. So one pass over the
 * flat buffer is one pass over all tensors.
 */
#ifndef TD_MODELS_TENSORS_H
#define TD_MODELS_TENSORS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sha256.h"
#include "base/status.h"
#include "models/config.h"

typedef enum td_loss { TD_LOSS_SOFTMAX, TD_LOSS_SIGMOID } td_loss;

/* The twelve tensors of a block, in this order for both towers, so that block code is written once.
 */
#define TD_BLOCK_ROLES(X, t)                                                                       \
    X(t##_ln1_w)                                                                                   \
    X(t##_ln1_b)                                                                                   \
    X(t##_qkv_w)                                                                                   \
    X(t##_qkv_b)                                                                                   \
    X(t##_out_w) X(t##_out_b) X(t##_ln2_w) X(t##_ln2_b) X(t##_fc1_w) X(t##_fc1_b) X(t##_fc2_w)     \
        X(t##_fc2_b)

/* What a tensor is for; a role that a family lacks has no tensor. */
#define TD_ROLE_MAP(X)                                                                             \
    X(v_class)                                                                                     \
    X(v_pos)                                                                                       \
    X(v_patch_w)                                                                                   \
    X(v_patch_b)                                                                                   \
    X(v_pre_w) X(v_pre_b) X(v_post_w) X(v_post_b) X(v_proj) X(v_probe) X(v_map_q_w) X(v_map_q_b)   \
        X(v_map_kv_w) X(v_map_kv_b) X(v_map_out_w) X(v_map_out_b) X(v_map_ln_w) X(v_map_ln_b)      \
            X(v_map_fc1_w) X(v_map_fc1_b) X(v_map_fc2_w) X(v_map_fc2_b) X(t_embed) X(t_pos)        \
                X(t_post_w) X(t_post_b) X(t_proj) X(t_proj_b) X(logit_scale) X(logit_bias)         \
                    TD_BLOCK_ROLES(X, v) TD_BLOCK_ROLES(X, t)

typedef enum td_role {
#define TD_ROLE_ENUM(role) TD_ROLE_##role,
    TD_ROLE_MAP(TD_ROLE_ENUM)
#undef TD_ROLE_ENUM
        TD_ROLE_COUNT
} td_role;

typedef enum td_init { TD_INIT_CONST, TD_INIT_NORMAL, TD_INIT_UNIFORM } td_init;

enum { TD_TENSOR_NAME = 72, TD_TENSOR_ALIGN = 16 };

typedef struct td_tensor {
    char name[TD_TENSOR_NAME];
    td_role role;
    int block;
    int n_dims;
    int64_t dims[4];
    int64_t count, offset; /* elements; first element in the flat buffer */
    bool decay;
    td_init init;
    double init_value; /* the constant, the standard deviation, or the bound */
} td_tensor;

typedef struct td_tensors {
    td_tensor *tensors;
    int count;
    int64_t n_elements; /* without padding: the number of parameters */
    int64_t flat;       /* elements of a flat buffer, a multiple of 16 */
    int64_t scalars; /* offset of logit_scale, which logit_bias follows: what lies before is summed
                        over ranks */
    int first[TD_ROLE_COUNT];  /* the tensor of a role (of block 0), -1: none */
    int stride[TD_ROLE_COUNT]; /* tensors from one block to the next */
    int64_t (*decayed)[2];     /* ranges of the flat buffer that decay, for the optimizer */
    int64_t n_decayed;
} td_tensors;

/* The first element behind the image tower, whose tensors come first. */
int64_t td_tensors_image_end(const td_tensors *tensors);

td_status td_tensors_create(const td_model_config *config, td_loss loss, td_tensors *out);
void td_tensors_destroy(td_tensors *tensors);

/* The tensor of a role; it must exist. */
const td_tensor *td_tensors_at(const td_tensors *tensors, td_role role, int64_t block);
bool td_tensors_has(const td_tensors *tensors, td_role role);
/* Whether a tensor belongs to the image tower; those come before all others. */
bool td_tensor_of_image(const td_tensor *tensor);
/* NULL when there is no tensor of that name. */
const td_tensor *td_tensors_find(const td_tensors *tensors, const char *name);

/* Initialisation is split into pieces that any worker may do in any order: piece i is [i * 16384,
 * ..) of the flat buffer, padding included. Draws are keyed by (seed, tensor, position), so the
 * result depends on the seed alone. */
int64_t td_tensors_pieces(const td_tensors *tensors);
void td_tensors_init(const td_tensors *tensors, uint64_t seed, float *flat, int64_t first,
                     int64_t last);

/* SHA-256 over the raw f32 of all tensors in table order, without padding. */
td_status td_tensors_sha256(const td_tensors *tensors, const float *flat, char hex[TD_SHA256_HEX]);
/* The same over the image tower's. */
td_status td_tensors_image_sha256(const td_tensors *tensors, const float *flat,
                                  char hex[TD_SHA256_HEX]);

#endif
