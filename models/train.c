/* SPDX-License-Identifier: Apache-2.0 */
#include "models/train.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/math.h"
#include "base/memory.h"
#include "models/layer.h"
#include "models/reduction.h"
#include "models/tower.h"

/* ln 100: the temperature may not push logits beyond +-100. */
static const float MAX_LOGIT_SCALE = 4.605170185988092F;

/* The whole step as a program, and the towers of its micro-batches. */
enum { MAX_ACCUM = TD_MAX_BLOCKS };
typedef struct step_pass {
    td_program *program;
    td_tower *vision, *text; /* (accum) */
} step_pass;

/* With dropped patches a step has two forms. */
enum { WHOLE, MASKED, N_PASSES };

struct td_train {
    td_train_options options;
    td_tensors tensors;
    td_split split;
    td_rank *rank;
    td_team *team;
    td_comm *comm;
    step_pass passes[N_PASSES];
    int last; /* pass that ran last */
    td_arena arena;
    td_shard shard;
    td_update update;
    float *params, *ema;
    float *more_grads[8];  /* of micro-batches that wait to be added, by level */
    const float *features; /* given instead of images */
    int64_t activation_bytes;
    int64_t pass_bytes[2]; /* of activation_bytes: most that image and text tower plan */
    double *norm_slots;
    int64_t n_norm_slots;
    unsigned char *staging;
    int64_t staging_bytes;
    td_objective objective;
    td_reduction *reductions[N_PASSES]; /* while the backward pass runs; NULL: after it */
    float scale, bias, ema_weight;      /* what kernels read */
    td_block_sums total;
    double lr, grad_norm;
    int64_t steps_done;
    bool ask_stop;
};

static void begin_step(void *arg) {
    td_train *t = arg;
    const float *scalars = t->params + t->tensors.scalars;
    t->scale = (float)td_exp((double)scalars[0]);
    if (t->options.loss == TD_LOSS_SIGMOID) {
        t->bias = t->params[td_tensors_at(&t->tensors, TD_ROLE_logit_bias, 0)->offset];
    }
    td_objective_ask_stop(&t->objective, t->ask_stop);
}

/* The gradients of the scalars, which are sums over all blocks of the batch and not reduced with
 * the others. */
static void finish_loss(void *arg) {
    td_train *t = arg;
    t->total = td_objective_total(&t->objective);
    const td_update *u = &t->update;
    *td_update_grad(u, u->grads, TD_ROLE_logit_scale, 0) = (float)t->total.dscale;
    if (t->options.loss == TD_LOSS_SIGMOID) {
        *td_update_grad(u, u->grads, TD_ROLE_logit_bias, 0) = (float)t->total.dbias;
    }
}

/* Balanced tree over the slots, in place. */
static double sum_tree(double *slots, int64_t n) {
    for (; n > 1; n = (n + 1) / 2) {
        for (int64_t i = 0; i < n / 2; i++) {
            slots[i] = slots[2 * i] + slots[2 * i + 1];
        }
        if (n % 2 == 1) {
            slots[n / 2] = slots[n - 1];
        }
    }
    return slots[0];
}

/* Scalars of the update in f64, rounded once. Clipping as torch's clip_grad_norm_ does it. */
static void prepare_update(void *arg) {
    td_train *t = arg;
    const td_optimizer *o = &t->options.optimizer;
    double clip = 1;
    if (o->grad_clip > 0) {
        t->grad_norm = sqrt(sum_tree(t->norm_slots, t->n_norm_slots));
        clip = o->grad_clip / (t->grad_norm + 1e-6);
        clip = clip < 1 ? clip : 1;
    }
    t->lr = td_optimizer_lr(o, t->steps_done);
    t->update.adamw = td_optimizer_adamw(o, t->steps_done, clip);
    t->update.lion = td_optimizer_lion(o, t->steps_done, clip);
}

static void end_step(void *arg) {
    td_train *t = arg;
    float *logit_scale = &t->params[t->tensors.scalars];
    *logit_scale = *logit_scale > MAX_LOGIT_SCALE ? MAX_LOGIT_SCALE : *logit_scale;
    t->steps_done++;
}

static int exchange_parts(const td_train *t, td_program *program, int phase, const char *operation,
                          const char *algorithm, const td_call *call, const char *name) {
    td_program_part(program, "communication");
    return td_program_exchange(program, phase, td_collective_find(operation, algorithm), t->comm,
                               call, name);
}

