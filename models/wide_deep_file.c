/* SPDX-License-Identifier: Apache-2.0
 * The wide and deep model's checkpoints.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "models/checkpoint.h"
#include "models/wide_deep_plan.h"

enum { N_FLATS = 3, NAME = TD_WIDE_DEEP_NAME + 8 };

/* Weights under their names, moments behind a prefix. */
static float *flat_of(const td_wide_deep *model, int i, const char **prefix) {
    static const char *const prefixes[N_FLATS] = {"", "adam.m/", "adam.v/"};
    float *const flats[N_FLATS] = {model->params, model->m, model->v};
    *prefix = prefixes[i];
    return flats[i];
}

static void print_number(char out[24], int64_t value) {
    snprintf(out, 24, "%" PRId64, value);
}

static td_status write_file(const char *path, const td_wide_deep *model, td_file_tensor *entries,
                            char (*names)[NAME]) {
    int64_t n = 0;
    for (int f = 0; f < N_FLATS; f++) {
        const char *prefix;
        float *flat = flat_of(model, f, &prefix);
        for (int t = 0; t < model->n_tensors; t++, n++) {
            const td_wd_tensor *tensor = &model->tensors[t];
            snprintf(names[n], NAME, "%s%s", prefix, tensor->name);
            entries[n] = (td_file_tensor){.name = names[n],
                                          .dtype = TD_FILE_F32,
                                          .n_dims = 2,
                                          .dims = {tensor->rows, tensor->cols},
                                          .count = tensor->rows * tensor->cols,
                                          .data = flat + tensor->offset};
        }
    }
    char step[24], batch[24], blocks[24], seed[24];
    print_number(step, model->steps_done);
    print_number(batch, model->options.batch);
    print_number(blocks, model->options.blocks);
    print_number(seed, (int64_t)model->options.seed);
    const char *const metadata[][2] = {
        {"format", "pt"},   {"tandem_table", td_table_spec_text(model->options.spec)},
        {"step", step},     {"batch", batch},
        {"blocks", blocks}, {"seed", seed},
    };
    return td_safetensors_write(path, entries, n, metadata, sizeof metadata / sizeof metadata[0]);
}

td_status td_wide_deep_save(const char *path, td_wide_deep *model) {
    size_t n = (size_t)model->n_tensors * N_FLATS;
    td_file_tensor *entries = td_alloc(n * sizeof *entries);
    char(*names)[NAME] = td_alloc(n * sizeof *names);
    td_status status = entries == NULL || names == NULL
                           ? td_fail(TD_ENOMEM, "no memory to save %s", path)
                           : write_file(path, model, entries, names);
    td_free(names);
    td_free(entries);
    return status;
}

static td_status read_all(const td_safetensors *file, td_wide_deep *model) {
    const char *text = td_safetensors_metadata(file, "tandem_table");
    int64_t step;
    if (text == NULL) {
        return td_fail(TD_EINPUT, "%s was not written by tandem table", file->path);
    }
    if (strcmp(text, td_table_spec_text(model->options.spec)) != 0) {
        return td_fail(TD_EUSAGE,
                       "%s holds a model of other columns; resume with the same --columns",
                       file->path);
    }
    TD_TRY(td_checkpoint_same_number(file, "batch", (uint64_t)model->options.batch));
    TD_TRY(td_checkpoint_same_number(file, "blocks", (uint64_t)model->options.blocks));
    TD_TRY(td_checkpoint_same_number(file, "seed", model->options.seed));
    TD_TRY(td_checkpoint_read_step(file, &step));
    for (int f = 0; f < N_FLATS; f++) {
        const char *prefix;
        float *flat = flat_of(model, f, &prefix);
        for (int t = 0; t < model->n_tensors; t++) {
            const td_wd_tensor *tensor = &model->tensors[t];
            const int64_t dims[2] = {tensor->rows, tensor->cols};
            char name[NAME];
            snprintf(name, sizeof name, "%s%s", prefix, tensor->name);
            TD_TRY(td_safetensors_read_f32(file, name, 2, dims, flat + tensor->offset));
        }
    }
    model->steps_done = step;
    return TD_OK;
}

td_status td_wide_deep_resume(const char *path, td_wide_deep *model) {
    td_safetensors file;
    TD_TRY(td_safetensors_open(path, &file));
    td_status status = read_all(&file, model);
    td_safetensors_close(&file);
    return status;
}
