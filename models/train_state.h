/* SPDX-License-Identifier: Apache-2.0
 * A training step's state, between train.c, which creates and runs it, and train_build.c, which
 * lays out its memory and its programs.
 */
#ifndef TD_MODELS_TRAIN_STATE_H
#define TD_MODELS_TRAIN_STATE_H

#include "models/reduction.h"
#include "models/tower.h"
#include "models/train.h"

/* The whole step as a program, and the towers of its micro-batches. */
typedef struct step_pass {
    td_program *program;
    td_tower *vision, *text; /* (accum) */
} step_pass;

/* With dropped patches a step has two forms. */
enum { WHOLE, MASKED, N_PASSES };

struct td_train {
    td_train_options options;
    td_tensors tensors;
    td_split split;
    td_rank *rank;
    td_team *team;
    td_comm *comm;
    step_pass passes[N_PASSES];
    int last; /* pass that ran last */
    td_arena arena;
    td_shard shard;
    td_update update;
    float *params, *ema;
    float *more_grads[8];  /* of micro-batches that wait to be added, by level */
    const float *features; /* given instead of images */
    int64_t activation_bytes;
    int64_t pass_bytes[2]; /* of activation_bytes: most that image and text tower plan */
    double *norm_slots;
    int64_t n_norm_slots;
    unsigned char *staging;
    int64_t staging_bytes;
    td_objective objective;
    td_reduction *reductions[N_PASSES]; /* while the backward pass runs; NULL: after it */
    float scale, bias, ema_weight;      /* what kernels read */
    td_block_sums total;
    double lr, grad_norm;
    int64_t steps_done;
    bool ask_stop;
};

/* Micro-batches of a step, at least 1. */
int64_t td_train_accum(const td_train *t);
/* Whether gradients are summed over ranks while the backward pass runs. Not with micro-batches,
 * which add up in one buffer, nor with ZeRO, where a rank needs its part only. */
bool td_train_reduces_early(const td_train *t);
bool td_train_trains_image(const td_train *t);
/* What the towers of one micro-batch are built from; kept: patches of an image, 0: all. */
td_build td_train_towers(const td_train *t, td_program *program, td_plan *activations,
                         int64_t kept);
/* Runs twice: with all bases NULL to measure, then for real, when the communicator exists. */
void td_train_build(td_train *t, td_plan *segment, td_plan *arena, td_plan *activations);

#endif
