/* SPDX-License-Identifier: Apache-2.0
 * Encoding without training: batches of images, or of token rows, to normalised features. One team,
 * two programs that share the weights; buffers of one block serve all blocks.
 */
#ifndef TD_MODELS_ENCODER_H
#define TD_MODELS_ENCODER_H

#include "base/sha256.h"
#include "models/safetensors.h"
#include "models/tower.h"

typedef struct td_encoder_options {
    td_model_config config;
    td_loss loss; /* decides only whether a logit_bias is expected in the file */
    td_precision precision;
    int64_t batch; /* rows that one run encodes at most */
    int workers;
    const int *pu;                      /* PU of each worker, or NULL */
    bool shares_cpus;                   /* as td_team_options */
    bool keep_padding, keep_last_block; /* as td_train_options: the same features, more work */
    uint64_t seed;                      /* of the initial weights, when none are given */
} td_encoder_options;

typedef struct td_encoder td_encoder; /* opaque */

/* Loads the weights from an open file, or, with NULL, takes initial ones. Kernels must have been
 * selected. */
td_status td_encoder_create(const td_encoder_options *options, const td_safetensors *weights,
                            td_encoder **out);
void td_encoder_destroy(td_encoder *encoder);

/* z (rows, embed) of images (rows, 3, size, size) or ids (rows, context); rows <= batch. A sample's
 * feature depends on nothing else in the batch, and is the one that training computes. */
td_status td_encoder_images(td_encoder *encoder, const float *images, int64_t rows, float *z);
td_status td_encoder_texts(td_encoder *encoder, const int32_t *ids, int64_t rows, float *z);

/* scores (m, n) = x (m, embed) y (n, embed)^T, on the same team. */
td_status td_encoder_scores(td_encoder *encoder, const float *x, int64_t m, const float *y,
                            int64_t n, float *scores);

/* Of the image tower's weights. */
td_status td_encoder_image_sha256(const td_encoder *encoder, char hex[TD_SHA256_HEX]);

/* What decides the features of an image: that, and with bf16 products "-bf16" after it. */
enum { TD_TOWER_ID = TD_SHA256_HEX + 7 };
void td_tower_id(const char *image_sha256, td_precision precision, char id[TD_TOWER_ID]);

/* The program of a tower, for what it costs, and its team. */
td_program *td_encoder_program(td_encoder *encoder, bool image);
td_team *td_encoder_team(td_encoder *encoder);

const td_model_config *td_encoder_config(const td_encoder *encoder);

#endif
