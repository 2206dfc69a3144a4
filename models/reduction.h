/* SPDX-License-Identifier: Apache-2.0
 * Gradients are summed over ranks while the backward pass runs: in buckets of whole blocks, each
 * offered when its last gradient is there, and added up behind the kernels of the phases that
 * follow (collectives/overlap.h). What is left is added up at the end.
 */
#ifndef TD_MODELS_REDUCTION_H
#define TD_MODELS_REDUCTION_H

#include "models/program.h"
#include "models/tensors.h"

typedef struct td_reduction td_reduction; /* opaque */

typedef struct td_reduction_place {
    td_program *program; /* with the whole backward pass */
    const td_tensors *tensors;
    const td_model_config *config;
    bool image;      /* the image tower trains */
    int first_phase; /* of the backward pass */
    td_comm *comm;   /* NULL while sizing */
    float *grads;    /* from element grads_first on */
    int64_t grads_first;
} td_reduction_place;

/* Adds the ops; phase: that after the backward pass. Returns the phase after it. *out is made once
 * and filled anew by later calls; running out of memory shows in td_reduction_status. */
int td_reduction_build(const td_reduction_place *place, int phase, td_reduction **out);
td_status td_reduction_status(const td_reduction *reduction);
void td_reduction_destroy(td_reduction *reduction);

/* Share of all elements so far that were added up before the end of the backward pass. */
double td_reduction_early(const td_reduction *reduction);

#endif
