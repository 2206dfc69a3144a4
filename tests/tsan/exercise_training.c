/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "models/train.h"
#include "tests/tsan/exercises.h"

enum { STEPS = 2 };

/* This rank's rows of a batch that depends on nothing but the sample. */
static void fill_rows(const td_train *train, float *images, int32_t *tokens) {
    const td_train_options *options = td_train_get_options(train);
    const td_split *split = td_train_split(train);
    int64_t size = options->config.image_size, pixels = 3 * size * size;
    int64_t context = options->config.context, first = td_split_first_row(split, split->rank);
    for (int64_t row = 0; row < td_split_rows(split, split->rank); row++) {
        td_rng rng = td_rng_make(3, TD_PURPOSE_TEST, (uint64_t)(first + row));
        for (int64_t i = 0; i < pixels; i++) {
            images[row * pixels + i] = (float)td_rng_normal(&rng);
        }
        for (int64_t i = 0; i < context; i++) {
            tokens[row * context + i] =
                (int32_t)td_rng_below(&rng, (uint64_t)options->config.vocab);
        }
    }
}

static td_status train_in_rank(td_rank *rank, void *arg) {
    const td_train_options *options = arg;
    td_train *train = NULL;
    TD_TRY(td_train_create(options, rank, &train));
    int64_t size = options->config.image_size;
    float *images = td_alloc((size_t)(options->batch * 3 * size * size) * sizeof(float));
    int32_t *tokens =
        td_alloc((size_t)(options->batch * options->config.context) * sizeof(int32_t));
    td_status status = images == NULL || tokens == NULL ? td_fail(TD_ENOMEM, "a batch") : TD_OK;
    if (status == TD_OK) {
        fill_rows(train, images, tokens);
    }
    for (int step = 0; step < STEPS && status == TD_OK; step++) {
        td_step_result result;
        status = td_train_step(train, images, tokens, &result);
    }
    if (status == TD_OK) {
        status = td_train_sha256(train, (char *)rank->segment);
    }
    td_free(images);
    td_free(tokens);
    td_train_destroy(train);
    return status;
}

static td_status train_on(td_train_options *options, const char *layout, char sha[TD_SHA256_HEX]) {
    td_train_needs needs;
    td_group_options group = {0};
    TD_TRY(td_layout_parse(layout, &group.layout));
    TD_TRY(td_train_measure(options, group.layout.ranks, &needs));
    group.segment_bytes = (size_t)needs.segment_bytes;
    return td_group_run_result(&group, train_in_rank, options, sha, TD_SHA256_HEX);
}

static td_status same_as(td_train_options *options, const char *layout, bool zero,
                         const char *alone) {
    char shared[TD_SHA256_HEX] = "";
    options->zero = zero;
    TD_TRY(train_on(options, layout, shared));
    options->zero = false;
    return strcmp(alone, shared) == 0
               ? TD_OK
               : td_fail(TD_ECHECK, "%s: p1xt1 gives %s, %s%s %s", options->config.name, alone,
                         layout, zero ? " with zero" : "", shared);
}

/* Steps of both losses, of the softmax loss by strips and by pairs of blocks (16 rows), the latter
 * without clipping, so that one rank updates weights early: two ranks of two workers, with
 * gradients summed on the way and by ZeRO-1, one rank of three, and one of one, which must agree.
 */
td_status td_exercise_training(void) {
    static const char *const models[] = {"mu", "mu-siglip", "mu"};
    TD_TRY(td_kernels_select(TD_ISA_PORTABLE));
    for (int i = 0; i < 3; i++) {
        td_train_options options = {.loss = i == 1 ? TD_LOSS_SIGMOID : TD_LOSS_SOFTMAX,
                                    .optimizer = {.lr = 1e-3,
                                                  .beta1 = 0.9,
                                                  .beta2 = 0.98,
                                                  .eps = 1e-6,
                                                  .grad_clip = i == 2 ? 0 : 1},
                                    .batch = i == 2 ? 64 : 8,
                                    .blocks = 4};
        char alone[TD_SHA256_HEX] = "";
        TD_TRY(td_model_config_find(models[i], &options.config));
        TD_TRY(train_on(&options, "p1xt1", alone));
        TD_TRY(same_as(&options, "p1xt3:thread+over", false, alone));
        TD_TRY(same_as(&options, "p2xt2:thread+over", false, alone));
        TD_TRY(same_as(&options, "p2xt2:thread+over", true, alone));
    }
    return TD_OK;
}
