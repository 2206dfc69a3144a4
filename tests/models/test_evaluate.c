/* SPDX-License-Identifier: Apache-2.0 */
#include "models/evaluate.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "models/checkpoint.h"
#include "train_case.h"

/* Wilson's interval, against values worked out by hand from its definition. */
Test(evaluate, shares) {
    td_share s = td_share_make(8, 10, 0.1);
    cr_assert_float_eq(s.value, 0.8, 1e-15);
    cr_assert_float_eq(s.low, 0.4901624715366418, 1e-12);
    cr_assert_float_eq(s.high, 0.9433178485456248, 1e-12);
    s = td_share_make(0, 20, 0);
    cr_assert(s.value <= 0 && s.low <= 0);
    cr_assert_float_eq(s.high, 0.16112515805281938, 1e-12);
    s = td_share_make(20, 20, 0);
    cr_assert(s.high >= 1 && fabs(s.low - (1 - 0.16112515805281938)) < 1e-12);
}

Test(evaluate, retrieval_counts) {
    enum { N = 12 };
    float scores[N][N];
    int64_t group[N], hits[TD_RECALLS] = {0};
    for (int i = 0; i < N; i++) {
        group[i] = i;
        for (int j = 0; j < N; j++) {
            scores[i][j] = i == j ? 1 : 0;
        }
    }
    td_retrieval_count(scores[0], group, N, N, 1, hits);
    cr_assert(hits[0] == N && hits[1] == N && hits[2] == N);
    /* All equal: ties are broken against the model. */
    memset(scores, 0, sizeof(scores));
    memset(hits, 0, sizeof(hits));
    td_retrieval_count(scores[0], group, N, N, 1, hits);
    cr_assert(hits[0] == 0 && hits[1] == 0 && hits[2] == 0);
    /* NaN never counts as an answer. */
    memset(scores, 0xFF, sizeof(scores));
    cr_assert(isnan(scores[0][0]));
    td_retrieval_count(scores[0], group, N, N, 1, hits);
    cr_assert_eq(hits[2], 0);
    /* Query i has i better answers: ranks 1 to 12; columns have other ranks. */
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            scores[i][j] = i == j ? 0 : (j < i ? 1 : -1);
        }
    }
    memset(hits, 0, sizeof(hits));
    td_retrieval_count(scores[0], group, N, N, 1, hits);
    cr_assert(hits[0] == 1 && hits[1] == 5 && hits[2] == 10);
    memset(hits, 0, sizeof(hits));
    td_retrieval_count(scores[0], group, N, 1, N, hits);
    cr_assert(hits[0] == 1 && hits[1] == 5 && hits[2] == 10);
    /* Pairs of one caption answer each other. */
    for (int i = 0; i < N; i++) {
        group[i] = 0;
    }
    memset(hits, 0, sizeof(hits));
    td_retrieval_count(scores[0], group, N, N, 1, hits);
    cr_assert_eq(hits[0], N);
}

static td_status save_to(td_train *train, void *arg) {
    return td_checkpoint_save(arg, train, NULL);
}

/* The encoder computes the features that training computes: scores of a batch, in any grouping of
 * rows and with any number of workers, are the same bits. */
Test(evaluate, encoder_is_independent_of_workers_and_rows) {
    char path[96];
    snprintf(path, sizeof(path), "/tmp/tandem_encoder_%d", (int)getpid());
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
    const char *models[] = {"mu", "mu-siglip"};
    for (int m = 0; m < 2; m++) {
        td_train_options options = td_case_options(models[m], TD_LOSS_SIGMOID);
        td_case_ok(td_case_inside(&options, 1, save_to, path));
        td_case_batch batch = td_case_batch_make(&options, 3);
        td_safetensors file;
        td_case_ok(td_safetensors_open(path, &file));
        td_encoder_options encoding = {.batch = 16, .workers = 1};
        const char *tokenizer;
        td_case_ok(td_checkpoint_describe(&file, &encoding.config, &encoding.loss, &tokenizer));
        cr_assert(td_model_config_equal(&encoding.config, &options.config));
        cr_assert(encoding.loss == TD_LOSS_SIGMOID && tokenizer[0] == '\0');
        td_encoder *one, *two;
        td_case_ok(td_encoder_create(&encoding, &file, &one));
        encoding.workers = 2;
        encoding.batch = 5;
        td_case_ok(td_encoder_create(&encoding, &file, &two));
        int64_t embed = options.config.embed, context = options.config.context;
        int64_t pixels = 3 * options.config.image_size * options.config.image_size;
        float a[16 * 32], b[16 * 32], s[16 * 16];
        cr_assert_eq(embed, 32);
        td_case_ok(td_encoder_images(one, batch.images, 16, a));
        for (int64_t i = 0; i < 16; i += 5) {
            int64_t rows = i + 5 <= 16 ? 5 : 16 - i;
            td_case_ok(td_encoder_images(two, batch.images + i * pixels, rows, b + i * embed));
        }
        cr_assert_eq(memcmp(a, b, sizeof(a)), 0);
        td_case_ok(td_encoder_texts(one, batch.tokens, 16, b));
        td_case_ok(td_encoder_texts(two, batch.tokens + 7 * context, 1, a));
        cr_assert_eq(memcmp(a, b + 7 * embed, 32 * sizeof(float)), 0);
        td_case_ok(td_encoder_scores(two, b, 16, b, 16, s));
        for (int i = 0; i < 16; i++) {
            cr_assert_float_eq(s[i * 17], 1, 1e-5);
        }
        batch.tokens[0] = 5000;
        cr_assert_eq(td_encoder_texts(one, batch.tokens, 1, a), TD_EINPUT);
        td_encoder_destroy(one);
        td_encoder_destroy(two);
        td_safetensors_close(&file);
        td_case_batch_free(&batch);
    }
    unlink(path);
}