static int64_t accum_of(const td_train *t) {
    return t->options.accum > 1 ? t->options.accum : 1;
}

/* Micro-batches add up in one buffer, and with ZeRO a rank needs its part only: then the sum comes
 * after the backward pass. */
static bool reduces_early(const td_train *t) {
    return t->split.ranks > 1 && !t->shard.sharded && accum_of(t) == 1;
}

static int reduce_gradients(const td_train *t, td_program *program, int phase) {
    td_call sum = {.in = t->update.grads,
                   .out = t->update.grads,
                   .count = t->tensors.scalars - t->update.first,
                   .dtype = TD_F32,
                   .counts = t->shard.sharded ? t->shard.sums : NULL};
    const bool parts = t->shard.sharded, later = t->split.ranks > 1 && !reduces_early(t);
    return !later ? phase
                  : exchange_parts(t, program, phase, parts ? "reduce_scatter" : "allreduce",
                                   parts ? "direct" : "tree", &sum, "grads.sum");
}

/* A slot a tile, of the same tiles however the buffer is shared. */
static int norm_gradients(td_train *t, td_program *program, int phase) {
    td_sumsq_f32_args norm = {.n = t->shard.n,
                              .x = td_at(t->update.grads, t->shard.first),
                              .slots =
                                  t->norm_slots == NULL ? NULL : t->norm_slots + t->shard.tile};
    td_program_part(program, "clip");
    phase = td_program_kernel(program, phase, TD_OP_sumsq_f32, &norm, "optimizer", "grads.norm");
    td_call slots = {.in = t->norm_slots,
                     .out = t->norm_slots,
                     .count = t->n_norm_slots,
                     .dtype = TD_F64,
                     .counts = t->shard.tiles};
    return !t->shard.sharded
               ? phase
               : exchange_parts(t, program, phase, "allgather", "linear", &slots, "norm.allgather");
}

static int gather_weights(const td_train *t, td_program *program, int phase) {
    float *trained = td_at(t->params, t->update.first);
    td_call parts = {.in = trained,
                     .out = trained,
                     .count = t->tensors.flat - t->update.first,
                     .dtype = TD_F32,
                     .counts = t->shard.weights};
    return !t->shard.sharded ? phase
                             : exchange_parts(t, program, phase, "allgather", "linear", &parts,
                                              "weights.allgather");
}

/* Everything after the gradients of this rank: sum over ranks, clip, update, moving average. */
static void build_update(td_train *t, td_program *program, int phase) {
    phase = reduce_gradients(t, program, phase);
    td_program_part(program, "loss");
    phase = td_program_call(program, phase, finish_loss, t, "loss.total");
    if (t->options.optimizer.grad_clip > 0) {
        phase = norm_gradients(t, program, phase);
    }
    td_program_part(program, "optimizer");
    if (!t->update.early) {
        phase = td_program_call(program, phase, prepare_update, t, "update.scalars");
    }
    phase = td_update_rest(&t->update, program, phase);
    phase = gather_weights(t, program, phase);
    td_program_part(program, "optimizer");
    phase = td_program_call(program, phase, end_step, t, "step.end");
    if (t->options.ema > 0) {
        TD_PROGRAM_ADD(program, phase, ema_f32, "optimizer", "ema", .n = t->tensors.flat,
                       .p = t->params, .weight = &t->ema_weight, .ema = t->ema);
    }
}

/* The largest buffer that the communicator is given, in f32. */
static int64_t largest_exchange(const td_train *t) {
    int64_t rows = td_split_most_blocks(&t->split) * (t->split.batch / t->split.blocks);
    int64_t features = t->split.ranks * rows * t->options.config.embed;
    int64_t sums = t->split.ranks * td_split_most_blocks(&t->split) *
                   (int64_t)(sizeof(td_block_sums) / sizeof(float));
    int64_t most = features > sums ? features : sums;
    return t->tensors.scalars > most ? t->tensors.scalars : most;
}

static bool trains_image(const td_train *t) {
    return !t->options.freeze_image && !t->options.image_features;
}

/* One level of the tree over micro-batches: older += newer. The flat buffers are whole tiles of 16
 * elements. */
