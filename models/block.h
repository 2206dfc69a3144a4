/* SPDX-License-Identifier: Apache-2.0
 * The stack of pre-norm transformer blocks that both towers are made of.
 */
#ifndef TD_MODELS_BLOCK_H
#define TD_MODELS_BLOCK_H

#include "models/tower.h"

/* The tower's buffers for this build; the first block's input is x (rows, width), and tower->wide
 * has room for so many floats of patches. Gives tower->out (rows, width), or, pruned, tower->pooled
 * (samples, width), both filled by td_stack_forward. */
void td_stack_plan(const td_build *build, td_tower *tower, float *x, int64_t patches);
int td_stack_forward(const td_build *build, td_tower *tower, int phase);

/* From the gradient of tower->out in tower->dx, or of tower->pooled in tower->dpooled, to that of x
 * in tower->dx. */
int td_stack_backward(const td_build *build, td_tower *tower, int phase);

#endif
