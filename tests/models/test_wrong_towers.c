/* SPDX-License-Identifier: Apache-2.0
 * Towers and updates as they are often got wrong: each is built on purpose from a golden folder,
 * and the comparison with open_clip's steps must tell it from the right one.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "models/safetensors.h"
#include "models/verify.h"
#include "train_case.h"

typedef enum mistake {
    NONE,
    GELU_TANH,    /* erf's and tanh's forms confused */
    GELU_QUICK,   /* the quick form for erf's */
    SEES_PADDING, /* no causal mask in CLIP's text tower */
    MASKED,       /* a causal mask in SigLIP's */
    NO_CLIP,      /* gradients not clipped */
    NO_WARMUP,    /* the learning rate counted from 1, after warm-up */
    DOUBLE_DECAY, /* twice the decay */
    N_MISTAKES
} mistake;

typedef struct wrong_case {
    mistake mistake;
    char folder[24];
} wrong_case;

static void make_mistake(mistake made, td_train_options *o) {
    td_model_config *c = &o->config;
    switch (made) {
    case GELU_TANH:
        c->vision.act = c->vision.act == TD_ACT_GELU_TANH ? TD_ACT_GELU_ERF : TD_ACT_GELU_TANH;
        break;
    case GELU_QUICK:
        c->text.act = TD_ACT_GELU_QUICK;
        break;
    case SEES_PADDING:
        c->causal = false;
        break;
    case MASKED:
        c->causal = true;
        break;
    case NO_CLIP:
        o->optimizer.grad_clip = 0;
        break;
    case NO_WARMUP:
        o->optimizer.warmup = 0;
        break;
    case DOUBLE_DECAY:
        o->optimizer.weight_decay *= 2;
        break;
    case NONE:
    case N_MISTAKES:
        break;
    }
}

static td_status verify_inside(td_train *train, void *arg) {
    return td_verify_run(arg, train, NULL, NULL);
}

static void select_native(void) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
}

