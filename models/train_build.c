/* SPDX-License-Identifier: Apache-2.0 */
#include "models/train_state.h"

#include <math.h>
#include <stddef.h>

#include "base/math.h"
#include "models/layer.h"

/* ln 100: the temperature may not push logits beyond +-100. */
static const float MAX_LOGIT_SCALE = 4.605170185988092F;

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

int64_t td_train_accum(const td_train *t) {
    return t->options.accum > 1 ? t->options.accum : 1;
}

bool td_train_reduces_early(const td_train *t) {
    return t->split.ranks > 1 && !t->shard.sharded && td_train_accum(t) == 1 &&
           !t->options.sum_after;
}

static int reduce_gradients(const td_train *t, td_program *program, int phase) {
    td_call sum = {.in = t->update.grads,
                   .out = t->update.grads,
                   .count = t->tensors.scalars - t->update.first,
                   .dtype = TD_F32,
                   .counts = t->shard.sharded ? t->shard.sums : NULL};
    const bool parts = t->shard.sharded, later = t->split.ranks > 1 && !td_train_reduces_early(t);
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

bool td_train_trains_image(const td_train *t) {
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
        at->towers.training = keep && td_train_trains_image(at->t);
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
    if (td_train_trains_image(at->t)) {
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
    for (int64_t micro = 0; micro < td_train_accum(t); micro++) {
        at->activations->used_bytes = 0;
        at->towers.grads = depth == 0 ? t->update.grads : t->more_grads[depth - 1];
        int64_t bytes[2];
        phase = build_forward(at, phase, micro, true, td_train_trains_image(t), bytes);
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

td_build td_train_towers(const td_train *t, td_program *program, td_plan *activations,
                         int64_t kept) {
    int64_t accum = td_train_accum(t), rows = td_split_rows(&t->split, t->split.rank) / accum;
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
                                .image = td_train_trains_image(t),
                                .first_phase = first,
                                .comm = t->comm,
                                .grads = t->update.grads,
                                .grads_first = t->update.first};
    return td_train_reduces_early(t)
               ? td_reduction_build(&place, phase, &t->reductions[pass - t->passes])
               : phase;
}

static void build_pass(td_train *t, step_pass *pass, int64_t kept, td_plan *arena,
                       td_plan *activations) {
    int64_t accum = td_train_accum(t);
    pass_build at = {.t = t,
                     .pass = pass,
                     .activations = activations,
                     .towers = td_train_towers(t, pass->program, activations, kept)};
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

void td_train_build(td_train *t, td_plan *segment, td_plan *arena, td_plan *activations) {
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
    for (int level = 0; td_train_accum(t) >> level > 1; level++) {
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
