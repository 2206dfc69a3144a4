/* SPDX-License-Identifier: Apache-2.0 */
#include "models/wide_deep.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "models/layer.h"
#include "models/wide_deep_plan.h"

enum { PAD = 16 }; /* elements between starts of tensors: a cache line */

static int64_t padded(int64_t count) {
    return (count + PAD - 1) / PAD * PAD;
}

static td_wd_tensor *add_tensor(td_wide_deep *model, int64_t rows, int64_t cols, bool decays,
                                double spread) {
    td_wd_tensor *tensor = &model->tensors[model->n_tensors++];
    *tensor = (td_wd_tensor){
        .offset = model->flat, .rows = rows, .cols = cols, .decays = decays, .spread = spread};
    model->flat += padded(rows * cols);
    return tensor;
}

/* TensorFlow's initial values: embeddings of deviation 1 / sqrt(dimension), layers Glorot's, a wide
 * part of zeros. */
static td_status list_tensors(td_wide_deep *model) {
    const td_table_shape *s = model->shape;
    int most = s->n_tables + 1 + 2 * (s->n_hidden + 1);
    model->tensors = td_alloc_zero((size_t)most * sizeof *model->tensors);
    model->decayed = td_alloc_zero((size_t)most * sizeof *model->decayed);
    if (model->tensors == NULL || model->decayed == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a wide and deep model");
    }
    for (int t = 0; t < s->n_tables; t++) {
        int i = 0;
        while (s->embeddings[i].table != t) {
            i++;
        }
        const td_table_embedding *e = &s->embeddings[i];
        td_wd_tensor *table =
            add_tensor(model, e->buckets, e->dimension, true, 1 / sqrt((double)e->dimension));
        snprintf(table->name, sizeof table->name, "deep/%.80s", e->name);
    }
    if (s->wide_buckets > 0) {
        td_wd_tensor *wide = add_tensor(model, s->wide_buckets, s->classes, true, 0);
        snprintf(wide->name, sizeof wide->name, "wide/weights");
    }
    for (int i = 0; i <= s->n_hidden; i++) {
        int64_t in = i == 0 ? s->width : s->hidden[i - 1];
        int64_t out = i == s->n_hidden ? s->classes : s->hidden[i];
        td_wd_tensor *weight = add_tensor(model, out, in, true, sqrt(2.0 / (double)(in + out)));
        td_wd_tensor *bias = add_tensor(model, 1, out, false, 0);
        if (i == s->n_hidden) {
            snprintf(weight->name, sizeof weight->name, "logits/weight");
            snprintf(bias->name, sizeof bias->name, "logits/bias");
        } else {
            snprintf(weight->name, sizeof weight->name, "hidden.%d/weight", i);
            snprintf(bias->name, sizeof bias->name, "hidden.%d/bias", i);
        }
    }
    for (int t = 0; t < model->n_tensors; t++) {
        const td_wd_tensor *tensor = &model->tensors[t];
        if (tensor->decays) {
            model->decayed[model->n_decayed][0] = tensor->offset;
            model->decayed[model->n_decayed++][1] = tensor->offset + tensor->rows * tensor->cols;
        }
    }
    return TD_OK;
}

static void init_tensors(td_wide_deep *model) {
    float *const flats[] = {model->params, model->m, model->v};
    for (size_t i = 0; i < sizeof flats / sizeof flats[0]; i++) {
        memset(flats[i], 0, (size_t)model->flat * sizeof(float));
    }
    memset(model->grads, 0, (size_t)model->total * sizeof(float));
    for (int t = 0; t < model->n_tensors; t++) {
        const td_wd_tensor *tensor = &model->tensors[t];
        td_rng rng = td_rng_make(model->options.seed, TD_PURPOSE_INIT, (uint64_t)t);
        for (int64_t i = 0; i < tensor->rows * tensor->cols && tensor->spread > 0; i++) {
            model->params[tensor->offset + i] = (float)(tensor->spread * td_rng_normal(&rng));
        }
    }
}

/* Where the further gradient of a shared table's second column and those after it go. */
static int64_t place_shared(td_wide_deep *model) {
    const td_table_shape *s = model->shape;
    int64_t at = model->flat;
    for (int i = 0; i < s->n_embeddings; i++) {
        const td_table_embedding *e = &s->embeddings[i];
        bool first = true;
        for (int j = 0; j < i; j++) {
            first = first && s->embeddings[j].table != e->table;
        }
        int64_t offset = first ? model->tensors[e->table].offset : at;
        at += first ? 0 : padded(e->buckets * e->dimension);
        model->bags[i].grad = td_at(model->grads, offset);
    }
    return at;
}

