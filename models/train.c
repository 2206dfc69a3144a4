/* SPDX-License-Identifier: Apache-2.0 */
#include "models/train.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/math.h"
#include "base/memory.h"
#include "models/layer.h"
#include "models/tower.h"

/* ln 100: the temperature may not push logits beyond +-100. */
static const float MAX_LOGIT_SCALE = 4.605170185988092F;

struct td_train {
    td_train_options options;
    td_tensors tensors;
    td_split split;
    td_rank *rank;
    td_team *team;
    td_comm *comm;
    td_program *program;
    td_arena arena;
    td_im2col_f32_args *im2col;
    float *params, *grads, *m, *v;
    int32_t *ids;
    double *norm_slots;
    int64_t n_norm_slots;
    unsigned char *staging;
    int64_t staging_bytes;
    td_objective objective;
    td_tower vision, text;
    float scale, bias; /* what the loss kernels read */
    td_adamw_step adamw;
    td_block_sums total;
    double lr, grad_norm;
    int64_t steps_done;
    bool ask_stop;
};

double td_optimizer_lr(const td_optimizer *o, int64_t step) {
    if (step < o->warmup) {
        return o->lr * (double)(step + 1) / (double)o->warmup;
    }
    if (o->schedule == TD_SCHEDULE_CONST || o->steps <= o->warmup) {
        return o->lr;
    }
    if (step >= o->steps) {
        return 0;
    }
    return 0.5 * o->lr *
           (1 + td_cospi((double)(step - o->warmup) / (double)(o->steps - o->warmup)));
}

/* The kernel computes in f32, and a rounding error of a factor is the same for all weights: it does
 * not average out, as those of single elements do. One of 1e-7 in the step size moved the loss of a
 * small model by 8e-7 in three steps. So each factor makes up for the rounding of those before it:
 * the moments are divided by the sum of the weights they were really built with, and the
 * denominator sqrt(v) * r + eps is exact but for a common factor that the step size takes up. */
td_adamw_step td_optimizer_adamw(const td_optimizer *o, int64_t step, double grad_scale) {
    td_adamw_step s = {.beta1 = (float)o->beta1,
                       .one_minus_beta1 = (float)(1 - o->beta1),
                       .beta2 = (float)o->beta2,
                       .one_minus_beta2 = (float)(1 - o->beta2),
                       .grad_scale = (float)grad_scale};
    double lr = td_optimizer_lr(o, step);
    double beta1 = (double)s.beta1, beta2 = (double)s.beta2;
    double sum1 = (double)s.one_minus_beta1 * (1 - td_pow_int(beta1, step + 1)) / (1 - beta1);
    double sum2 = (double)s.one_minus_beta2 * (1 - td_pow_int(beta2, step + 1)) / (1 - beta2);
    double root = 1 / sqrt(sum2);
    s.rsqrt_bc2 = (float)root;
    double stretch = (double)s.rsqrt_bc2 / root;
    s.eps = (float)(o->eps * stretch);
    s.lr_bc1 = (float)(lr / sum1 * stretch);
    s.decay = (float)(1 - lr * o->weight_decay);
    return s;
}

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
    t->grads[t->tensors.scalars] = (float)t->total.dscale;
    if (t->options.loss == TD_LOSS_SIGMOID) {
        t->grads[td_tensors_at(&t->tensors, TD_ROLE_logit_bias, 0)->offset] = (float)t->total.dbias;
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
    t->adamw = td_optimizer_adamw(o, t->steps_done, clip);
}

static void end_step(void *arg) {
    td_train *t = arg;
    float *logit_scale = &t->params[t->tensors.scalars];
    *logit_scale = *logit_scale > MAX_LOGIT_SCALE ? MAX_LOGIT_SCALE : *logit_scale;
    t->steps_done++;
}