static int add_gradients(const td_train *t, td_program *program, int phase, float *older,
                         float *newer) {
    enum { CHUNK = 16384 };
    int64_t n = t->tensors.scalars - t->update.first, whole = n / CHUNK * CHUNK;
    td_program_part(program, "accumulation");
    TD_PROGRAM_ADD(program, phase, rows_copy_f32, "optimizer", "grads.add", .groups = n / CHUNK,
                   .rows = 1, .cols = CHUNK, .from = newer, .from_group = CHUNK, .from_ld = CHUNK,
                   .to = older, .to_group = CHUNK, .to_ld = CHUNK, .add = true);
    return TD_PROGRAM_ADD(program, phase, rows_copy_f32, "optimizer", "grads.add", .groups = 1,
                          .rows = 1, .cols = n - whole, .from = td_at(newer, whole),
                          .from_group = n, .from_ld = n, .to = td_at(older, whole), .to_group = n,
                          .to_ld = n, .add = true);
}

/* Where one pass is built: activations of micro-batches lie in the same place. */
typedef struct pass_build {
    td_train *t;
    step_pass *pass;
    td_build towers;
    td_plan *activations;
} pass_build;

static float *micro_rows(const pass_build *at, float *rows, int64_t micro) {
    return td_at(rows, micro * at->towers.rows * at->t->options.config.embed);
}

static int most_of(int a, int b) {
    return a > b ? a : b;
}

static void note_activations(pass_build *at) {
    int64_t used = (int64_t)at->activations->used_bytes;
    at->t->activation_bytes = used > at->t->activation_bytes ? used : at->t->activation_bytes;
}

static void note_passes(td_train *t, int64_t image, int64_t text) {
    int64_t *most = t->pass_bytes;
    most[0] = image > most[0] ? image : most[0];
    most[1] = text > most[1] ? text : most[1];
}

/* Features of one micro-batch; keep: its backward pass follows. bytes: what the towers planned. */
static int build_forward(pass_build *at, int phase, int64_t micro, bool keep, bool image,
                         int64_t bytes[2]) {
    td_objective *o = &at->t->objective;
    int after = phase;
    size_t start = at->activations->used_bytes;
    if (image) {
        at->towers.training = keep && trains_image(at->t);
        td_program_part(at->towers.program, "image_forward");
        after = td_vision_forward(&at->towers, &at->pass->vision[micro], phase,
                                  micro_rows(at, o->image.own, micro));
    }
    size_t middle = at->activations->used_bytes;
    at->towers.training = keep;
    td_program_part(at->towers.program, "text_forward");
    int text = td_text_forward(&at->towers, &at->pass->text[micro], phase,
                               micro_rows(at, o->text.own, micro));
    bytes[0] = (int64_t)(middle - start);
    bytes[1] = (int64_t)(at->activations->used_bytes - middle);
    note_passes(at->t, bytes[0], bytes[1]);
    return most_of(after, text);
}

static int build_backward(pass_build *at, int phase, int64_t micro, const int64_t bytes[2]) {
    td_objective *o = &at->t->objective;
    int image = phase;
    size_t start = at->activations->used_bytes;
    if (trains_image(at->t)) {
        td_program_part(at->towers.program, "image_backward");
        image = td_vision_backward(&at->towers, &at->pass->vision[micro], phase,
                                   micro_rows(at, o->image.d_own, micro));
    }
    size_t middle = at->activations->used_bytes;
    td_program_part(at->towers.program, "text_backward");
    int text = td_text_backward(&at->towers, &at->pass->text[micro], phase,
                                micro_rows(at, o->text.d_own, micro));
    note_passes(at->t, bytes[0] + (int64_t)(middle - start),
                bytes[1] + (int64_t)(at->activations->used_bytes - middle));
    return most_of(image, text);
}

/* Micro-batch after micro-batch, their gradients joined by the tree over logical blocks, as a
 * binary counter: the buffers of all that wait are a stack. */
static int build_micro_batches(pass_build *at, int phase) {
    td_train *t = at->t;
    int64_t depth = 0;
    for (int64_t micro = 0; micro < accum_of(t); micro++) {
        at->activations->used_bytes = 0;
        at->towers.grads = depth == 0 ? t->update.grads : t->more_grads[depth - 1];
        int64_t bytes[2];
        phase = build_forward(at, phase, micro, true, trains_image(t), bytes);
        phase = build_backward(at, phase, micro, bytes);
        note_activations(at);
        depth++;
        for (int64_t bits = micro; (bits & 1) != 0; bits >>= 1, depth--) {
            float *older = depth == 2 ? t->update.grads : t->more_grads[depth - 3];
            phase = add_gradients(t, at->pass->program, phase, older, t->more_grads[depth - 2]);
        }
    }
    return phase;
}

