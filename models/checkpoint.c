/* SPDX-License-Identifier: Apache-2.0 */
#include "models/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/options.h"

/* Longest first, so that names are built in one array. */
enum { NAME = TD_TENSOR_NAME + 8, MAX_FLATS = 4 };

/* One flat buffer of a checkpoint: it has the tensors from element `first` on. */
typedef struct flat_buffer {
    const char *prefix;
    float *data;
    int64_t first;
} flat_buffer;

static const char *moment_prefix(const td_train *train, int order) {
    bool lion = td_train_get_options(train)->optimizer.kind == TD_OPTIMIZER_LION;
    return lion ? "lion.m/" : order == 1 ? "adam.m/" : "adam.v/";
}

/* moments: room for all, in full, where a rank has only a part of them; else NULL. */
static int flats_of(td_train *train, float *moments, flat_buffer flats[MAX_FLATS]) {
    int64_t first = td_train_first(train), n = td_train_tensors(train)->flat - first;
    bool parts = moments != NULL;
    flats[0] = (flat_buffer){"", td_train_params(train), 0};
    int count = 1;
    for (int order = 1; order <= td_train_n_moments(train); order++) {
        float *own = td_train_moments(train, order);
        flats[count++] = (flat_buffer){moment_prefix(train, order),
                                       parts ? moments + (order - 1) * n : own, first};
    }
    if (td_train_ema(train) != NULL) {
        flats[count++] = (flat_buffer){"ema/", td_train_ema(train), 0};
    }
    return count;
}

/* NULL, and TD_OK, where moments are in full already. */
static td_status make_room(const td_train *train, float **out) {
    int64_t n = td_train_tensors(train)->flat - td_train_first(train);
    *out = td_train_shard(train)->sharded
               ? td_alloc((size_t)(td_train_n_moments(train) * n) * sizeof(float))
               : NULL;
    return td_train_shard(train)->sharded && *out == NULL
               ? td_fail(TD_ENOMEM, "no memory for the moments of all ranks")
               : TD_OK;
}

static const char *loss_name(td_loss loss) {
    return loss == TD_LOSS_SIGMOID ? "sigmoid" : "softmax";
}

static td_status write_all(const char *path, td_train *train, const char *config,
                           const char *tokenizer, float *moments, td_file_tensor *entries,
                           char (*names)[NAME]) {
    const td_tensors *tensors = td_train_tensors(train);
    const td_train_options *options = td_train_get_options(train);
    flat_buffer flats[MAX_FLATS];
    int n_flats = flats_of(train, moments, flats);
    int64_t n = 0;
    for (int f = 0; f < n_flats; f++) {
        for (int i = 0; i < tensors->count; i++) {
            const td_tensor *tensor = &tensors->tensors[i];
            if (tensor->offset < flats[f].first) {
                continue;
            }
            snprintf(names[n], NAME, "%s%s", flats[f].prefix, tensor->name);
            entries[n] =
                (td_file_tensor){.name = names[n],
                                 .dtype = TD_FILE_F32,
                                 .n_dims = tensor->n_dims,
                                 .count = tensor->count,
                                 .data = flats[f].data + (tensor->offset - flats[f].first)};
            memcpy(entries[n].dims, tensor->dims, sizeof(tensor->dims));
            n++;
        }
    }
    char step[24], batch[24], blocks[24], seed[24];
    snprintf(step, sizeof(step), "%" PRId64, td_train_steps_done(train));
    snprintf(batch, sizeof(batch), "%" PRId64, options->batch);
    snprintf(blocks, sizeof(blocks), "%" PRId64, options->blocks);
    snprintf(seed, sizeof(seed), "%" PRIu64, options->seed);
    char augment[TD_AUGMENT_TEXT];
    td_augment_print(&options->augment, augment);
    const char *const metadata[][2] = {
        {"format", "pt"},
        {"tandem_config", config},
        {"loss", loss_name(options->loss)},
        {"optimizer", td_optimizer_name(options->optimizer.kind)},
        {"step", step},
        {"batch", batch},
        {"blocks", blocks},
        {"seed", seed},
        {"tokenizer", tokenizer == NULL ? "" : tokenizer},
        {"augment", augment}, /* the last, and left out when there is none */
    };
    int64_t n_metadata = sizeof(metadata) / sizeof(metadata[0]);
    return td_safetensors_write(path, entries, n, metadata,
                                td_augment_is_off(&options->augment) ? n_metadata - 1 : n_metadata);
}

td_status td_checkpoint_save(const char *path, td_train *train, const char *tokenizer) {
    size_t n = (size_t)td_train_tensors(train)->count * MAX_FLATS;
    td_file_tensor *entries = td_alloc(n * sizeof(*entries));
    char(*names)[NAME] = td_alloc(n * sizeof(*names));
    char *config = NULL;
    float *moments = NULL;
    td_status status = entries == NULL || names == NULL
                           ? td_fail(TD_ENOMEM, "no memory to save %s", path)
                           : td_model_config_print(&td_train_get_options(train)->config, &config);
    if (status == TD_OK) {
        status = make_room(train, &moments);
    }
    int64_t floats = td_train_tensors(train)->flat - td_train_first(train);
    for (int order = 1; order <= td_train_n_moments(train) && moments != NULL; order++) {
        td_train_collect_moments(train, order, moments + (order - 1) * floats);
    }
    if (status == TD_OK) {
        status = write_all(path, train, config, tokenizer, moments, entries, names);
    }
    td_free(moments);
    td_free(config);
    td_free(names);
    td_free(entries);
    return status;
}

