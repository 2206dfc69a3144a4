/* SPDX-License-Identifier: Apache-2.0
 * Inference: a batch of images, or of captions, to normalised features. Ranks share the batch and
 * nothing else. Proof: the features of the whole batch have the same SHA-256 on every layout.
 */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "bench/case.h"
#include "bench/op_rows.h"
#include "data/pairs.h"
#include "models/encoder.h"

enum { SEED = 1 };

typedef struct embed_row {
    const char *model;
    td_loss loss;
    td_precision precision;
    int64_t images, texts; /* batches */
    bool quick;
} embed_row;

static const embed_row rows[] = {
    {"mu", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 64, 64, false},
    {"vit-s-32-alt", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 32, 64, true},
    {"vit-s-32-alt", TD_LOSS_SOFTMAX, TD_PRECISION_BF16, 32, 64, false},
    {"vit-s-16-alt", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 16, 64, false},
    {"vit-b-32", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 32, 64, false},
    {"vit-b-32", TD_LOSS_SOFTMAX, TD_PRECISION_BF16, 32, 64, false},
    {"vit-b-16", TD_LOSS_SOFTMAX, TD_PRECISION_F32, 8, 64, false},
    {"vit-b-16-siglip", TD_LOSS_SIGMOID, TD_PRECISION_F32, 8, 32, false},
};

/* Parameters of a case. */
enum { ROW, IMAGE };

typedef struct embed_state {
    td_encoder *encoder;
    td_arena arena;
    float *images; /* this rank's rows */
    int32_t *ids;
    float *z; /* the same, in the segment */
    int64_t batch, first, count;
    int64_t steps;
} embed_state;

static td_status list_embed(const td_workload *self, td_case_list *list) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int image = 1; image >= 0; image--) {
            td_case *added =
                td_case_add(list, self, "embed/%s/%s/b%lld-%s", image ? "image" : "text",
                            rows[i].model, (long long)(image ? rows[i].images : rows[i].texts),
                            td_precision_name(rows[i].precision));
            added->param[ROW] = (int64_t)i;
            added->param[IMAGE] = image;
            added->quick = rows[i].quick;
            added->seconds = 5;
        }
    }
    return TD_OK;
}

static int64_t batch_of(const td_case *subject) {
    const embed_row *row = &rows[subject->param[ROW]];
    return subject->param[IMAGE] ? row->images : row->texts;
}

static bool fits_embed(const td_case *subject, const td_layout *layout) {
    return layout->ranks <= batch_of(subject);
}

static td_status segment_embed(const td_case *subject, const td_layout *layout, int64_t *bytes) {
    td_model_config config;
    TD_TRY(td_model_config_find(rows[subject->param[ROW]].model, &config));
    int64_t most = (batch_of(subject) + layout->ranks - 1) / layout->ranks;
    *bytes = most * config.embed * (int64_t)sizeof(float);
    return TD_OK;
}

static int64_t first_of(const embed_state *s, int rank, int count) {
    return s->batch * rank / count;
}

/* The same pairs on every layout: the first of the set that can be decoded. */
static td_status load(const td_bench *bench, const td_model_config *config, embed_state *s,
                      td_pairs *pairs, const td_tokenizer *tokenizer) {
    int64_t pixels = 3 * config->image_size * config->image_size, found = 0;
    float *image = s->images;
    for (int64_t i = 0; i < td_pairs_count(pairs) && found < s->first + s->count; i++) {
        char *caption, *label;
        td_status status = td_pairs_image(pairs, i, config->image_size, image);
        if (status == TD_OK) {
            status = td_pairs_text(pairs, i, &caption, &label);
        }
        if (status == TD_EINPUT) {
            continue;
        }
        TD_TRY(status);
        if (found >= s->first) {
            td_tokenize(tokenizer, caption, s->ids + (found - s->first) * config->context,
                        config->context);
            image += found + 1 < s->first + s->count ? pixels : 0;
        }
        td_free(caption);
        td_free(label);
        found++;
    }
    return found == s->first + s->count
               ? TD_OK
               : td_fail(TD_EINPUT, "%s: fewer than %lld pairs can be decoded",
                         bench->settings->data, (long long)s->batch);
}

static td_status load_inputs(const td_bench *bench, const td_model_config *config, embed_state *s) {
    td_pairs *pairs = NULL;
    td_tokenizer *tokenizer = NULL;
    td_plan plan = {0};
    for (int pass = 0; pass < 2; pass++) {
        s->images =
            TD_PLAN_ARRAY(&plan, float, s->count * 3 * config->image_size * config->image_size);
        s->ids = TD_PLAN_ARRAY(&plan, int32_t, s->count * config->context);
        if (pass == 0) {
            TD_TRY(td_arena_create(plan.used_bytes, &s->arena));
            plan = (td_plan){.base = s->arena.base};
        }
    }
    td_status status = td_pairs_open(
        &(td_pairs_options){.path = bench->settings->data, .n_synthetic = s->batch, .seed = SEED},
        &pairs);
    if (status == TD_OK) {
        status = td_tokenizer_load(NULL, &tokenizer);
    }
    if (status == TD_OK) {
        status = load(bench, config, s, pairs, tokenizer);
    }
    td_pairs_close(pairs);
    td_tokenizer_destroy(tokenizer);
    return status;
}