static int build_features(pass_build *at, int phase) {
    td_train *t = at->t;
    td_program_part(at->pass->program, "image_forward");
    int64_t floats = td_split_rows(&t->split, t->split.rank) * t->options.config.embed;
    phase = TD_PROGRAM_ADD(at->pass->program, phase, rows_copy_f32, "loss", "v.features",
                           .groups = 1, .rows = 1, .cols = floats, .from_ld = floats,
                           .to = t->objective.image.own, .to_ld = floats);
    td_program_vary(at->pass->program, offsetof(td_rows_copy_f32_args, from), &t->features);
    return phase;
}

static td_build towers_of(const td_train *t, td_program *program, td_plan *activations,
                          int64_t kept) {
    int64_t accum = accum_of(t), rows = td_split_rows(&t->split, t->split.rank) / accum;
    return (td_build){.program = program,
                      .plan = activations,
                      .config = &t->options.config,
                      .tensors = &t->tensors,
                      .params = t->params,
                      .precision = t->options.precision,
                      .grads = t->update.grads,
                      .update = &t->update,
                      .rows = rows,
                      .blocks = td_split_n_blocks(&t->split, t->split.rank) / accum,
                      .prune = !t->options.keep_last_block,
                      .pack = !t->options.keep_padding,
                      .recompute = t->options.recompute,
                      .kept = kept};
}

static int add_reduction(td_train *t, const step_pass *pass, int first, int phase) {
    td_reduction_place place = {.program = pass->program,
                                .tensors = &t->tensors,
                                .config = &t->options.config,
                                .image = trains_image(t),
                                .first_phase = first,
                                .comm = t->comm,
                                .grads = t->update.grads,
                                .grads_first = t->update.first};
    return reduces_early(t) ? td_reduction_build(&place, phase, &t->reductions[pass - t->passes])
                            : phase;
}

static void build_pass(td_train *t, step_pass *pass, int64_t kept, td_plan *arena,
                       td_plan *activations) {
    int64_t accum = accum_of(t);
    pass_build at = {.t = t,
                     .pass = pass,
                     .activations = activations,
                     .towers = towers_of(t, pass->program, activations, kept)};
    td_program_clear(pass->program);
    for (int64_t micro = 0; micro < accum; micro++) {
        if (!t->options.image_features) {
            td_vision_plan(&at.towers, &pass->vision[micro], arena);
        }
        td_text_plan(&at.towers, &pass->text[micro], arena);
    }
    td_program_call(pass->program, 0, begin_step, t, "step.begin");
    if (t->update.early) {
        td_program_call(pass->program, 0, prepare_update, t, "update.scalars");
    }
    bool image = !t->options.image_features;
    int phase = 0, given = image ? 0 : build_features(&at, 0);
    int64_t bytes[2];
    activations->used_bytes = 0;
    for (int64_t micro = 0; micro < accum; micro++) {
        activations->used_bytes = accum > 1 ? 0 : activations->used_bytes;
        phase = build_forward(&at, phase, micro, accum == 1, image, bytes);
        note_activations(&at);
    }
    td_program_part(pass->program, "loss");
    phase = td_objective_build(&t->objective, pass->program, arena, most_of(phase, given));
    if (accum == 1) {
        int first = phase;
        phase = build_backward(&at, phase, 0, bytes);
        phase = add_reduction(t, pass, first, phase);
        note_activations(&at);
    } else {
        phase = build_micro_batches(&at, phase);
    }
    build_update(t, pass->program, phase);
}

static int64_t kept_patches(const td_train_options *o) {
    int64_t kept = (int64_t)((double)td_model_patches(&o->config) * (1 - o->patch_mask));
    return kept < 1 ? 1 : kept;
}

double td_train_nominal_flops(const td_train_options *o) {
    double image = td_model_image_flops(&o->config, kept_patches(o));
    double passes = o->image_features ? 0 : (o->freeze_image ? 1 : 3);
    return passes * image + 3 * td_model_text_flops(&o->config);
}

