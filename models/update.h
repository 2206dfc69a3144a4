/* SPDX-License-Identifier: Apache-2.0
 * Where gradients lie, and the ops that turn them into the next weights. There are two orders:
 *   late    all gradients are kept, in a buffer with the layout of the weights, for who needs them
 *           at once: sums over ranks, the norm that clips, micro-batches that add up
 *   early   a weight is updated in the phase after its gradient, which is then forgotten: the
 *           blocks of a tower share the memory of one block's gradients, those of its attention
 *           and of the patch embedding lie where its perceptron's did, and of the token
 *           embedding's only those of tokens that occur are written, where activations lay
 * Both give the same bits: the update of an element depends on nothing but that element.
 */
#ifndef TD_MODELS_UPDATE_H
#define TD_MODELS_UPDATE_H

#include "base/memory.h"
#include "models/optimizer.h"
#include "models/program.h"
#include "models/shard.h"
#include "models/tensors.h"

typedef struct td_update {
    const td_tensors *tensors;
    td_optimizer_kind kind;
    const td_shard *shard; /* the part that this rank updates; early, all */
    int64_t first;         /* element of the flat buffers: tensors before it are not trained */
    bool early;
    float *params;
    float *m, *v; /* moments of the shard; Lion has no second ones, v is NULL */
    float *grads;
    int64_t *at;           /* element of grads at which the gradient of each tensor starts */
    int64_t (*decayed)[2]; /* of the ops: ranges that decay; early, one a tensor */
    td_adamw_step adamw;   /* of the next update, that of its kind: set before its first op runs */
    td_lion_step lion;
} td_update;

/* Plans all behind `params`: gradients, moments, and the rest. */
void td_update_plan(td_update *update, td_plan *grads, td_plan *moments, td_plan *rest);

/* Floats of the gradients that are kept, and of them those of the image tower. */
int64_t td_update_grad_floats(const td_update *update, int64_t *image);

/* The gradient of a tensor in `grads`, a buffer like update->grads; NULL where that is. Early, the
 * token embedding has none. */
float *td_update_grad(const td_update *update, float *grads, td_role role, int64_t block);

/* Early: updates the tensors of `count` roles from `role` on, those that the model has, whose
 * gradients are at `grad`, or of one tensor those `rows` that have one. They are neighbours in the
 * flat buffer; only the first may decay. Late: nothing. */
void td_update_tensors(const td_update *update, td_program *program, int phase, td_role role,
                       int count, int64_t block, const float *grad, td_compact_rows rows,
                       const char *name);

/* Updates what td_update_tensors leaves: late the whole shard, early the scalars. Returns the phase
 * after it. */
int td_update_rest(const td_update *update, td_program *program, int phase);

#endif
