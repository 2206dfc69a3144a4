/* SPDX-License-Identifier: Apache-2.0
 * Recipes that do less than the whole step: FLIP drops patches, LiT freezes the image tower or is
 * given its features. Each case holds the whole step too, and runs both in turns, so that its
 * record tells the speed-up beside the one that counting operations predicts. Batches are kept in
 * memory: what is compared is steps, not decoding.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/case.h"
#include "bench/op_rows.h"
#include "data/pairs.h"
#include "models/encoder.h"
#include "models/train.h"

enum { VERIFY_STEPS = 3, BLOCKS = 8, SEED = 1, BATCHES = 2, SYNTHETIC = 256 };

/* Turns: at least three and as many as fit. */
enum { LEAST_TURNS = 3, MOST_TURNS = 15 };
static const int64_t TURNS_NS = 4000000000;

typedef struct recipe {
    const char *name;
    double patch_mask;
    bool freeze_image, features;
} recipe;

static const recipe recipes[] = {
    {"flip50", 0.5, false, false},
    {"flip75", 0.75, false, false},
    {"lit", 0, true, false},
    {"lit-features", 0, true, true},
};
enum { N_RECIPES = sizeof recipes / sizeof recipes[0] };

typedef struct recipe_model {
    const char *name;
    int64_t batch;
    bool quick;
    double seconds;
} recipe_model;

static const recipe_model models[] = {
    {"ti-32", 32, true, 3},      {"vit-s-32-alt", 32, false, 15}, {"vit-s-16-alt", 16, false, 20},
    {"vit-b-32", 32, false, 60}, {"vit-b-16", 8, false, 60},
};

/* Parameters of a case. */
enum { RECIPE, MODEL };

typedef struct recipe_state {
    td_train *train, *whole;
    td_rank whole_rank; /* the same, with a segment of its own */
    td_arena whole_segment, inputs;
    float *images[BATCHES], *features[BATCHES];
    int32_t *tokens[BATCHES];
    int64_t steps;
    double predicted;
} recipe_state;

static td_status list_recipes(const td_workload *self, td_case_list *list) {
    for (int64_t m = 0; m < (int64_t)(sizeof models / sizeof models[0]); m++) {
        for (int64_t r = 0; r < N_RECIPES; r++) {
            td_case *added = td_case_add(list, self, "recipe/%s/%s/b%lld-f32", recipes[r].name,
                                         models[m].name, (long long)models[m].batch);
            added->param[RECIPE] = r;
            added->param[MODEL] = m;
            added->quick = models[m].quick;
            added->seconds = models[m].seconds;
        }
    }
    return TD_OK;
}

/* Two steps share a rank: its peers would look for either in the same place. */
static bool fits_recipe(const td_case *subject, const td_layout *layout) {
    (void)subject;
    return layout->ranks == 1;
}

static td_status options_of(const td_case *subject, bool whole, td_train_options *out) {
    const recipe *r = &recipes[subject->param[RECIPE]];
    const recipe_model *m = &models[subject->param[MODEL]];
    td_model_config config;
    TD_TRY(td_model_config_find(m->name, &config));
    *out = (td_train_options){.config = config,
                              .loss = TD_LOSS_SOFTMAX,
                              .optimizer = {.lr = 5e-4,
                                            .beta1 = 0.9,
                                            .beta2 = 0.98,
                                            .eps = 1e-6,
                                            .weight_decay = 0.2,
                                            .schedule = TD_SCHEDULE_COSINE,
                                            .warmup = 100,
                                            .steps = 10000},
                              .batch = m->batch,
                              .blocks = BLOCKS,
                              .seed = SEED,
                              .keep_padding = true,
                              .keep_last_block = true};
    if (!whole) {
        out->patch_mask = r->patch_mask;
        out->freeze_image = r->freeze_image;
        out->image_features = r->features;
    }
    return TD_OK;
}