/* Runs twice: with all bases NULL to measure, then for real, when the communicator exists. */
static void build(td_train *t, td_plan *segment, td_plan *arena, td_plan *activations) {
    const td_model_config *config = &t->options.config;
    int64_t n = t->tensors.flat - t->update.first;
    td_plan_take(segment, TD_TRAIN_RESULT);
    if (t->split.ranks > 1) {
        t->staging_bytes = td_comm_bytes(t->split.ranks, largest_exchange(t), TD_F32);
        t->staging = td_plan_take(segment, (size_t)t->staging_bytes);
    }
    /* What the ranks exchange lies in the segment; moments do for the one that saves them. */
    td_plan *shared = t->shard.sharded ? segment : arena;
    t->params = t->update.params = TD_PLAN_ARRAY(shared, float, t->tensors.flat);
    td_update_plan(&t->update, segment, shared, arena);
    if (t->options.optimizer.grad_clip > 0) {
        t->n_norm_slots = td_sumsq_f32_tiles(&(td_sumsq_f32_args){.n = n});
        t->norm_slots = TD_PLAN_ARRAY(shared, double, t->n_norm_slots);
    }
    t->ema = t->options.ema > 0 ? TD_PLAN_ARRAY(arena, float, t->tensors.flat) : NULL;
    for (int level = 0; accum_of(t) >> level > 1; level++) {
        t->more_grads[level] = TD_PLAN_ARRAY(arena, float, n);
    }
    t->objective = (td_objective){.kind = t->options.loss,
                                  .split = t->split,
                                  .embed = config->embed,
                                  .rank = t->rank,
                                  .comm = t->comm,
                                  .scale = &t->scale,
                                  .bias = &t->bias};
    td_objective_plan(&t->objective, segment, arena);
    t->activation_bytes = 0;
    build_pass(t, &t->passes[WHOLE], 0, arena, activations);
    if (t->passes[MASKED].program != NULL) {
        build_pass(t, &t->passes[MASKED], kept_patches(&t->options), arena, activations);
    }
}

static td_status check_options(const td_train *t) {
    const td_train_options *o = &t->options;
    int64_t blocks = td_split_n_blocks(&t->split, t->split.rank), accum = accum_of(t);
    if ((accum & (accum - 1)) != 0 || accum > MAX_ACCUM || blocks % accum != 0) {
        return td_fail(TD_EUSAGE,
                       "%" PRId64 " micro-batches of %" PRId64
                       " logical blocks a rank; expected a power of two that divides them",
                       accum, blocks);
    }
    if (!(o->patch_mask >= 0 && o->patch_mask < 1)) {
        return td_fail(TD_EUSAGE, "a patch mask of %g; expected a share from 0 to less than 1",
                       o->patch_mask);
    }
    if (o->patch_mask > 0 && td_model_patches(&o->config) > TD_MODEL_MAX_PATCHES) {
        return td_fail(TD_EUSAGE, "%" PRId64 " patches; with a patch mask at most %d",
                       td_model_patches(&o->config), TD_MODEL_MAX_PATCHES);
    }
    if (o->patch_mask > 0 && !trains_image(t)) {
        return td_fail(TD_EUSAGE, "a patch mask is for an image tower that trains; it is frozen");
    }
    return TD_OK;
}

static td_status create_passes(td_train *t) {
    size_t towers = (size_t)accum_of(t) * sizeof(td_tower);
    for (int i = WHOLE; i <= (t->options.patch_mask > 0 ? MASKED : WHOLE); i++) {
        step_pass *pass = &t->passes[i];
        TD_TRY(td_program_create(&pass->program));
        pass->vision = td_alloc_zero(towers);
        pass->text = td_alloc_zero(towers);
        if (pass->vision == NULL || pass->text == NULL) {
            return td_fail(TD_ENOMEM, "no memory for the towers of a training step");
        }
    }
    return TD_OK;
}

static td_status finish_passes(td_train *t, int workers) {
    for (int i = 0; i < N_PASSES; i++) {
        if (t->passes[i].program != NULL) {
            TD_TRY(td_program_finish(t->passes[i].program, workers));
            TD_TRY(reduces_early(t) ? td_reduction_status(t->reductions[i]) : TD_OK);
        }
    }
    return TD_OK;
}

