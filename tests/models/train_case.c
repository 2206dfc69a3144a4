/* SPDX-License-Identifier: Apache-2.0 */
#include "train_case.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/rng.h"

td_train_options td_case_options(const char *model, td_loss loss) {
    td_train_options options = {.loss = loss,
                                .batch = 16,
                                .blocks = 8,
                                .seed = 7,
                                .optimizer = {.lr = 1e-3,
                                              .beta1 = 0.9,
                                              .beta2 = 0.98,
                                              .eps = 1e-6,
                                              .weight_decay = 0.2,
                                              .grad_clip = 1.0,
                                              .schedule = TD_SCHEDULE_COSINE,
                                              .warmup = 2,
                                              .steps = 20}};
    td_case_ok(td_model_config_find(model, &options.config));
    return options;
}

td_case_batch td_case_batch_make(const td_train_options *options, uint64_t seed) {
    const td_model_config *config = &options->config;
    int64_t pixels = options->batch * 3 * config->image_size * config->image_size;
    td_case_batch batch = {
        .images = td_alloc((size_t)pixels * sizeof(float)),
        .tokens = td_alloc_zero((size_t)(options->batch * config->context) * sizeof(int32_t))};
    td_rng rng = td_rng_make(seed, TD_PURPOSE_TEST, 0);
    for (int64_t i = 0; i < pixels; i++) {
        batch.images[i] = (float)td_rng_normal(&rng);
    }
    for (int64_t s = 0; s < options->batch; s++) {
        int32_t *ids = batch.tokens + s * config->context;
        int64_t words = 1 + (int64_t)td_rng_below(&rng, (uint64_t)config->context - 2);
        ids[0] = (int32_t)config->vocab - 2;
        for (int64_t w = 1; w <= words; w++) {
            ids[w] = (int32_t)td_rng_below(&rng, (uint64_t)config->vocab - 2);
        }
        ids[words + 1 < config->context ? words + 1 : config->context - 1] =
            (int32_t)config->vocab - 1;
    }
    return batch;
}

void td_case_batch_free(td_case_batch *batch) {
    td_free(batch->images);
    td_free(batch->tokens);
}

typedef struct case_job {
    const td_train_options *options;
    int64_t steps;
} case_job;

static td_status run_steps(const case_job *job, td_train *train, td_case_result *result) {
    const td_model_config *config = &job->options->config;
    int64_t row = td_split_first_row(td_train_split(train), td_train_split(train)->rank);
    for (int64_t step = 0; step < job->steps; step++) {
        td_case_batch batch = td_case_batch_make(job->options, (uint64_t)step);
        uint64_t before = td_alloc_count();
        td_step_result done;
        td_status status =
            td_train_step(train, batch.images + row * 3 * config->image_size * config->image_size,
                          batch.tokens + row * config->context, &done);
        result->allocations_in_steps += td_alloc_count() - before;
        td_case_batch_free(&batch);
        TD_TRY(status);
        result->loss[step] = done.loss;
    }
    return td_train_sha256(train, result->sha256);
}

static td_status case_rank(td_rank *rank, void *arg) {
    const case_job *job = arg;
    td_train *train;
    TD_TRY(td_train_create(job->options, rank, &train));
    td_status status = run_steps(job, train, (td_case_result *)(void *)rank->segment);
    td_train_destroy(train);
    return status;
}

td_status td_case_run(const td_train_options *options, const char *layout, int64_t steps,
                      td_case_result *out) {
    td_train_needs needs;
    td_group_options group = {.deadline_ns = INT64_C(20000000000)};
    TD_TRY(td_layout_parse(layout, &group.layout));
    group.layout.over = true; /* these tests ask for more workers than some machines have */
    TD_TRY(td_train_measure(options, group.layout.ranks, &needs));
    group.segment_bytes = (size_t)needs.segment_bytes;
    case_job job = {options, steps};
    return td_group_run_result(&group, case_rank, &job, out, sizeof(*out));
}

typedef struct inside_job {
    const td_train_options *options;
    td_case_fn *fn;
    void *arg;
} inside_job;

static td_status inside_rank(td_rank *rank, void *arg) {
    inside_job *job = arg;
    td_train *train;
    TD_TRY(td_train_create(job->options, rank, &train));
    td_status status = job->fn(train, job->arg);
    td_train_destroy(train);
    return status;
}

td_status td_case_inside(const td_train_options *options, int workers, td_case_fn *fn, void *arg) {
    td_train_needs needs;
    TD_TRY(td_train_measure(options, 1, &needs));
    td_group_options group = {.layout = {.ranks = 1, .workers = workers},
                              .segment_bytes = (size_t)needs.segment_bytes};
    char text[32];
    snprintf(text, sizeof(text), "p1xt%d", workers);
    TD_TRY(td_layout_parse(text, &group.layout));
    group.layout.over = true;
    inside_job job = {options, fn, arg};
    return td_group_run(&group, inside_rank, &job);
}

const char *td_case_oracle(const char *name) {
    static char path[4096];
    const char *folder = getenv("TD_ORACLES");
    snprintf(path, sizeof(path), "%s/%s", folder == NULL ? TD_ORACLES_DEFAULT : folder, name);
    if (access(path, R_OK) == 0) {
        return path;
    }
    fprintf(stderr, "skipped: no oracle at %s (set TD_ORACLES)\n", path);
    return NULL;
}
