/* SPDX-License-Identifier: Apache-2.0
 * What turns a gradient into a weight's next value: rates by step, and the scalars of the update.
 */
#ifndef TD_MODELS_OPTIMIZER_H
#define TD_MODELS_OPTIMIZER_H

#include <stdint.h>

#include "kernels/kernel.h"

typedef enum td_optimizer_kind { TD_OPTIMIZER_ADAMW, TD_OPTIMIZER_LION } td_optimizer_kind;
typedef enum td_schedule { TD_SCHEDULE_CONST, TD_SCHEDULE_COSINE } td_schedule;

/* Of Lion (Chen et al., 2023), which steps by signs, beta1 weighs the momentum against a gradient
 * in the sum whose sign is taken, beta2 in the momentum that is kept; it has no eps. */
typedef struct td_optimizer {
    td_optimizer_kind kind;
    double lr, beta1, beta2, eps, weight_decay;
    double grad_clip; /* of the global 2-norm; 0: none */
    td_schedule schedule;
    int64_t warmup, steps; /* steps: where the cosine reaches zero */
} td_optimizer;

/* The learning rate of a step, counted from 0: linear warm-up to lr, then constant or half a cosine
 * to zero. */
double td_optimizer_lr(const td_optimizer *optimizer, int64_t step);

/* The scalars of AdamW, or of Lion, for a step, counted from 0. */
td_adamw_step td_optimizer_adamw(const td_optimizer *optimizer, int64_t step, double grad_scale);
td_lion_step td_optimizer_lion(const td_optimizer *optimizer, int64_t step, double grad_scale);

/* "adamw" or "lion". */
const char *td_optimizer_name(td_optimizer_kind kind);

#endif