static td_status segment_recipe(const td_case *subject, const td_layout *layout, int64_t *bytes) {
    td_train_options options;
    td_train_needs needs;
    TD_TRY(options_of(subject, false, &options));
    TD_TRY(td_train_measure(&options, layout->ranks, &needs));
    *bytes = needs.segment_bytes;
    return TD_OK;
}

static td_status plan_inputs(const td_train_options *options, recipe_state *s) {
    const td_model_config *config = &options->config;
    int64_t pixels = options->batch * 3 * config->image_size * config->image_size;
    td_plan plan = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < BATCHES; i++) {
            s->images[i] = TD_PLAN_ARRAY(&plan, float, pixels);
            s->features[i] = TD_PLAN_ARRAY(&plan, float, options->batch * config->embed);
            s->tokens[i] = TD_PLAN_ARRAY(&plan, int32_t, options->batch * config->context);
        }
        if (pass == 0) {
            TD_TRY(td_arena_create(plan.used_bytes, &s->inputs));
            plan = (td_plan){.base = s->inputs.base};
        }
    }
    return TD_OK;
}

static td_status copy_batches(const td_train_options *options, td_pairs *pairs,
                              const td_tokenizer *tokenizer, recipe_state *s) {
    const td_model_config *config = &options->config;
    int64_t pixels = options->batch * 3 * config->image_size * config->image_size;
    td_loader *loader;
    td_status status = TD_OK;
    TD_TRY(td_loader_create(&(td_loader_options){.pairs = pairs,
                                                 .tokenizer = tokenizer,
                                                 .batch = options->batch,
                                                 .rows = options->batch,
                                                 .image_size = config->image_size,
                                                 .context = config->context,
                                                 .seed = SEED,
                                                 .prefetch = 1,
                                                 .pu = -1},
                            &loader));
    for (int i = 0; i < BATCHES && status == TD_OK; i++) {
        const float *images;
        const int32_t *tokens;
        int64_t wait_ns;
        status = td_loader_next(loader, &images, &tokens, &wait_ns);
        if (status == TD_OK) {
            memcpy(s->images[i], images, (size_t)pixels * sizeof(float));
            memcpy(s->tokens[i], tokens,
                   (size_t)(options->batch * config->context) * sizeof(int32_t));
        }
    }
    td_loader_destroy(loader);
    return status;
}

static td_status load_batches(const td_bench *bench, const td_train_options *options,
                              recipe_state *s) {
    td_pairs *pairs = NULL;
    td_tokenizer *tokenizer = NULL;
    TD_TRY(plan_inputs(options, s));
    td_status status = td_pairs_open(
        &(td_pairs_options){.path = bench->settings->data, .n_synthetic = SYNTHETIC, .seed = SEED},
        &pairs);
    if (status == TD_OK) {
        status = td_tokenizer_load(NULL, &tokenizer);
    }
    if (status == TD_OK) {
        status = copy_batches(options, pairs, tokenizer, s);
    }
    td_pairs_close(pairs);
    td_tokenizer_destroy(tokenizer);
    return status;
}

/* The features that `tandem embed` would give of the initial weights. */
static td_status encode_batches(const td_bench *bench, const td_train_options *options,
                                recipe_state *s) {
    td_encoder *encoder;
    td_status status = TD_OK;
    TD_TRY(td_encoder_create(&(td_encoder_options){.config = options->config,
                                                   .loss = options->loss,
                                                   .batch = options->batch,
                                                   .workers = bench->rank->workers,
                                                   .pu = bench->rank->pu,
                                                   .shares_cpus = bench->rank->shares_cpus,
                                                   .seed = SEED},
                             NULL, &encoder));
    for (int i = 0; i < BATCHES && status == TD_OK; i++) {
        status = td_encoder_images(encoder, s->images[i], options->batch, s->features[i]);
    }
    td_encoder_destroy(encoder);
    return status;
}

