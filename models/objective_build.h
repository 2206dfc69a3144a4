/* SPDX-License-Identifier: Apache-2.0
 * Between objective.c, which plans and sums, and the two families of ways: by block pairs
 * (objective_pairs.c) and by rows against the whole batch (objective_rows.c).
 */
#ifndef TD_MODELS_OBJECTIVE_BUILD_H
#define TD_MODELS_OBJECTIVE_BUILD_H

#include "models/objective.h"

bool td_objective_by_pairs(const td_objective *objective);
int td_objective_build_pairs(td_objective *objective, td_program *program, td_plan *arena,
                             int phase);
int td_objective_build_rows(td_objective *objective, td_program *program, int phase);

/* Rows of `row` floats of all ranks, from slots to all. */
int td_objective_gather(td_objective *objective, td_program *program, int phase, float *slots,
                        float *all, int64_t row, const char *name);
int td_objective_gather_features(td_objective *objective, td_program *program, int phase,
                                 td_features *features);

/* Of own blocks. */
td_block_sums *td_objective_sums(const td_objective *objective);

#endif
