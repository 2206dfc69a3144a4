/* SPDX-License-Identifier: Apache-2.0 */
#include "models/train.h"

#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "models/train_state.h"

static td_status check_options(const td_train *t) {
    const td_train_options *o = &t->options;
    int64_t blocks = td_split_n_blocks(&t->split, t->split.rank), accum = td_train_accum(t);
    if ((accum & (accum - 1)) != 0 || accum > TD_MAX_BLOCKS || blocks % accum != 0) {
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
    if (o->patch_mask > 0 && !td_train_trains_image(t)) {
        return td_fail(TD_EUSAGE, "a patch mask is for an image tower that trains; it is frozen");
    }
    return TD_OK;
}

static td_status create_passes(td_train *t) {
    size_t towers = (size_t)td_train_accum(t) * sizeof(td_tower);
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
            TD_TRY(td_train_reduces_early(t) ? td_reduction_status(t->reductions[i]) : TD_OK);
        }
    }
    return TD_OK;
}

/* The bytes of a tower that has so many elements, so many of gradients, and updates so many. */
static td_tower_needs tower_needs(const td_train *t, int64_t elements, int64_t grads,
                                  int64_t updated) {
    int64_t size = (int64_t)sizeof(float), copies = 1;
    for (int level = 0; td_train_accum(t) >> level > 1; level++) {
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
    int64_t trained = td_train_trains_image(t) ? image : 0;
    int64_t updated = t->shard.most < trained ? t->shard.most : trained; /* by rank 0 */
    int64_t image_grads, grads = td_update_grad_floats(&t->update, &image_grads);
    *a = tower_needs(t, image, image_grads, updated);
    *b = tower_needs(t, rest, grads - image_grads, t->shard.most - updated);
    out->other_bytes = out->segment_bytes + out->arena_bytes - out->activation_bytes -
                       (a->params + a->average + a->grads + a->moments + b->params + b->average +
                        b->grads + b->moments);
    td_build alone = td_train_towers(t, NULL, NULL, 0);
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
           td_train_accum(t) == 1;
}

/* Measures with everything NULL. */
static td_status measure(td_train *t, td_train_needs *out) {
    TD_TRY(td_split_check(&t->split));
    TD_TRY(check_options(t));
    TD_TRY(td_tensors_create(&t->options.config, t->options.loss, &t->tensors));
    TD_TRY(create_passes(t));
    td_plan segment = {0}, arena = {0}, activations = {0};
    int64_t first = td_train_trains_image(t) ? 0 : td_tensors_image_end(&t->tensors);
    t->shard = td_shard_make(t->options.zero, t->split.rank, t->split.ranks,
                             t->tensors.flat - first, t->tensors.scalars - first);
    t->update = (td_update){.tensors = &t->tensors,
                            .kind = t->options.optimizer.kind,
                            .shard = &t->shard,
                            .first = first,
                            .early = updates_early(t)};
    td_train_build(t, &segment, &arena, &activations);
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
    for (int level = 0; td_train_accum(t) >> level > 1; level++) {
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
    td_train_build(t, &segment, &arena, &activations);
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
    int64_t rows = td_split_rows(&t->split, t->split.rank) / td_train_accum(t);
    t->features = images;
    for (int64_t micro = 0; micro < td_train_accum(t); micro++) {
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
    return td_train_reduces_early(t) ? td_reduction_early(t->reductions[t->last]) : 0;
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
