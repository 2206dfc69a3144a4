/* SPDX-License-Identifier: Apache-2.0
 * Checks a few training steps against what another implementation computed (docs/verify.md; made by
 * tools/peers/openclip_twin.py). A folder holds
 *   config.json           an open_clip configuration
 *   optim.json            lr, beta1, beta2, eps, weight_decay, grad_clip, schedule, warmup, loss
 *                         (clip | siglip), steps; batch: pairs of a step, all when it is not there
 *   weights.safetensors   the weights before, f32
 *   batch.safetensors     images (samples, 3, size, size), tokens (samples, context): batch after
 *                         batch, each step the next, again from the first after the last
 *   expected.safetensors  loss/<k> of every step, grad/<name> of the first, weights/<name> after
 *                         the last; f32 or f64
 */
#ifndef TD_MODELS_VERIFY_H
#define TD_MODELS_VERIFY_H

#include <stdio.h>

#include "models/safetensors.h"
#include "models/train.h"

/* Relative errors that pass: |difference| / |expected| for a loss, 2-norms for a tensor. */
#define TD_VERIFY_LOSS     1e-6
#define TD_VERIFY_GRAD     1e-4
#define TD_VERIFY_GRAD_F64 2e-5 /* of gradients that are given in f64 */
#define TD_VERIFY_WEIGHTS  1e-4

enum { TD_VERIFY_PATH = 4096 };

/* The path of one file of a folder. */
td_status td_verify_path(const char *folder, const char *file, char path[TD_VERIFY_PATH]);

/* What the folder asks for. blocks: 0 for the largest power of two up to 8 that divides its batch.
 */
td_status td_verify_options(const char *folder, int64_t blocks, td_train_options *out);

/* A folder's tensors, closed also when one did not open. */
typedef struct td_verify_files {
    td_safetensors weights, batch, expected;
} td_verify_files;
td_status td_verify_open(const char *folder, td_verify_files *out);
void td_verify_close(td_verify_files *files);

/* Samples of batch.safetensors, those of all steps together. */
td_status td_verify_samples(const td_safetensors *batch, int64_t *out);

/* Whether all files are there and hold what the model needs, and nothing else: TD_EIO or TD_EINPUT
 * names file, tensor and element. */
td_status td_verify_check(const char *folder, const td_train_options *options);

/* Runs the folder's steps in this rank and compares; rank 0 writes the table to `out` (NULL: none).
 * TD_ECHECK names the first loss or tensor beyond its bound. worst gets the largest error of each
 * kind. */
typedef struct td_verify_worst {
    double loss, grad, weights, grad_bound;
} td_verify_worst;
td_status td_verify_run(const char *folder, td_train *train, FILE *out, td_verify_worst *worst);

/* How far two tensors are apart. */
typedef struct td_difference {
    double relative; /* 2-norm of the difference over the 2-norm of expected; absolute when that is
                        0 */
    double cosine;
    double max_ulp; /* largest distance of an element in f32 units in the last place of the expected
                       value */
} td_difference;
td_difference td_compare(const float *found, const double *expected, int64_t n);

#endif