/* The bytes of a tower that has so many elements, so many of gradients, and updates so many. */
static td_tower_needs tower_needs(const td_train *t, int64_t elements, int64_t grads,
                                  int64_t updated) {
    int64_t size = (int64_t)sizeof(float), copies = 1;
    for (int level = 0; accum_of(t) >> level > 1; level++) {
        copies++;
    }
    return (td_tower_needs){.params = elements * size,
                            .average = t->options.ema > 0 ? elements * size : 0,
                            .grads = grads * copies * size,
                            .moments = td_train_n_moments(t) * updated * size};
}

/* Splits what was planned by tower, and what a tower's passes take by what they would take without
 * a backward pass. */
static td_status account(const td_train *t, td_train_needs *out) {
    int64_t image = td_tensors_image_end(&t->tensors), rest = t->tensors.flat - image;
    td_tower_needs *a = &out->image, *b = &out->text;
    int64_t trained = trains_image(t) ? image : 0;
    int64_t updated = t->shard.most < trained ? t->shard.most : trained; /* by rank 0 */
    int64_t image_grads, grads = td_update_grad_floats(&t->update, &image_grads);
    *a = tower_needs(t, image, image_grads, updated);
    *b = tower_needs(t, rest, grads - image_grads, t->shard.most - updated);
    out->other_bytes = out->segment_bytes + out->arena_bytes - out->activation_bytes -
                       (a->params + a->average + a->grads + a->moments + b->params + b->average +
                        b->grads + b->moments);
    td_build alone = towers_of(t, NULL, NULL, 0);
    if (!t->options.image_features) {
        TD_TRY(td_tower_forward_bytes(&alone, true, &a->forward));
    }
    TD_TRY(td_tower_forward_bytes(&alone, false, &b->forward));
    a->backward = t->pass_bytes[0] - a->forward;
    b->backward = t->pass_bytes[1] - b->forward;
    return TD_OK;
}

/* Whether nobody needs all gradients at once. */
static bool updates_early(const td_train *t) {
    const td_train_options *o = &t->options;
    return !o->keep_gradients && t->split.ranks == 1 && !o->zero && o->optimizer.grad_clip <= 0 &&
           accum_of(t) == 1;
}

/* Measures with everything NULL. */
static td_status measure(td_train *t, td_train_needs *out) {
    TD_TRY(td_split_check(&t->split));
    TD_TRY(check_options(t));
    TD_TRY(td_tensors_create(&t->options.config, t->options.loss, &t->tensors));
    TD_TRY(create_passes(t));
    td_plan segment = {0}, arena = {0}, activations = {0};
    int64_t first = trains_image(t) ? 0 : td_tensors_image_end(&t->tensors);
    t->shard = td_shard_make(t->options.zero, t->split.rank, t->split.ranks,
                             t->tensors.flat - first, t->tensors.scalars - first);
    t->update = (td_update){.tensors = &t->tensors,
                            .kind = t->options.optimizer.kind,
                            .shard = &t->shard,
                            .first = first,
                            .early = updates_early(t)};
    build(t, &segment, &arena, &activations);
    TD_TRY(finish_passes(t, 1));
    *out = (td_train_needs){.segment_bytes = (int64_t)segment.used_bytes,
                            .arena_bytes = (int64_t)arena.used_bytes + t->activation_bytes,
                            .activation_bytes = t->activation_bytes,
                            .n_params = t->tensors.n_elements};
    TD_TRY(account(t, out));
    for (int i = 0; i < t->tensors.count; i++) {
        const td_tensor *tensor = &t->tensors.tensors[i];
        out->n_trained += tensor->offset >= t->update.first ? tensor->count : 0;
    }
    for (int i = 0; i < N_PASSES; i++) {
        int64_t bytes =
            t->passes[i].program == NULL ? 0 : td_program_scratch_bytes(t->passes[i].program);
        out->scratch_bytes = bytes > out->scratch_bytes ? bytes : out->scratch_bytes;
    }
    return TD_OK;
}

td_status td_train_measure(const td_train_options *options, int ranks, td_train_needs *out) {
    td_train *t = td_alloc_zero(sizeof(*t));
    if (t == NULL) {
        return td_fail(TD_ENOMEM, "no memory to plan a training step");
    }
    t->options = *options;
    t->split = (td_split){.batch = options->batch, .blocks = options->blocks, .ranks = ranks};
    td_status status = measure(t, out);
    td_train_destroy(t);
    return status;
}