static void plan_bags(td_wide_deep *model, td_plan *arena) {
    const td_table_shape *s = model->shape;
    int64_t blocks = td_split_n_blocks(&model->split, model->split.rank);
    for (int i = 0; i < model->n_bags; i++) {
        td_wd_bag *bag = &model->bags[i];
        bool wide = i == s->n_embeddings;
        const td_table_embedding *e = wide ? NULL : &s->embeddings[i];
        int64_t offset = model->tensors[wide ? s->n_tables : e->table].offset;
        bag->vocab = wide ? s->wide_buckets : e->buckets;
        bag->width = wide ? s->classes : e->dimension;
        bag->ld = wide ? s->classes : s->width;
        bag->max_norm = wide ? 0 : (float)e->max_norm;
        bag->y = wide ? model->logits : td_at(model->deep, e->at);
        bag->dy = wide ? model->logits : td_at(model->d_deep, e->at);
        bag->table = td_at(model->params, offset);
        bag->adds = wide;
        bag->start = TD_PLAN_ARRAY(arena, int32_t, bag->vocab + 1);
        bag->starts = TD_PLAN_ARRAY(arena, int64_t, blocks + 1);
        if (wide) {
            bag->grad = td_at(model->grads, offset);
        }
    }
}

/* Runs twice: with both bases NULL to measure, then for real. */
static void plan(td_wide_deep *model, td_plan *segment, td_plan *arena) {
    const td_table_shape *s = model->shape;
    int64_t rows = td_split_rows(&model->split, model->split.rank);
    model->total = place_shared(model) + PAD;
    td_plan_take(segment, TD_TRAIN_RESULT);
    if (model->split.ranks > 1) {
        model->staging_bytes = td_comm_bytes(model->split.ranks, model->total, TD_F32);
        model->staging = td_plan_take(segment, (size_t)model->staging_bytes);
    }
    model->grads = TD_PLAN_ARRAY(segment, float, model->total);
    model->params = TD_PLAN_ARRAY(arena, float, model->flat);
    model->m = TD_PLAN_ARRAY(arena, float, model->flat);
    model->v = TD_PLAN_ARRAY(arena, float, model->flat);
    model->deep = TD_PLAN_ARRAY(arena, float, rows * s->width);
    model->d_deep = TD_PLAN_ARRAY(arena, float, rows * s->width);
    for (int i = 0; i < s->n_hidden; i++) {
        model->preact[i] = TD_PLAN_ARRAY(arena, float, rows * s->hidden[i]);
        model->act[i] = TD_PLAN_ARRAY(arena, float, rows * s->hidden[i]);
        model->d_act[i] = TD_PLAN_ARRAY(arena, float, rows * s->hidden[i]);
    }
    model->logits = TD_PLAN_ARRAY(arena, float, rows * s->classes);
    model->row_loss = TD_PLAN_ARRAY(arena, float, rows);
    model->row_hit = TD_PLAN_ARRAY(arena, float, rows);
    model->labels = TD_PLAN_ARRAY(arena, int32_t, rows);
    model->places = TD_PLAN_ARRAY(arena, int64_t, rows);
    plan_bags(model, arena);
    place_shared(model);
    td_wd_build(model);
}

static td_status measure(td_wide_deep *model, td_wide_deep_needs *out) {
    const td_table_shape *s = model->shape;
    TD_TRY(td_split_check(&model->split));
    TD_TRY(list_tensors(model));
    model->n_bags = s->n_embeddings + (s->wide_buckets > 0);
    model->bags = td_alloc_zero((size_t)(model->n_bags + 1) * sizeof *model->bags);
    if (model->bags == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a wide and deep model");
    }
    TD_TRY(td_program_create(&model->train));
    TD_TRY(td_program_create(&model->forward));
    td_plan segment = {0}, arena = {0};
    plan(model, &segment, &arena);
    TD_TRY(td_program_finish(model->train, 1));
    TD_TRY(td_program_finish(model->forward, 1));
    *out = (td_wide_deep_needs){.segment_bytes = (int64_t)segment.used_bytes,
                                .arena_bytes = (int64_t)arena.used_bytes,
                                .scratch_bytes = td_program_scratch_bytes(model->train)};
    for (int t = 0; t < model->n_tensors; t++) {
        out->n_params += model->tensors[t].rows * model->tensors[t].cols;
    }
    return TD_OK;
}

