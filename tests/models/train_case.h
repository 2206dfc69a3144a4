/* SPDX-License-Identifier: Apache-2.0
 * What the tests of models share: small training runs on any layout with inputs that depend on a
 * seed alone.
 */
#ifndef TD_TESTS_MODELS_TRAIN_CASE_H
#define TD_TESTS_MODELS_TRAIN_CASE_H

#include "models/train.h"

/* mu with the loss, batch 16 in 8 blocks. */
td_train_options td_case_options(const char *model, td_loss loss);

/* The global batch of a step: images from a normal distribution; captions [start] words [end]. */
typedef struct td_case_batch {
    float *images;
    int32_t *tokens;
} td_case_batch;
td_case_batch td_case_batch_make(const td_train_options *options, uint64_t seed);
void td_case_batch_free(td_case_batch *batch);

/* The outcome of a run, small enough for the start of a segment. */
typedef struct td_case_result {
    double loss[16];
    char sha256[TD_SHA256_HEX];
    uint64_t allocations_in_steps;
} td_case_result;

/* `steps` steps on a layout ("p2xt1:process"), with a new batch in each. */
td_status td_case_run(const td_train_options *options, const char *layout, int64_t steps,
                      td_case_result *out);

/* A training object in this process as the only rank, for tests that look inside: calls fn. */
typedef td_status td_case_fn(td_train *train, void *arg);
td_status td_case_inside(const td_train_options *options, int workers, td_case_fn *fn, void *arg);

/* A folder with an oracle, or NULL when there is none here, with a message that says so. */
const char *td_case_oracle(const char *name);

/* Fails the test, with td_error(), unless status is TD_OK. */
#define td_case_ok(expr) cr_assert_eq((expr), TD_OK, "%s: %s", #expr, td_error())

#endif