ParameterizedTestParameters(wrong_tower, told_apart) {
    static wrong_case cases[] = {
        {NONE, "mu-clip"},           {NONE, "mu-siglip-loss"},      {NONE, "siglip-map"},
        {GELU_TANH, "mu-clip"},      {GELU_TANH, "siglip-map"},     {GELU_QUICK, "mu-clip"},
        {GELU_QUICK, "siglip-map"},  {SEES_PADDING, "mu-clip"},     {MASKED, "siglip-map"},
        {NO_CLIP, "mu-siglip-loss"}, {NO_WARMUP, "mu-siglip-loss"}, {DOUBLE_DECAY, "mu-clip"},
    };
    return cr_make_param_array(wrong_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(wrong_case *c, wrong_tower, told_apart) {
    char folder[512];
    td_train_options options;
    select_native();
    snprintf(folder, sizeof(folder), "%s/%s", TD_GOLDEN, c->folder);
    td_case_ok(td_verify_options(folder, 0, &options));
    make_mistake(c->mistake, &options);
    td_status status = td_case_inside(&options, 1, verify_inside, folder);
    cr_assert_eq(status, c->mistake == NONE ? TD_OK : TD_ECHECK, "mistake %d in %s: %s", c->mistake,
                 c->folder, td_error());
}

/* Weight decay on gains, biases and scalars: what the right run ends with, decayed in every step.
 */
static td_status decay_vectors(td_train *train, void *arg) {
    const char *folder = arg;
    TD_TRY(td_verify_run(folder, train, NULL, NULL));
    char path[TD_VERIFY_PATH];
    td_safetensors expected;
    TD_TRY(td_verify_path(folder, "expected.safetensors", path));
    TD_TRY(td_safetensors_open(path, &expected));
    const td_tensors *tensors = td_train_tensors(train);
    const td_optimizer *o = &td_train_get_options(train)->optimizer;
    float keep = (float)pow(1 - o->lr * o->weight_decay, (double)o->steps), wrong[4096];
    double want[4096];
    int told = 0, all = 0;
    for (int i = 0; i < tensors->count; i++) {
        const td_tensor *t = &tensors->tensors[i];
        if (t->n_dims > 1) {
            continue;
        }
        char name[TD_TENSOR_NAME + 16];
        snprintf(name, sizeof(name), "weights/%s", t->name);
        TD_TRY(td_safetensors_read_f64(&expected, name, t->n_dims, t->dims, want));
        for (int64_t k = 0; k < t->count; k++) {
            wrong[k] = td_train_params(train)[t->offset + k] * keep;
        }
        td_difference d = td_compare(wrong, want, t->count);
        told += !(d.relative <= TD_VERIFY_WEIGHTS);
        all++;
    }
    td_safetensors_close(&expected);
    cr_expect_gt(all, 10);
    cr_expect_eq(told, all, "%d of %d vectors told apart", told, all);
    return TD_OK;
}

Test(wrong_tower, decay_of_vectors) {
    char folder[] = TD_GOLDEN "/mu-clip";
    td_train_options options;
    select_native();
    td_case_ok(td_verify_options(folder, 0, &options));
    td_case_ok(td_case_inside(&options, 1, decay_vectors, folder));
}

/* The first loss on a batch of captions, as they are or with other ids behind their end tokens. */
typedef struct caption_job {
    bool other_padding;
    double loss;
} caption_job;

static td_status loss_of(td_train *train, void *arg) {
    caption_job *job = arg;
    td_case_batch batch = td_case_batch_make(td_train_get_options(train), 3);
    const td_train_options *o = td_train_get_options(train);
    int64_t n = o->config.context;
    for (int64_t s = 0; s < o->batch; s++) {
        int32_t *ids = batch.tokens + s * n;
        int64_t end = 0;
        while (ids[end] != o->config.vocab - 1) {
            end++;
        }
        for (int64_t t = end + 1; t < n && job->other_padding; t++) {
            ids[t] = 5;
        }
    }
    td_step_result result;
    td_status status = td_train_step(train, batch.images, batch.tokens, &result);
    td_case_batch_free(&batch);
    job->loss = result.loss;
    return status;
}

static void losses_with_paddings(const char *model, td_loss loss, double out[2]) {
    td_train_options options = td_case_options(model, loss);
    for (int i = 0; i < 2; i++) {
        caption_job job = {.other_padding = i == 1};
        td_case_ok(td_case_inside(&options, 1, loss_of, &job));
        out[i] = job.loss;
    }
}

/* Why captions are packed in CLIP's text tower and never in SigLIP's: what lies behind the end
 * token changes nothing in the one, not a bit, and the loss of the other, which attends to it and
 * pools the last position. Pooling CLIP's text by position would show here as well. */
Test(wrong_tower, padding_is_seen_by_siglip_alone) {
    select_native();
    double clip[2], siglip[2];
    losses_with_paddings("mu", TD_LOSS_SOFTMAX, clip);
    losses_with_paddings("mu-siglip", TD_LOSS_SIGMOID, siglip);
    cr_expect(!(clip[0] != clip[1]), "%.9g and %.9g", clip[0], clip[1]);
    cr_expect_gt(fabs(siglip[0] - siglip[1]), 1e-4 * siglip[0], "%.9g and %.9g", siglip[0],
                 siglip[1]);
}

/* The vocabulary gets one id more, with the embedding of padding. Where the padding at the last
 * position has that id instead, every row of the tower is what it was, but the largest id, and so
 * the pooled row, is at the last position: the tower that pools by position. */
typedef struct pooling_job {
    bool by_position;
    double loss;
} pooling_job;

static td_status loss_when_pooled(td_train *train, void *arg) {
    pooling_job *job = arg;
    const td_train_options *o = td_train_get_options(train);
    int64_t n = o->config.context, width = o->config.text.width;
    int32_t more = (int32_t)o->config.vocab - 1, padding = 0;
    float *table =
        td_train_params(train) + td_tensors_at(td_train_tensors(train), TD_ROLE_t_embed, 0)->offset;
    memcpy(table + more * width, table + padding * width, (size_t)width * sizeof(float));
    td_train_options captions = *o;
    captions.config.vocab--;
    td_case_batch batch = td_case_batch_make(&captions, 3);
    int64_t padded = 0;
    for (int64_t s = 0; s < o->batch; s++) {
        int32_t *last = batch.tokens + s * n + n - 1;
        if (*last == padding) {
            *last = job->by_position ? more : padding;
            padded++;
        }
    }
    cr_expect_gt(padded, 0);
    td_step_result result;
    td_status status = td_train_step(train, batch.images, batch.tokens, &result);
    td_case_batch_free(&batch);
    job->loss = result.loss;
    return status;
}

Test(wrong_tower, text_pooled_by_position) {
    select_native();
    double loss[2];
    td_train_options options = td_case_options("mu", TD_LOSS_SOFTMAX);
    options.config.vocab++;
    for (int i = 0; i < 2; i++) {
        pooling_job job = {.by_position = i == 1};
        td_case_ok(td_case_inside(&options, 1, loss_when_pooled, &job));
        loss[i] = job.loss;
    }
    cr_expect_gt(fabs(loss[1] - loss[0]), TD_VERIFY_LOSS * loss[0], "%.9g and %.9g", loss[0],
                 loss[1]);
}