static td_wide_deep *new_model(const td_wide_deep_options *options, int rank, int ranks) {
    td_wide_deep *model = td_alloc_zero(sizeof *model);
    if (model != NULL) {
        model->options = *options;
        model->shape = td_table_spec_shape(options->spec);
        model->split = (td_split){
            .batch = options->batch, .blocks = options->blocks, .rank = rank, .ranks = ranks};
    }
    return model;
}

td_status td_wide_deep_measure(const td_wide_deep_options *options, int ranks,
                               td_wide_deep_needs *out) {
    td_wide_deep *model = new_model(options, 0, ranks);
    if (model == NULL) {
        return td_fail(TD_ENOMEM, "no memory to plan a wide and deep model");
    }
    td_status status = measure(model, out);
    td_wide_deep_destroy(model);
    return status;
}

static td_status create(td_wide_deep *model) {
    td_wide_deep_needs needs;
    td_rank *rank = model->rank;
    TD_TRY(measure(model, &needs));
    if (needs.segment_bytes > (int64_t)rank->segment_bytes) {
        return td_fail(TD_EUSAGE, "rank %d has a segment of %zu bytes; this model needs %" PRId64,
                       rank->rank, rank->segment_bytes, needs.segment_bytes);
    }
    TD_TRY(td_arena_create((size_t)needs.arena_bytes, &model->arena));
    td_team_options team = {.workers = rank->workers,
                            .pu = rank->pu,
                            .scratch_bytes = needs.scratch_bytes,
                            .shares_cpus = rank->shares_cpus};
    TD_TRY(td_team_create(&team, &model->team));
    if (model->split.ranks > 1) {
        td_plan staging = {.base = rank->segment};
        td_plan_take(&staging, TD_TRAIN_RESULT);
        TD_TRY(td_comm_create(rank, td_plan_take(&staging, (size_t)model->staging_bytes),
                              model->staging_bytes, &model->comm));
    }
    td_plan segment = {.base = rank->segment}, arena = {.base = model->arena.base};
    td_program_clear(model->train);
    td_program_clear(model->forward);
    plan(model, &segment, &arena);
    TD_TRY(td_program_finish(model->train, rank->workers));
    TD_TRY(td_program_finish(model->forward, rank->workers));
    init_tensors(model);
    return TD_OK;
}

td_status td_wide_deep_create(const td_wide_deep_options *options, td_rank *rank,
                              td_wide_deep **out) {
    td_wide_deep *model = new_model(options, rank->rank, rank->count);
    if (model == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a wide and deep model");
    }
    model->rank = rank;
    td_status status = create(model);
    if (status != TD_OK) {
        td_wide_deep_destroy(model);
        return status;
    }
    *out = model;
    return TD_OK;
}

void td_wide_deep_destroy(td_wide_deep *model) {
    if (model == NULL) {
        return;
    }
    if (model->comm != NULL) {
        td_comm_destroy(model->comm);
    }
    if (model->team != NULL) {
        td_team_destroy(model->team);
    }
    for (int i = 0; i < model->n_bags && model->bags != NULL; i++) {
        td_free(model->bags[i].dx);
        td_free(model->bags[i].order);
    }
    td_program_destroy(model->train);
    td_program_destroy(model->forward);
    td_free(model->bags);
    td_free(model->tensors);
    td_free(model->decayed);
    td_arena_destroy(&model->arena);
    td_free(model);
}

/* Room for the gradients of as many ids as the batch has: rare once the largest was seen. */
static td_status reserve(td_wd_bag *bag, int64_t n) {
    if (n <= bag->capacity) {
        return TD_OK;
    }
    int64_t capacity = n + n / 2;
    td_free(bag->dx);
    td_free(bag->order);
    bag->dx = td_alloc((size_t)(capacity * bag->width) * sizeof *bag->dx);
    bag->order = td_alloc((size_t)capacity * sizeof *bag->order);
    bag->capacity = bag->dx == NULL || bag->order == NULL ? 0 : capacity;
    return bag->capacity == 0 ? td_fail(TD_ENOMEM, "no memory for %" PRId64 " ids of a batch", n)
                              : TD_OK;
}

