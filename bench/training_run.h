/* SPDX-License-Identifier: Apache-2.0
 * How `tandem train` and `tandem table` start their ranks and tell how a run ended.
 */
#ifndef TD_BENCH_TRAINING_RUN_H
#define TD_BENCH_TRAINING_RUN_H

#include "models/train.h"

/* What rank 0 leaves for the process that started it, at the start of its segment. */
typedef struct td_training_result {
    int64_t steps_done;
    td_status check; /* a failed check is a result, not a failed rank */
    bool interrupted, saved;
    char sha256[TD_SHA256_HEX];
    char message[512];
} td_training_result;
_Static_assert(sizeof(td_training_result) <= TD_TRAIN_RESULT, "results fit the reserved bytes");

td_training_result *td_training_result_of(td_rank *rank);

/* A failed check is reported through the result, so that it ends as such and not as a lost rank;
 * every rank finds the same. Any other status comes back as it is. */
td_status td_training_keep_check(td_training_result *result, td_status status);

/* Runs fn in every rank of the layout, with that many bytes of segment, and prints what was saved
 * and the weights' hash. TD_EINTERRUPTED when a signal ended it, with what can be done about it.
 * save: where rank 0 saves, or NULL. */
td_status td_training_run(const td_layout *layout, int64_t segment_bytes, td_rank_fn *fn, void *arg,
                          const char *save);

#endif