static td_status setup_recipe(td_bench *bench) {
    recipe_state *s = bench->state = td_alloc_zero(sizeof *s);
    td_train_options options, whole;
    if (!s) {
        return td_fail(TD_ENOMEM, "a case of a recipe");
    }
    TD_TRY(options_of(bench->subject, false, &options));
    TD_TRY(options_of(bench->subject, true, &whole));
    s->predicted = td_train_nominal_flops(&whole) / td_train_nominal_flops(&options);
    TD_TRY(load_batches(bench, &options, s));
    if (options.image_features) {
        TD_TRY(encode_batches(bench, &options, s));
    }
    return td_train_create(&options, bench->rank, &s->train);
}

static td_status step_on(const recipe_state *s, td_train *train, int64_t step) {
    td_step_result result;
    int batch = (int)(step % BATCHES);
    bool given = td_train_get_options(train)->image_features;
    return td_train_step(train, given ? s->features[batch] : s->images[batch], s->tokens[batch],
                         &result);
}

static td_status run_recipe(td_bench *bench) {
    recipe_state *s = bench->state;
    return step_on(s, s->train, s->steps++);
}

/* Features that were computed once are as good as the tower: the weights are those of the steps in
 * which the frozen tower runs. */
static td_status verify_features(td_bench *bench, const char *sha) {
    recipe_state *s = bench->state;
    td_train_options options = *td_train_get_options(s->train);
    td_train *frozen;
    td_train_needs needs;
    td_arena segment;
    char expected[TD_SHA256_HEX];
    options.image_features = false;
    TD_TRY(td_train_measure(&options, 1, &needs));
    TD_TRY(td_arena_create((size_t)needs.segment_bytes, &segment));
    memset(segment.base, 0, segment.bytes); /* as the segment of a rank is at its start */
    td_rank rank = *bench->rank;
    rank.segment = segment.base;
    rank.segment_bytes = segment.bytes;
    td_status status = td_train_create(&options, &rank, &frozen);
    if (status == TD_OK) {
        for (int step = 0; step < VERIFY_STEPS && status == TD_OK; step++) {
            status = step_on(s, frozen, step);
        }
        if (status == TD_OK) {
            status = td_train_sha256(frozen, expected);
        }
        td_train_destroy(frozen);
    }
    td_arena_destroy(&segment);
    if (status == TD_OK && strcmp(sha, expected) != 0) {
        status = td_fail(TD_ECHECK, "weights from features are %.16s..., from the tower %.16s...",
                         sha, expected);
    }
    return status;
}

static td_status verify_recipe(td_bench *bench) {
    recipe_state *s = bench->state;
    td_outcome *out = bench->outcome;
    for (int i = 0; i < VERIFY_STEPS; i++) {
        TD_TRY(run_recipe(bench));
    }
    TD_TRY(td_train_sha256(s->train, out->sha256));
    bool given = recipes[bench->subject->param[RECIPE]].features;
    snprintf(out->answer_class, sizeof out->answer_class, "one");
    snprintf(out->method, sizeof out->method, "sha256 after %d steps over layouts%s", VERIFY_STEPS,
             given ? ", and of the frozen tower's" : "");
    if (bench->expected_sha256[0] && strcmp(out->sha256, bench->expected_sha256) != 0) {
        return td_fail(TD_ECHECK,
                       "weights after %d steps are %.16s..., on an earlier layout %.16s...",
                       VERIFY_STEPS, out->sha256, bench->expected_sha256);
    }
    return given ? verify_features(bench, out->sha256) : TD_OK;
}

static void cost_recipe(const td_bench *bench, td_cost *out) {
    const recipe_state *s = bench->state;
    const td_train_options *options = td_train_get_options(s->train);
    *out = (td_cost){.value = TD_VALUE_ITEMS,
                     .items = (double)options->batch,
                     .unit = "pairs/s",
                     .precision = options->precision,
                     .nominal = td_train_nominal_flops(options) * (double)options->batch};
    out->flops = out->nominal; /* until steps have been run: finish_recipe */
    out->isa = (int)td_kernel_selected(td_precision_product(out->precision))->isa;
}

