/* SPDX-License-Identifier: Apache-2.0 */
#include "models/encoder.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "models/checkpoint.h"
#include "models/layer.h"

struct td_encoder {
    td_encoder_options options;
    td_tensors tensors;
    td_team *team;
    td_program *vision, *text;
    td_arena arena;
    float *params, *images, *z;
    int32_t *ids;
    td_tower vision_tower, text_tower;
};

/* Runs twice, to measure and for real. The towers run one after the other, so that their buffers
 * could overlap; they do not, because both are small without training. */
static void build(td_encoder *e, td_plan *plan) {
    const td_model_config *config = &e->options.config;
    int64_t rows = e->options.batch;
    td_program_clear(e->vision);
    td_program_clear(e->text);
    e->params = TD_PLAN_ARRAY(plan, float, e->tensors.flat);
    e->images = TD_PLAN_ARRAY(plan, float, rows * 3 * config->image_size * config->image_size);
    e->ids = TD_PLAN_ARRAY(plan, int32_t, rows * config->context);
    e->z = TD_PLAN_ARRAY(plan, float, rows * config->embed);
    td_build tower = {.program = e->vision,
                      .plan = plan,
                      .config = config,
                      .tensors = &e->tensors,
                      .params = e->params,
                      .precision = e->options.precision,
                      .rows = rows,
                      .blocks = 1,
                      .prune = !e->options.keep_last_block,
                      .pack = !e->options.keep_padding};
    td_vision_plan(&tower, &e->vision_tower, plan);
    td_vision_forward(&tower, &e->vision_tower, 0, e->z);
    tower.program = e->text;
    td_text_plan(&tower, &e->text_tower, plan);
    td_text_forward(&tower, &e->text_tower, 0, e->z);
}

static td_status create(td_encoder *e, const td_safetensors *weights) {
    TD_TRY(td_tensors_create(&e->options.config, e->options.loss, &e->tensors));
    TD_TRY(td_program_create(&e->vision));
    TD_TRY(td_program_create(&e->text));
    td_plan plan = {0};
    build(e, &plan);
    TD_TRY(td_program_finish(e->vision, e->options.workers));
    TD_TRY(td_program_finish(e->text, e->options.workers));
    int64_t scratch = td_program_scratch_bytes(e->vision), text = td_program_scratch_bytes(e->text);
    td_team_options team = {.workers = e->options.workers,
                            .pu = e->options.pu,
                            .scratch_bytes = scratch > text ? scratch : text,
                            .shares_cpus = e->options.shares_cpus};
    TD_TRY(td_arena_create(plan.used_bytes, &e->arena));
    TD_TRY(td_team_create(&team, &e->team));
    plan = (td_plan){.base = e->arena.base};
    build(e, &plan);
    TD_TRY(td_program_finish(e->vision, e->options.workers));
    TD_TRY(td_program_finish(e->text, e->options.workers));
    memset(e->images, 0,
           (size_t)(e->options.batch * 3 * e->options.config.image_size *
                    e->options.config.image_size) *
               sizeof(float));
    memset(e->ids, 0, (size_t)(e->options.batch * e->options.config.context) * sizeof(int32_t));
    if (weights != NULL) {
        return td_checkpoint_load_weights(weights, &e->tensors, e->params);
    }
    td_tensors_init(&e->tensors, e->options.seed, e->params, 0, td_tensors_pieces(&e->tensors));
    return TD_OK;
}

td_status td_encoder_create(const td_encoder_options *options, const td_safetensors *weights,
                            td_encoder **out) {
    td_encoder *e = td_alloc_zero(sizeof(*e));
    if (e == NULL) {
        return td_fail(TD_ENOMEM, "no memory for an encoder");
    }
    e->options = *options;
    td_status status = create(e, weights);
    if (status != TD_OK) {
        td_encoder_destroy(e);
        return status;
    }
    *out = e;
    return TD_OK;
}