static td_status setup_embed(td_bench *bench) {
    const embed_row *row = &rows[bench->subject->param[ROW]];
    embed_state *s = bench->state = td_alloc_zero(sizeof *s);
    if (!s) {
        return td_fail(TD_ENOMEM, "a case of inference");
    }
    int rank = bench->rank->rank, count = bench->rank->count;
    td_model_config config;
    TD_TRY(td_model_config_find(row->model, &config));
    s->batch = batch_of(bench->subject);
    s->first = first_of(s, rank, count);
    s->count = first_of(s, rank + 1, count) - s->first;
    s->z = (float *)(void *)bench->rank->segment;
    TD_TRY(load_inputs(bench, &config, s));
    return td_encoder_create(&(td_encoder_options){.config = config,
                                                   .loss = row->loss,
                                                   .precision = row->precision,
                                                   .batch = s->count,
                                                   .workers = bench->rank->workers,
                                                   .pu = bench->rank->pu,
                                                   .shares_cpus = bench->rank->shares_cpus,
                                                   .seed = SEED},
                             NULL, &s->encoder);
}

static td_status run_embed(td_bench *bench) {
    embed_state *s = bench->state;
    s->steps++;
    return bench->subject->param[IMAGE] ? td_encoder_images(s->encoder, s->images, s->count, s->z)
                                        : td_encoder_texts(s->encoder, s->ids, s->count, s->z);
}

static td_status verify_embed(td_bench *bench) {
    const embed_state *s = bench->state;
    td_outcome *out = bench->outcome;
    td_sha256 *sha;
    char hex[TD_SHA256_HEX];
    TD_TRY(run_embed(bench));
    TD_TRY(td_rank_barrier(bench->rank));
    if (bench->rank->rank != 0) {
        return TD_OK;
    }
    int64_t embed = td_encoder_config(s->encoder)->embed;
    TD_TRY(td_sha256_create(&sha));
    for (int rank = 0; rank < bench->rank->count; rank++) {
        int64_t n =
            first_of(s, rank + 1, bench->rank->count) - first_of(s, rank, bench->rank->count);
        td_sha256_add(sha, td_rank_peer(bench->rank, rank, s->z),
                      (size_t)(n * embed) * sizeof(float));
    }
    td_sha256_finish(sha, hex);
    memcpy(out->sha256, hex, sizeof hex);
    snprintf(out->answer_class, sizeof out->answer_class, "one");
    snprintf(out->method, sizeof out->method, "sha256 of features over layouts");
    if (bench->expected_sha256[0] && strcmp(hex, bench->expected_sha256) != 0) {
        return td_fail(TD_ECHECK, "features are %.16s..., on an earlier layout %.16s...", hex,
                       bench->expected_sha256);
    }
    return TD_OK;
}

static void cost_embed(const td_bench *bench, td_cost *out) {
    const embed_state *s = bench->state;
    const td_model_config *config = td_encoder_config(s->encoder);
    bool image = bench->subject->param[IMAGE];
    double each = image ? td_model_image_flops(config, td_model_patches(config))
                        : td_model_text_flops(config);
    *out = (td_cost){.value = TD_VALUE_ITEMS,
                     .items = (double)s->batch,
                     .unit = "images/s",
                     .precision = rows[bench->subject->param[ROW]].precision,
                     .nominal = each * (double)s->batch};
    if (!image) {
        snprintf(out->unit, sizeof out->unit, "captions/s");
    }
    out->flops = out->nominal; /* until the program has run: finish_embed */
    out->isa = (int)td_kernel_selected(td_precision_product(out->precision))->isa;
}

static void begin_embed(td_bench *bench) {
    embed_state *s = bench->state;
    td_program_reset_cost(td_encoder_program(s->encoder, bench->subject->param[IMAGE] != 0));
    s->steps = 0;
}

static void finish_embed(td_bench *bench) {
    const embed_state *s = bench->state;
    if (bench->rank->rank != 0 || s->steps == 0) {
        return;
    }
    const td_program *program = td_encoder_program(s->encoder, bench->subject->param[IMAGE] != 0);
    td_program_cost total;
    td_program_total_cost(program, &total);
    td_outcome_add_ops(bench->outcome, program, bench->rank->workers);
    td_outcome_number(bench->outcome, "phase_wait_ns", total.wait_ns);
    bench->outcome->cost.flops = total.flops * (double)s->batch / (double)s->count;
}

static void teardown_embed(td_bench *bench) {
    embed_state *s = bench->state;
    td_encoder_destroy(s->encoder);
    td_arena_destroy(&s->arena);
    td_free(s);
}

const td_workload td_workload_embed = {
    .name = "embed",
    .own_team = true,
    .list = list_embed,
    .fits = fits_embed,
    .segment = segment_embed,
    .setup = setup_embed,
    .verify = verify_embed,
    .step = run_embed,
    .cost = cost_embed,
    .begin = begin_embed,
    .finish = finish_embed,
    .teardown = teardown_embed,
};