static void begin_recipe(td_bench *bench) {
    recipe_state *s = bench->state;
    td_program_reset_cost(td_train_program(s->train));
    s->steps = 0;
}

static td_status create_whole(td_bench *bench, recipe_state *s) {
    td_train_options options;
    td_train_needs needs;
    TD_TRY(options_of(bench->subject, true, &options));
    TD_TRY(td_train_measure(&options, 1, &needs));
    TD_TRY(td_arena_create((size_t)needs.segment_bytes, &s->whole_segment));
    s->whole_rank = *bench->rank;
    s->whole_rank.segment = s->whole_segment.base;
    s->whole_rank.segment_bytes = s->whole_segment.bytes;
    return td_train_create(&options, &s->whole_rank, &s->whole);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static td_status timed(const recipe_state *s, td_train *train, int64_t step, double *ns) {
    int64_t start = td_now_ns();
    td_status status = step_on(s, train, step);
    *ns = (double)(td_now_ns() - start);
    return status;
}

static double median(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* The median over turns of whole over recipe: every recipe's step stands between two whole ones and
 * is compared with their mean, so that a machine that slows down or speeds up favours neither. */
static td_status take_turns(recipe_state *s, double *speedup, double *whole_ns) {
    double ratio[MOST_TURNS], whole[MOST_TURNS], before, after, own;
    int64_t start = td_now_ns();
    int n = 0;
    TD_TRY(step_on(s, s->whole, 0)); /* the first one touches its memory */
    TD_TRY(timed(s, s->whole, 1, &before));
    while (n < LEAST_TURNS || (n < MOST_TURNS && td_now_ns() - start < TURNS_NS)) {
        TD_TRY(timed(s, s->train, n, &own));
        TD_TRY(timed(s, s->whole, n, &after));
        whole[n] = (before + after) / 2;
        ratio[n] = whole[n] / own;
        before = after;
        n++;
    }
    *speedup = median(ratio, n);
    *whole_ns = median(whole, n);
    return TD_OK;
}

static void finish_recipe(td_bench *bench) {
    recipe_state *s = bench->state;
    td_outcome *out = bench->outcome;
    if (s->steps == 0) {
        return;
    }
    td_program_cost total;
    td_program_total_cost(td_train_program(s->train), &total);
    td_outcome_add_ops(out, td_train_program(s->train), bench->rank->workers);
    td_outcome_number(out, "phase_wait_ns", total.wait_ns);
    out->cost.flops = total.flops;
    double speedup, whole_ns;
    if (create_whole(bench, s) == TD_OK && take_turns(s, &speedup, &whole_ns) == TD_OK) {
        td_outcome_number(out, "speedup", speedup);
        td_outcome_number(out, "predicted_speedup", s->predicted);
        td_outcome_number(out, "speedup_share", speedup / s->predicted);
        td_outcome_number(out, "whole_step_ns", whole_ns);
    } else {
        snprintf(out->reason, sizeof out->reason, "not compared with the whole step: %s",
                 td_error());
    }
}

static void teardown_recipe(td_bench *bench) {
    recipe_state *s = bench->state;
    td_train_destroy(s->train);
    td_train_destroy(s->whole);
    td_arena_destroy(&s->whole_segment);
    td_arena_destroy(&s->inputs);
    td_free(s);
}

const td_workload td_workload_recipe = {
    .name = "recipe",
    .own_team = true,
    .list = list_recipes,
    .fits = fits_recipe,
    .segment = segment_recipe,
    .setup = setup_recipe,
    .verify = verify_recipe,
    .step = run_recipe,
    .cost = cost_recipe,
    .begin = begin_recipe,
    .finish = finish_recipe,
    .teardown = teardown_recipe,
};