void td_encoder_destroy(td_encoder *e) {
    if (e != NULL) {
        if (e->team != NULL) {
            td_team_destroy(e->team);
        }
        td_program_destroy(e->vision);
        td_program_destroy(e->text);
        td_tensors_destroy(&e->tensors);
        td_arena_destroy(&e->arena);
        td_free(e);
    }
}

/* A run always encodes a whole batch; rows beyond those asked for hold what was there before. */
static td_status run(td_encoder *e, td_program *program, int64_t rows, float *z) {
    TD_TRY(td_program_run(program, e->team));
    memcpy(z, e->z, (size_t)(rows * e->options.config.embed) * sizeof(float));
    return TD_OK;
}

td_status td_encoder_images(td_encoder *e, const float *images, int64_t rows, float *z) {
    int64_t size = e->options.config.image_size;
    TD_ASSERT(rows <= e->options.batch);
    e->vision_tower.images = images;
    if (rows < e->options.batch) {
        memcpy(e->images, images, (size_t)(rows * 3 * size * size) * sizeof(float));
        e->vision_tower.images = e->images;
    }
    return run(e, e->vision, rows, z);
}

td_status td_encoder_texts(td_encoder *e, const int32_t *ids, int64_t rows, float *z) {
    int64_t n = rows * e->options.config.context;
    TD_ASSERT(rows <= e->options.batch);
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= e->options.config.vocab) {
            return td_fail(TD_EINPUT, "token %" PRId32 " is outside the vocabulary of %" PRId64,
                           ids[i], e->options.config.vocab);
        }
    }
    memcpy(e->ids, ids, (size_t)n * sizeof(int32_t));
    td_text_set_tokens(&e->text_tower, e->ids);
    return run(e, e->text, rows, z);
}

/* One GEMM as a region: the program would be rebuilt for every size otherwise. */
typedef struct score_region {
    td_gemm_f32_args gemm;
    unsigned char *scratch;
    int64_t scratch_bytes;
} score_region;

static void run_scores(void *arg, td_worker *worker) {
    score_region *region = arg;
    int64_t first, last;
    td_worker_share(worker, td_gemm_f32_tiles(&region->gemm), &first, &last);
    if (first < last) {
        td_ops[TD_OP_gemm_f32].run(&region->gemm, first, last,
                                   region->scratch + worker->id * region->scratch_bytes);
    }
}

td_status td_encoder_scores(td_encoder *e, const float *x, int64_t m, const float *y, int64_t n,
                            float *scores) {
    int64_t embed = e->options.config.embed;
    score_region region = {.gemm = {.m = m,
                                    .n = n,
                                    .k = embed,
                                    .a = x,
                                    .lda = embed,
                                    .b = y,
                                    .ldb = embed,
                                    .b_trans = true,
                                    .c = scores,
                                    .ldc = n,
                                    .k_blocks = 1}};
    region.scratch_bytes = (td_gemm_f32_scratch(&region.gemm) + TD_ALIGN - 1) / TD_ALIGN * TD_ALIGN;
    td_arena arena;
    TD_TRY(td_arena_create((size_t)(region.scratch_bytes * e->options.workers), &arena));
    region.scratch = arena.base;
    td_team_run(e->team, run_scores, &region);
    td_arena_destroy(&arena);
    return TD_OK;
}

td_status td_encoder_image_sha256(const td_encoder *e, char hex[TD_SHA256_HEX]) {
    return td_tensors_image_sha256(&e->tensors, e->params, hex);
}

void td_tower_id(const char *image_sha256, td_precision precision, char id[TD_TOWER_ID]) {
    bool f32 = precision == TD_PRECISION_F32;
    snprintf(id, TD_TOWER_ID, "%.64s%s%.6s", image_sha256, f32 ? "" : "-",
             f32 ? "" : td_precision_name(precision));
}

td_program *td_encoder_program(td_encoder *e, bool image) {
    return image ? e->vision : e->text;
}

td_team *td_encoder_team(td_encoder *e) {
    return e->team;
}

const td_model_config *td_encoder_config(const td_encoder *e) {
    return &e->options.config;
}