/* Workers touch first what they will mostly work on: their share of weights and moments. */
static void init_region(void *arg, td_worker *worker) {
    td_train *t = arg;
    int64_t first, last;
    td_worker_share(worker, td_tensors_pieces(&t->tensors), &first, &last);
    td_tensors_init(&t->tensors, t->options.seed, t->params, first, last);
    td_worker_share(worker, t->shard.n, &first, &last);
    memset(t->update.m + first, 0, (size_t)(last - first) * sizeof(float));
    if (t->update.v != NULL) {
        memset(t->update.v + first, 0, (size_t)(last - first) * sizeof(float));
    }
    td_worker_share(worker, t->tensors.flat - t->update.first, &first, &last);
    for (int level = 0; accum_of(t) >> level > 1; level++) {
        memset(t->more_grads[level] + first, 0, (size_t)(last - first) * sizeof(float));
    }
}

void td_train_reset_ema(td_train *t) {
    if (t->ema != NULL) {
        memcpy(t->ema, t->params, (size_t)t->tensors.flat * sizeof(float));
    }
}

static td_status create(td_train *t) {
    td_train_needs needs;
    TD_TRY(measure(t, &needs));
    if (needs.segment_bytes > (int64_t)t->rank->segment_bytes) {
        return td_fail(TD_EUSAGE, "rank %d has a segment of %zu bytes; this model needs %" PRId64,
                       t->rank->rank, t->rank->segment_bytes, needs.segment_bytes);
    }
    TD_TRY(td_arena_create((size_t)needs.arena_bytes, &t->arena));
    td_team_options team = {.workers = t->rank->workers,
                            .pu = t->rank->pu,
                            .scratch_bytes = needs.scratch_bytes,
                            .shares_cpus = t->rank->shares_cpus};
    TD_TRY(td_team_create(&team, &t->team));
    if (t->split.ranks > 1) {
        td_plan staging = {.base = t->rank->segment};
        td_plan_take(&staging, TD_TRAIN_RESULT);
        TD_TRY(td_comm_create(t->rank, td_plan_take(&staging, (size_t)t->staging_bytes),
                              t->staging_bytes, &t->comm));
    }
    size_t kept_bytes = (size_t)(needs.arena_bytes - needs.activation_bytes);
    td_plan segment = {.base = t->rank->segment}, arena = {.base = t->arena.base};
    td_plan activations = {.base = t->arena.base + kept_bytes};
    build(t, &segment, &arena, &activations);
    TD_ASSERT((int64_t)segment.used_bytes == needs.segment_bytes &&
              arena.used_bytes == kept_bytes && t->activation_bytes == needs.activation_bytes);
    TD_TRY(finish_passes(t, t->rank->workers));
    t->ema_weight = (float)(1 - t->options.ema);
    td_team_run(t->team, init_region, t);
    td_train_reset_ema(t);
    return TD_OK;
}

td_status td_train_create(const td_train_options *options, td_rank *rank, td_train **out) {
    td_train *t = td_alloc_zero(sizeof(*t));
    if (t == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a training step");
    }
    t->options = *options;
    t->rank = rank;
    t->split = (td_split){.batch = options->batch,
                          .blocks = options->blocks,
                          .rank = rank->rank,
                          .ranks = rank->count};
    td_status status = create(t);
    if (status != TD_OK) {
        td_train_destroy(t);
        return status;
    }
    *out = t;
    return TD_OK;
}

void td_train_destroy(td_train *t) {
    if (t != NULL) {
        if (t->comm != NULL) {
            td_comm_destroy(t->comm);
        }
        if (t->team != NULL) {
            td_team_destroy(t->team);
        }
        for (int i = 0; i < N_PASSES; i++) {
            td_program_destroy(t->passes[i].program);
            td_reduction_destroy(t->reductions[i]);
            td_free(t->passes[i].vision);
            td_free(t->passes[i].text);
        }
        td_tensors_destroy(&t->tensors);
        td_arena_destroy(&t->arena);
        td_free(t);
    }
}

static td_status check_tokens(const td_train *t, const int32_t *tokens) {
    const td_model_config *config = &t->options.config;
    int64_t n = td_split_rows(&t->split, t->split.rank) * config->context;
    for (int64_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= config->vocab) {
            return td_fail(TD_EINPUT,
                           "sample %" PRId64 ", position %" PRId64 ": token %" PRId32
                           " is outside the vocabulary of %" PRId64,
                           td_split_first_row(&t->split, t->split.rank) + i / config->context,
                           i % config->context, tokens[i], config->vocab);
        }
    }
    return TD_OK;
}

