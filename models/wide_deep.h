/* SPDX-License-Identifier: Apache-2.0
 * A wide and deep classifier of a table (Cheng et al., 2016) as a program: logits = a weight of
 * every class for each id of the wide columns, summed over a bag a row + hidden layers over the
 * deep columns, among them looked-up embeddings; softmax cross-entropy; AdamW on all of it. The
 * wide table and the last layer share one bias.
 *
 * Work and memory are those of train.h: logical blocks, a tree of sums, one allreduce, so weights
 * do not depend on the layout where ranks divide blocks. Gradients of tables are summed from a row
 * an id, in order of the batch, by embedding_grad_f32; the sum over ranks takes whole tables, which
 * suits tables of thousands of rows, not of millions.
 */
#ifndef TD_MODELS_WIDE_DEEP_H
#define TD_MODELS_WIDE_DEEP_H

#include "data/example_table.h"
#include "models/evaluate.h"
#include "models/train.h"

typedef struct td_wide_deep td_wide_deep; /* opaque; one per rank */

typedef struct td_wide_deep_options {
    const td_table_spec *spec; /* borrowed */
    td_optimizer optimizer;
    int64_t batch, blocks;
    uint64_t seed; /* of the initial weights and of the order of rows */
} td_wide_deep_options;

typedef struct td_wide_deep_needs {
    int64_t segment_bytes, arena_bytes, scratch_bytes, n_params;
} td_wide_deep_needs;

/* How large the group's segments must be, before the ranks start; of which the first
 * TD_TRAIN_RESULT bytes are left to the caller. */
td_status td_wide_deep_measure(const td_wide_deep_options *options, int ranks,
                               td_wide_deep_needs *out);

td_status td_wide_deep_create(const td_wide_deep_options *options, td_rank *rank,
                              td_wide_deep **out);
void td_wide_deep_destroy(td_wide_deep *model);

/* What a step did: means over the batch, of the weights before it. */
typedef struct td_wide_deep_result {
    int64_t step, input_ns; /* input_ns: rank 0's columns, part of the step */
    double loss, accuracy, lr;
    bool stop; /* some rank was asked to stop; the same in all */
} td_wide_deep_result;

/* The next step on this rank's rows of the batch, which it reads itself. */
td_status td_wide_deep_step(td_wide_deep *model, td_table *table, td_wide_deep_result *out);
void td_wide_deep_ask_stop(td_wide_deep *model);
int64_t td_wide_deep_steps_done(const td_wide_deep *model);

/* On the held-out rows, by one rank alone. Chance: always the class that is most frequent there. */
typedef struct td_wide_deep_score {
    td_share accuracy;
    double loss;
} td_wide_deep_score;
td_status td_wide_deep_evaluate(td_wide_deep *model, td_table *table, td_wide_deep_score *out);

/* Weights, moments and what is needed to go on, as safetensors. resume: TD_EUSAGE names what
 * differs from the run that wrote the file. */
td_status td_wide_deep_save(const char *path, td_wide_deep *model);
td_status td_wide_deep_resume(const char *path, td_wide_deep *model);

td_status td_wide_deep_sha256(const td_wide_deep *model, char hex[TD_SHA256_HEX]);

/* For tests and tables of costs. */
td_team *td_wide_deep_team(td_wide_deep *model);
td_program *td_wide_deep_program(td_wide_deep *model);
float *td_wide_deep_params(td_wide_deep *model, int64_t *count);
const float *td_wide_deep_grads(const td_wide_deep *model); /* summed over ranks, after a step */

#endif