/* Everything after the gradients of this rank: sum over ranks, clip, AdamW. */
static void build_update(td_train *t, td_plan *arena, int phase) {
    td_program *program = t->program;
    const td_optimizer *o = &t->options.optimizer;
    if (t->split.ranks > 1) {
        phase = td_program_collective(program, phase, td_collective_find("allreduce", "tree"),
                                      t->comm, t->grads, t->tensors.scalars, "grads.allreduce");
    }
    phase = td_program_call(program, phase, finish_loss, t, "loss.total");
    if (o->grad_clip > 0) {
        td_sumsq_f32_args norm = {.n = t->tensors.flat, .x = t->grads};
        t->n_norm_slots = td_sumsq_f32_tiles(&norm);
        norm.slots = t->norm_slots = TD_PLAN_ARRAY(arena, double, t->n_norm_slots);
        phase =
            td_program_kernel(program, phase, TD_OP_sumsq_f32, &norm, "optimizer", "grads.norm");
    }
    phase = td_program_call(program, phase, prepare_update, t, "update.scalars");
    phase = TD_PROGRAM_ADD(program, phase, adamw_f32, "optimizer", "adamw", .n = t->tensors.flat,
                           .p = t->params, .m = t->m, .v = t->v, .g = t->grads, .step = &t->adamw,
                           .ranges = (const int64_t(*)[2])t->tensors.decayed,
                           .n_ranges = t->tensors.n_decayed);
    td_program_call(program, phase, end_step, t, "step.end");
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

/* Runs twice: with both bases NULL to measure, then for real, when the communicator exists. */
static void build(td_train *t, td_plan *segment, td_plan *arena) {
    const td_model_config *config = &t->options.config;
    int64_t rows = td_split_rows(&t->split, t->split.rank);
    td_program_clear(t->program);
    td_plan_take(segment, TD_TRAIN_RESULT);
    if (t->split.ranks > 1) {
        t->staging_bytes = td_comm_bytes(t->split.ranks, largest_exchange(t), TD_F32);
        t->staging = td_plan_take(segment, (size_t)t->staging_bytes);
    }
    t->grads = TD_PLAN_ARRAY(segment, float, t->tensors.flat);
    t->params = TD_PLAN_ARRAY(arena, float, t->tensors.flat);
    t->m = TD_PLAN_ARRAY(arena, float, t->tensors.flat);
    t->v = TD_PLAN_ARRAY(arena, float, t->tensors.flat);
    t->ids = TD_PLAN_ARRAY(arena, int32_t, rows * config->context);
    t->objective = (td_objective){.kind = t->options.loss,
                                  .split = t->split,
                                  .embed = config->embed,
                                  .rank = t->rank,
                                  .comm = t->comm,
                                  .scale = &t->scale,
                                  .bias = &t->bias};
    td_objective_plan(&t->objective, segment, arena);
    td_build towers = {.program = t->program,
                       .plan = arena,
                       .config = config,
                       .tensors = &t->tensors,
                       .params = t->params,
                       .grads = t->grads,
                       .rows = rows,
                       .blocks = td_split_n_blocks(&t->split, t->split.rank),
                       .training = true};
    td_program_call(t->program, 0, begin_step, t, "step.begin");
    int image = td_vision_forward(&towers, &t->vision, 0, t->objective.image.own);
    int text = td_text_forward(&towers, &t->text, 0, t->ids, t->objective.text.own);
    int phase = td_objective_build(&t->objective, t->program, arena, image > text ? image : text);
    image = td_vision_backward(&towers, &t->vision, phase, t->objective.image.d_own);
    text = td_text_backward(&towers, &t->text, phase, t->objective.text.d_own);
    build_update(t, arena, image > text ? image : text);
}

/* Measures with everything NULL. */
static td_status measure(td_train *t, td_train_needs *out) {
    TD_TRY(td_split_check(&t->split));
    TD_TRY(td_tensors_create(&t->options.config, t->options.loss, &t->tensors));
    TD_TRY(td_program_create(&t->program));
    td_plan segment = {0}, arena = {0};
    build(t, &segment, &arena);
    TD_TRY(td_program_finish(t->program, 1));
    *out = (td_train_needs){.segment_bytes = (int64_t)segment.used_bytes,
                            .arena_bytes = (int64_t)arena.used_bytes,
                            .scratch_bytes = td_program_scratch_bytes(t->program),
                            .n_params = t->tensors.n_elements};
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
    td_worker_share(worker, t->tensors.flat, &first, &last);
    memset(t->m + first, 0, (size_t)(last - first) * sizeof(float));
    memset(t->v + first, 0, (size_t)(last - first) * sizeof(float));
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
    td_plan segment = {.base = t->rank->segment}, arena = {.base = t->arena.base};
    build(t, &segment, &arena);
    TD_ASSERT((int64_t)segment.used_bytes == needs.segment_bytes &&
              (int64_t)arena.used_bytes == needs.arena_bytes);
    TD_TRY(td_program_finish(t->program, t->rank->workers));
    t->im2col = td_program_args(t->program, "v.im2col");
    td_team_run(t->team, init_region, t);
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
        td_program_destroy(t->program);
        td_tensors_destroy(&t->tensors);
        td_arena_destroy(&t->arena);
        td_free(t);
    }
}

static td_status take_tokens(td_train *t, const int32_t *tokens) {
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
    memcpy(t->ids, tokens, (size_t)n * sizeof(tokens[0]));
    return TD_OK;
}

td_status td_train_step(td_train *t, const float *images, const int32_t *tokens,
                        td_step_result *out) {
    TD_TRY(take_tokens(t, tokens));
    t->im2col->images = images;
    TD_TRY(td_program_run(t->program, t->team));
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
    return t->program;
}
float *td_train_params(td_train *t) {
    return t->params;
}
float *td_train_grads(td_train *t) {
    return t->grads;
}
float *td_train_moments(td_train *t, int order) {
    return order == 1 ? t->m : t->v;
}

td_status td_train_sha256(const td_train *t, char hex[TD_SHA256_HEX]) {
    return td_tensors_sha256(&t->tensors, t->params, hex);
}