/* What each micro-batch reads. */
static void take_inputs(td_train *t, const step_pass *pass, const float *images,
                        const int32_t *tokens) {
    const td_model_config *config = &t->options.config;
    int64_t rows = td_split_rows(&t->split, t->split.rank) / accum_of(t);
    t->features = images;
    for (int64_t micro = 0; micro < accum_of(t); micro++) {
        td_tower *vision = &pass->vision[micro];
        if (!t->options.image_features) {
            vision->images = images + micro * rows * 3 * config->image_size * config->image_size;
            td_vision_set_patches(vision, t->options.seed, t->steps_done,
                                  td_split_first_row(&t->split, t->split.rank) + micro * rows);
        }
        td_text_set_tokens(&pass->text[micro], tokens + micro * rows * config->context);
    }
}

td_status td_train_step(td_train *t, const float *images, const int32_t *tokens,
                        td_step_result *out) {
    bool masked = t->options.patch_mask > 0 &&
                  t->steps_done < t->options.optimizer.steps - t->options.unmask_steps;
    t->last = masked ? MASKED : WHOLE;
    const step_pass *pass = &t->passes[t->last];
    TD_TRY(check_tokens(t, tokens));
    take_inputs(t, pass, images, tokens);
    TD_TRY(td_program_run(pass->program, t->team));
    *out = (td_step_result){.step = t->steps_done - 1,
                            .loss = t->total.loss,
                            .lr = t->lr,
                            .scale = (double)t->scale,
                            .bias = (double)t->bias,
                            .grad_norm = t->grad_norm,
                            .stop = t->total.stop > 0};
    return TD_OK;
}

void td_train_ask_stop(td_train *t) {
    t->ask_stop = true;
}

int64_t td_train_steps_done(const td_train *t) {
    return t->steps_done;
}
void td_train_set_steps_done(td_train *t, int64_t steps) {
    t->steps_done = steps;
}

const td_train_options *td_train_get_options(const td_train *t) {
    return &t->options;
}
const td_tensors *td_train_tensors(const td_train *t) {
    return &t->tensors;
}
const td_split *td_train_split(const td_train *t) {
    return &t->split;
}
td_team *td_train_team(td_train *t) {
    return t->team;
}
td_program *td_train_program(td_train *t) {
    return t->passes[t->last].program;
}
float *td_train_params(td_train *t) {
    return t->params;
}
float *td_train_ema(td_train *t) {
    return t->ema;
}
int64_t td_train_first(const td_train *t) {
    return t->update.first;
}
float *td_train_grads(td_train *t) {
    TD_ASSERT(!t->update.early); /* see keep_gradients */
    return t->update.grads;
}
float *td_train_moments(td_train *t, int order) {
    return order == 1 ? t->update.m : t->update.v;
}
int td_train_n_moments(const td_train *t) {
    return t->options.optimizer.kind == TD_OPTIMIZER_LION ? 1 : 2;
}
const td_shard *td_train_shard(const td_train *t) {
    return &t->shard;
}
double td_train_overlap(const td_train *t) {
    return reduces_early(t) ? td_reduction_early(t->reductions[t->last]) : 0;
}
void td_train_collect_moments(const td_train *t, int order, float *all) {
    const float *mine = order == 1 ? t->update.m : t->update.v;
    for (int rank = 0; rank < (t->shard.sharded ? t->split.ranks : 1); rank++) {
        int64_t n = t->shard.sharded ? t->shard.weights[rank] : t->shard.n;
        const float *part = t->shard.sharded ? td_rank_peer(t->rank, rank, mine) : mine;
        memcpy(all, part, (size_t)n * sizeof(float));
        all += n;
    }
}

void td_train_take_moments(td_train *t, int order, const float *all) {
    memcpy(td_train_moments(t, order), all + t->shard.first, (size_t)t->shard.n * sizeof(float));
}

td_status td_train_pages(const td_train *t, td_pages *out) {
    TD_TRY(td_pages_add(t->arena.base, t->arena.bytes, out));
    return td_pages_add(t->rank->segment, t->rank->segment_bytes, out);
}

td_status td_train_sha256(const td_train *t, char hex[TD_SHA256_HEX]) {
    return td_tensors_sha256(&t->tensors, t->params, hex);
}
