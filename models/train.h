/* SPDX-License-Identifier: Apache-2.0
 * Training: one object per rank that owns its team, its communicator, all memory and the program of
 * one step. Everything is allocated when it is created; a step allocates nothing.
 *
 *   td_train_needs     how large the group's segments must be, before the ranks start
 *   td_train_create    in every rank
 *   td_train_step      in every rank, with that rank's rows of the global batch
 *
 * Weights after n steps depend on options and data alone, not on the layout, when ranks divide
 * blocks (td_split_even); otherwise they depend on the number of ranks.
 */
#ifndef TD_MODELS_TRAIN_H
#define TD_MODELS_TRAIN_H

#include "base/memory.h"
#include "base/sha256.h"
#include "data/augment.h"
#include "models/objective.h"
#include "models/optimizer.h"
#include "models/program.h"
#include "models/shard.h"
#include "models/tensors.h"
#include "threads/group.h"

/* All zero but the first six is the plain step. None of keep_padding, keep_last_block, recompute,
 * accum, zero, sum_after and keep_gradients changes a bit of the result, except that in bf16 the
 * first two do (tower.h). keep_padding, keep_last_block   compute what pack and prune leave out
 * (tower.h) recompute      keep only the input of each block and run it again before its backward
 * pass accum          micro-batches that the step is cut into, a power of two that divides a rank's
 *                  logical blocks; 0 is 1. Features of all are computed first, without keeping
 *                  activations, then the loss of the whole batch, then each micro-batch is run
 *                  again with its backward pass (Gao et al., GradCache, 2021): one forward pass
 *                  more, activations of one micro-batch
 *   freeze_image   the image tower has no backward pass, no gradients and no moments, and its
 *                  weights stay (Zhai et al., LiT, 2022)
 *   image_features the step is given the image tower's normalised features instead of images;
 *                  implies freeze_image
 *   patch_mask     share of each image's patches that is dropped before they are embedded (Li et
 *                  al., FLIP, 2023), but not in the last unmask_steps of optimizer.steps
 *   augment        what was done to the images that a step is given: checkpoints name it, and are
 *                  resumed with the same only
 *   zero           every rank updates a part of the weights and keeps the moments of that part
 *                  (shard.h): gradients are reduced and scattered, weights gathered
 *   sum_after      gradients of ranks are added up after the backward pass, not behind it
 *                  (reduction.h): what is gained is measured with it
 *   ema            decay of a moving average of the weights; 0: none
 *   keep_gradients td_train_grads has them all after a step. Otherwise a single rank that neither
 *                  clips nor accumulates updates each weight when its gradient is there, and
 *                  forgets it (update.h) */
typedef struct td_train_options {
    td_model_config config;
    td_loss loss;
    td_precision precision;
    td_optimizer optimizer;
    int64_t batch, blocks; /* global batch, logical blocks it is split into */
    uint64_t seed;         /* of the initial weights and of dropped patches */
    bool keep_padding, keep_last_block, recompute, freeze_image, image_features;
    bool zero, sum_after;
    int64_t accum;
    double patch_mask;
    int64_t unmask_steps;
    double ema;
    td_augment augment;
    bool keep_gradients;
} td_train_options;

/* As td_model_nominal_flops, of a step with these options per pair: three times the forward pass of
 * a tower that trains, of the patches that are kept, once that of a frozen one, nothing where
 * features are given. Their ratio is the speed-up that counting predicts. */
double td_train_nominal_flops(const td_train_options *options);

/* The first TD_TRAIN_RESULT bytes of each segment are left to the caller, for td_group_run_result.
 */
enum { TD_TRAIN_RESULT = 4096 };

/* Bytes that a tower has of its own. forward is what a forward pass alone needs; backward is what
 * is planned on top for a backward pass, activations that are kept and gradients of activations:
 * zero for a tower that has none. */
typedef struct td_tower_needs {
    int64_t params, average, grads, moments, forward, backward;
} td_tower_needs;

/* Bytes of a rank's segment, of the rest of its memory, and of one worker's scratch. TD_EUSAGE when
 * batch, blocks and ranks do not fit together. Kernels must have been selected. */
typedef struct td_train_needs {
    int64_t segment_bytes, arena_bytes, scratch_bytes;
    int64_t activation_bytes; /* of arena_bytes, what the towers keep from forward to backward */
    int64_t n_params, n_trained;
    td_tower_needs image, text; /* text: the scalars too */
    int64_t other_bytes;        /* of segment and arena: loss, exchanges, indices, padding */
} td_train_needs;
td_status td_train_measure(const td_train_options *options, int ranks, td_train_needs *out);

typedef struct td_train td_train; /* opaque */

/* Creates the team on the rank's PUs and initial weights from the seed. All ranks call it, with
 * equal options. */
td_status td_train_create(const td_train_options *options, td_rank *rank, td_train **out);
void td_train_destroy(td_train *train);

/* What a step did. loss is that of the weights before the step; grad_norm is computed only when
 * clipping, else 0. */
typedef struct td_step_result {
    int64_t step; /* that was done, from 0 */
    double loss, lr, scale, bias, grad_norm;
    bool stop; /* some rank was asked to stop; the same in all */
} td_step_result;

/* One step on this rank's rows: images (rows, 3, size, size), or features (rows, embed) where the
 * options say so, and tokens (rows, context), borrowed during the call. A token outside the
 * vocabulary is TD_EINPUT with sample and position. A failed rank: its status, in every rank. */
td_status td_train_step(td_train *train, const float *images, const int32_t *tokens,
                        td_step_result *out);

/* Makes the next step's result say stop in every rank. */
void td_train_ask_stop(td_train *train);

/* Steps done so far; set when a checkpoint is loaded. */
int64_t td_train_steps_done(const td_train *train);
void td_train_set_steps_done(td_train *train, int64_t steps);

const td_train_options *td_train_get_options(const td_train *train);
const td_tensors *td_train_tensors(const td_train *train);
const td_split *td_train_split(const td_train *train);
td_team *td_train_team(td_train *train);
td_program *td_train_program(td_train *train); /* of the last step */

/* Flat buffers: weights, and their moving average (NULL without), td_tensors.flat elements; and
 * those that only trained tensors have, which start with element td_train_first: gradients, summed
 * over ranks, not clipped, after a step (with keep_gradients), and moments (1: m, 2: v). With zero,
 * gradients are summed and moments there in this rank's part only (td_train_shard), whose first
 * moment comes first. */
float *td_train_params(td_train *train);
float *td_train_ema(td_train *train);
int64_t td_train_first(const td_train *train);
float *td_train_grads(td_train *train);
float *td_train_moments(td_train *train, int order);
int td_train_n_moments(const td_train *train); /* 2, with Lion 1 */
const td_shard *td_train_shard(const td_train *train);

/* Share of gradients that this rank summed over ranks before its backward pass ended, of all steps;
 * 0 where they are summed after it. */
double td_train_overlap(const td_train *train);

/* The moments of all ranks, in full, (flat - first) elements; and this rank's part out of such. No
 * rank may be in a step that updates. */
void td_train_collect_moments(const td_train *train, int order, float *all);
void td_train_take_moments(td_train *train, int order, const float *all);

/* Adds this rank's arena and segment: weights, gradients, moments, activations. */
td_status td_train_pages(const td_train *train, td_pages *out);

/* Starts the moving average anew, from the weights: after they were loaded. */
void td_train_reset_ema(td_train *train);

td_status td_train_sha256(const td_train *train, char hex[TD_SHA256_HEX]);

#endif