static td_status set_bag(const td_wide_deep *model, const td_bags *from, td_wd_bag *bag) {
    int64_t rows = td_split_rows(&model->split, model->split.rank);
    int64_t blocks = td_split_n_blocks(&model->split, model->split.rank);
    TD_TRY(reserve(bag, from->n));
    bag->n = from->n;
    bag->offsets = from->offsets;
    bag->ids = from->ids;
    bag->coefficients = from->coefficients;
    for (int64_t b = 0; b <= blocks; b++) {
        bag->starts[b] = from->offsets[rows / blocks * b];
    }
    return TD_OK;
}

/* Reads the rows at model->places. */
static td_status read_rows(td_wide_deep *model, td_table *table, bool held_out) {
    int64_t n = td_split_rows(&model->split, model->split.rank);
    td_table_rows rows;
    TD_TRY(td_table_read(table, held_out, model->places, n, model->team, model->deep, &rows));
    for (int i = 0; i < model->n_bags; i++) {
        const td_bags *from = i < model->shape->n_embeddings ? &rows.embeddings[i] : rows.wide;
        TD_TRY(set_bag(model, from, &model->bags[i]));
    }
    memcpy(model->labels, rows.labels, (size_t)n * sizeof *model->labels);
    return TD_OK;
}

td_status td_wide_deep_step(td_wide_deep *model, td_table *table, td_wide_deep_result *out) {
    int64_t rows = td_split_rows(&model->split, model->split.rank);
    int64_t first = model->steps_done * model->split.batch +
                    td_split_first_row(&model->split, model->split.rank);
    int64_t start_ns = td_now_ns();
    for (int64_t i = 0; i < rows; i++) {
        model->places[i] = td_table_at(table, model->options.seed, first + i);
    }
    TD_TRY(read_rows(model, table, false));
    int64_t input_ns = td_now_ns() - start_ns;
    TD_TRY(td_program_run(model->train, model->team));
    const float *sums = model->grads + model->total - TD_WD_SUMS;
    *out = (td_wide_deep_result){.step = model->steps_done - 1,
                                 .input_ns = input_ns,
                                 .loss = (double)sums[TD_WD_LOSS],
                                 .accuracy = (double)sums[TD_WD_HITS] / (double)model->split.batch,
                                 .lr = model->lr,
                                 .stop = sums[TD_WD_STOP] > 0};
    return TD_OK;
}

void td_wide_deep_ask_stop(td_wide_deep *model) {
    model->ask_stop = true;
}

int64_t td_wide_deep_steps_done(const td_wide_deep *model) {
    return model->steps_done;
}

/* Batches of the size a step has here; the last one is filled up with rows that do not count. */
td_status td_wide_deep_evaluate(td_wide_deep *model, td_table *table, td_wide_deep_score *out) {
    int64_t n = td_table_count(table, true), hits = 0, most = 0;
    int64_t rows = td_split_rows(&model->split, model->split.rank);
    double loss = 0;
    const int64_t *classes = td_table_classes(table, true);
    for (int64_t c = 0; c < model->shape->classes; c++) {
        most = classes[c] > most ? classes[c] : most;
    }
    for (int64_t first = 0; first < n; first += rows) {
        for (int64_t i = 0; i < rows; i++) {
            model->places[i] = first + i < n ? first + i : 0;
        }
        TD_TRY(read_rows(model, table, true));
        TD_TRY(td_program_run(model->forward, model->team));
        for (int64_t i = 0; i < rows && first + i < n; i++) {
            hits += model->row_hit[i] > 0;
            loss += (double)model->row_loss[i] * (double)model->split.batch;
        }
    }
    double count = (double)(n > 0 ? n : 1);
    *out = (td_wide_deep_score){.accuracy = td_share_make(hits, n, (double)most / count),
                                .loss = loss / count};
    return TD_OK;
}

td_status td_wide_deep_sha256(const td_wide_deep *model, char hex[TD_SHA256_HEX]) {
    td_sha256 *sha;
    TD_TRY(td_sha256_create(&sha));
    for (int t = 0; t < model->n_tensors; t++) {
        const td_wd_tensor *tensor = &model->tensors[t];
        td_sha256_add(sha, model->params + tensor->offset,
                      (size_t)(tensor->rows * tensor->cols) * sizeof(float));
    }
    td_sha256_finish(sha, hex);
    return TD_OK;
}

td_team *td_wide_deep_team(td_wide_deep *model) {
    return model->team;
}

td_program *td_wide_deep_program(td_wide_deep *model) {
    return model->train;
}

float *td_wide_deep_params(td_wide_deep *model, int64_t *count) {
    *count = model->flat;
    return model->params;
}

const float *td_wide_deep_grads(const td_wide_deep *model) {
    return model->grads;
}