static td_status load_flat(const td_safetensors *file, const td_tensors *tensors,
                           const flat_buffer *flat) {
    for (int i = 0; i < tensors->count; i++) {
        const td_tensor *tensor = &tensors->tensors[i];
        char name[NAME];
        if (tensor->offset < flat->first) {
            continue;
        }
        snprintf(name, sizeof(name), "%s%s", flat->prefix, tensor->name);
        TD_TRY(td_safetensors_read_f32(file, name, tensor->n_dims, tensor->dims,
                                       flat->data + (tensor->offset - flat->first)));
    }
    return TD_OK;
}

td_status td_checkpoint_load_weights(const td_safetensors *file, const td_tensors *tensors,
                                     float *flat) {
    return load_flat(file, tensors, &(flat_buffer){"", flat, 0});
}

td_status td_checkpoint_describe(const td_safetensors *file, td_model_config *config, td_loss *loss,
                                 const char **tokenizer) {
    const char *json = td_safetensors_metadata(file, "tandem_config");
    const char *name = td_safetensors_metadata(file, "loss");
    if (json == NULL || name == NULL) {
        return td_fail(TD_EINPUT, "%s: no configuration in its metadata; say which with --model",
                       file->path);
    }
    TD_TRY(td_model_config_parse(json, file->path, config));
    *loss = strcmp(name, "sigmoid") == 0 ? TD_LOSS_SIGMOID : TD_LOSS_SOFTMAX;
    const char *text = td_safetensors_metadata(file, "tokenizer");
    *tokenizer = text == NULL ? "" : text;
    return TD_OK;
}

td_status td_checkpoint_same_number(const td_safetensors *file, const char *key,
                                    uint64_t expected) {
    const char *text = td_safetensors_metadata(file, key);
    if (text == NULL || strtoull(text, NULL, 10) != expected) {
        return td_fail(TD_EUSAGE,
                       "%s was written with %s %s, this run has %" PRIu64
                       "; resume with the same value",
                       file->path, key, text == NULL ? "(unknown)" : text, expected);
    }
    return TD_OK;
}

td_status td_checkpoint_read_step(const td_safetensors *file, int64_t *step) {
    const char *text = td_safetensors_metadata(file, "step");
    long long value;
    if (text == NULL || td_parse_int(text, "step", 0, 1e15, &value) != TD_OK) {
        return td_fail(TD_EINPUT, "%s: no number of steps in its metadata", file->path);
    }
    *step = value;
    return TD_OK;
}

td_status td_checkpoint_step(const char *path, int64_t *step) {
    td_safetensors file;
    TD_TRY(td_safetensors_open(path, &file));
    td_status status = td_checkpoint_read_step(&file, step);
    td_safetensors_close(&file);
    return status;
}

static td_status load_flats(const td_safetensors *file, td_train *train, float *moments) {
    flat_buffer flats[MAX_FLATS];
    int n_flats = flats_of(train, moments, flats);
    for (int i = 0; i < n_flats; i++) {
        TD_TRY(load_flat(file, td_train_tensors(train), &flats[i]));
    }
    for (int order = 1; order <= td_train_n_moments(train) && moments != NULL; order++) {
        td_train_take_moments(train, order, flats[order].data);
    }
    return TD_OK;
}

static td_status same_augment(const td_safetensors *file, const td_augment *augment) {
    char none[TD_AUGMENT_TEXT], now[TD_AUGMENT_TEXT];
    td_augment_print(&(td_augment){0}, none);
    td_augment_print(augment, now);
    const char *before = td_safetensors_metadata(file, "augment");
    before = before == NULL ? none : before;
    return strcmp(before, now) == 0
               ? TD_OK
               : td_fail(TD_EUSAGE,
                         "%s was written with %s, this run has %s; resume with the same value",
                         file->path, before, now);
}

static td_status resume(const td_safetensors *file, td_train *train) {
    const td_train_options *options = td_train_get_options(train);
    td_model_config config;
    td_loss loss;
    const char *tokenizer;
    TD_TRY(td_checkpoint_describe(file, &config, &loss, &tokenizer));
    if (!td_model_config_equal(&config, &options->config)) {
        return td_fail(
            TD_EUSAGE,
            "%s holds model %s, this run trains %s, which differs; resume with --model %s",
            file->path, config.name, options->config.name, config.name);
    }
    if (loss != options->loss) {
        return td_fail(TD_EUSAGE, "%s was written with --loss %s, this run has %s", file->path,
                       loss_name(loss), loss_name(options->loss));
    }
    const char *rule = td_safetensors_metadata(file, "optimizer");
    rule = rule == NULL ? td_optimizer_name(TD_OPTIMIZER_ADAMW) : rule; /* older files */
    if (strcmp(rule, td_optimizer_name(options->optimizer.kind)) != 0) {
        return td_fail(TD_EUSAGE, "%s was written with --optimizer %s, this run has %s", file->path,
                       rule, td_optimizer_name(options->optimizer.kind));
    }
    TD_TRY(td_checkpoint_same_number(file, "batch", (uint64_t)options->batch));
    TD_TRY(td_checkpoint_same_number(file, "blocks", (uint64_t)options->blocks));
    TD_TRY(td_checkpoint_same_number(file, "seed", options->seed));
    TD_TRY(same_augment(file, &options->augment));
    int64_t step = 0;
    TD_TRY(td_checkpoint_read_step(file, &step));
    td_train_set_steps_done(train, step);
    float *moments;
    TD_TRY(make_room(train, &moments));
    td_status status = load_flats(file, train, moments);
    td_free(moments);
    return status;
}

td_status td_checkpoint_resume(const char *path, td_train *train) {
    td_safetensors file;
    TD_TRY(td_safetensors_open(path, &file));
    td_status status = resume(&file, train);
    td_safetensors_close(&file);
    return status;
}
