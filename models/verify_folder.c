/* SPDX-License-Identifier: Apache-2.0 */
#include "models/verify.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "base/text.h"

enum { DEFAULT_BLOCKS = 8, MAX_BATCH = 1 << 20 };

td_status td_verify_path(const char *folder, const char *file, char path[TD_VERIFY_PATH]) {
    if (snprintf(path, TD_VERIFY_PATH, "%s/%s", folder, file) >= TD_VERIFY_PATH) {
        return td_fail(TD_EUSAGE, "the path of %s in %.64s... is longer than %d bytes", file,
                       folder, TD_VERIFY_PATH);
    }
    return TD_OK;
}

/* A number of optim.json. */
static td_status read_number(json_t *root, const char *path, const char *key, double *out) {
    json_t *value = json_object_get(root, key);
    if (!json_is_number(value)) {
        return td_fail(TD_EINPUT, "%s: %s must be a number", path, key);
    }
    *out = json_number_value(value);
    return TD_OK;
}

static td_status read_optimizer(json_t *root, const char *path, td_train_options *out) {
    td_optimizer *o = &out->optimizer;
    double warmup = 0, steps = 0, batch = 0;
    TD_TRY(read_number(root, path, "lr", &o->lr));
    TD_TRY(read_number(root, path, "beta1", &o->beta1));
    TD_TRY(read_number(root, path, "beta2", &o->beta2));
    TD_TRY(read_number(root, path, "eps", &o->eps));
    TD_TRY(read_number(root, path, "weight_decay", &o->weight_decay));
    TD_TRY(read_number(root, path, "grad_clip", &o->grad_clip));
    TD_TRY(read_number(root, path, "warmup", &warmup));
    TD_TRY(read_number(root, path, "steps", &steps));
    if (!(steps >= 1 && steps <= 10000 && warmup >= 0 && warmup <= 1e9)) {
        return td_fail(TD_EINPUT, "%s: %g steps, warm-up %g; expected 1 to 10000 steps", path,
                       steps, warmup);
    }
    o->warmup = (int64_t)warmup;
    o->steps = (int64_t)steps;
    if (json_object_get(root, "batch") != NULL) {
        TD_TRY(read_number(root, path, "batch", &batch));
        if (!(batch >= 1 && batch <= MAX_BATCH && batch == floor(batch))) {
            return td_fail(TD_EINPUT, "%s: batch %g; expected 1 to %d pairs", path, batch,
                           MAX_BATCH);
        }
        out->batch = (int64_t)batch;
    }
    const char *schedule = json_string_value(json_object_get(root, "schedule"));
    const char *loss = json_string_value(json_object_get(root, "loss"));
    if (schedule == NULL || (strcmp(schedule, "const") != 0 && strcmp(schedule, "cosine") != 0)) {
        return td_fail(TD_EINPUT, "%s: schedule must be const or cosine", path);
    }
    if (loss == NULL || (strcmp(loss, "clip") != 0 && strcmp(loss, "siglip") != 0)) {
        return td_fail(TD_EINPUT, "%s: loss must be clip or siglip", path);
    }
    o->schedule = strcmp(schedule, "const") == 0 ? TD_SCHEDULE_CONST : TD_SCHEDULE_COSINE;
    out->loss = strcmp(loss, "clip") == 0 ? TD_LOSS_SOFTMAX : TD_LOSS_SIGMOID;
    return TD_OK;
}

/* What is read of a folder before any rank starts. */
typedef struct folder_files {
    const td_train_options *options;
    td_tensors tensors;
    td_verify_files files;
} folder_files;

td_status td_verify_open(const char *folder, td_verify_files *out) {
    static const char *const names[] = {"weights.safetensors", "batch.safetensors",
                                        "expected.safetensors"};
    td_safetensors *const files[] = {&out->weights, &out->batch, &out->expected};
    *out = (td_verify_files){0};
    for (int i = 0; i < 3; i++) {
        char path[TD_VERIFY_PATH];
        TD_TRY(td_verify_path(folder, names[i], path));
        TD_TRY(td_safetensors_open(path, files[i]));
    }
    return TD_OK;
}

void td_verify_close(td_verify_files *files) {
    td_safetensors_close(&files->weights);
    td_safetensors_close(&files->batch);
    td_safetensors_close(&files->expected);
}

/* One tensor of a file: there, of that shape, and finite. */
static td_status check_tensor(const td_safetensors *file, const char *name, int n_dims,
                              const int64_t *dims, int64_t count) {
    double *values = td_alloc((size_t)count * sizeof(double));
    if (values == NULL) {
        return td_fail(TD_ENOMEM, "no memory to read %s of %s", name, file->path);
    }
    td_status status = td_safetensors_read_f64(file, name, n_dims, dims, values);
    for (int64_t i = 0; i < count && status == TD_OK; i++) {
        if (!isfinite(values[i])) {
            status = td_fail(TD_EINPUT,
                             "%s: tensor %s: element %" PRId64 " is %f; expected "
                             "finite numbers",
                             file->path, name, i, values[i]);
        }
    }
    td_free(values);
    return status;
}

/* Every tensor of the model under a prefix. */
static td_status check_model(const folder_files *f, const td_safetensors *file,
                             const char *prefix) {
    for (int i = 0; i < f->tensors.count; i++) {
        const td_tensor *tensor = &f->tensors.tensors[i];
        char name[TD_TENSOR_NAME + 16];
        snprintf(name, sizeof(name), "%s%s", prefix, tensor->name);
        TD_TRY(check_tensor(file, name, tensor->n_dims, tensor->dims, tensor->count));
    }
    return TD_OK;
}

/* A file has as many tensors as were asked for, so any other is one too many: it names the first
 * that the model does not know. */
static td_status check_no_more(const folder_files *f, const td_safetensors *file, int64_t expected,
                               const char *const *prefixes, int n_prefixes) {
    if (file->count == expected) {
        return TD_OK;
    }
    for (int64_t i = 0; i < file->count; i++) {
        const char *name = file->tensors[i].name;
        bool known = strncmp(name, "loss/", strlen("loss/")) == 0;
        for (int p = 0; p < n_prefixes && !known; p++) {
            size_t length = strlen(prefixes[p]);
            known = strncmp(name, prefixes[p], length) == 0 &&
                    td_tensors_find(&f->tensors, name + length) != NULL;
        }
        if (!known) {
            return td_fail(TD_EINPUT, "%s: tensor %s is not one of this model and loss", file->path,
                           name);
        }
    }
    return td_fail(TD_EINPUT,
                   "%s: %" PRId64 " tensors; expected %" PRId64 ", losses of %" PRId64
                   " steps among them",
                   file->path, file->count, expected, f->options->optimizer.steps);
}

static td_status check_batch(const folder_files *f) {
    const td_model_config *config = &f->options->config;
    int64_t n = 0, size = config->image_size;
    TD_TRY(td_verify_samples(&f->files.batch, &n));
    int64_t count = n * config->context;
    TD_TRY(check_tensor(&f->files.batch, "images", 4, (int64_t[]){n, 3, size, size},
                        n * 3 * size * size));
    int32_t *tokens = td_alloc((size_t)count * sizeof(int32_t));
    if (tokens == NULL) {
        return td_fail(TD_ENOMEM, "no memory for the tokens of %s", f->files.batch.path);
    }
    td_status status = td_safetensors_read_i32(&f->files.batch, "tokens", 2,
                                               (int64_t[]){n, config->context}, tokens);
    for (int64_t i = 0; i < count && status == TD_OK; i++) {
        if (tokens[i] < 0 || tokens[i] >= config->vocab) {
            status = td_fail(TD_EINPUT,
                             "%s: sample %" PRId64 ", position %" PRId64 ": token %" PRId32
                             " is outside the vocabulary of %" PRId64,
                             f->files.batch.path, i / config->context, i % config->context,
                             tokens[i], config->vocab);
        }
    }
    td_free(tokens);
    return status;
}

static td_status check_files(folder_files *f, const char *folder) {
    TD_TRY(td_verify_open(folder, &f->files));
    TD_TRY(check_batch(f));
    TD_TRY(check_model(f, &f->files.weights, ""));
    TD_TRY(check_no_more(f, &f->files.weights, f->tensors.count, (const char *const[]){""}, 1));
    for (int64_t step = 0; step < f->options->optimizer.steps; step++) {
        char name[32];
        snprintf(name, sizeof(name), "loss/%" PRId64, step);
        TD_TRY(check_tensor(&f->files.expected, name, 0, NULL, 1));
    }
    TD_TRY(check_model(f, &f->files.expected, "grad/"));
    TD_TRY(check_model(f, &f->files.expected, "weights/"));
    return check_no_more(f, &f->files.expected, 2 * f->tensors.count + f->options->optimizer.steps,
                         (const char *const[]){"grad/", "weights/"}, 2);
}

td_status td_verify_check(const char *folder, const td_train_options *options) {
    folder_files files = {.options = options};
    TD_TRY(td_tensors_create(&options->config, options->loss, &files.tensors));
    td_status status = check_files(&files, folder);
    td_verify_close(&files.files);
    td_tensors_destroy(&files.tensors);
    return status;
}

td_status td_verify_samples(const td_safetensors *batch, int64_t *out) {
    const td_file_tensor *images = td_safetensors_find(batch, "images");
    if (images == NULL || images->n_dims != 4 || images->dims[0] < 1) {
        return td_fail(TD_EINPUT, "%s: tensor images must be (samples, 3, size, size)",
                       batch->path);
    }
    *out = images->dims[0];
    return TD_OK;
}

/* A step takes `batch` samples of the file, or all where optim.json has no batch; blocks follow. */
static td_status read_batch_size(const char *folder, int64_t blocks, td_train_options *out) {
    char path[TD_VERIFY_PATH];
    int64_t samples = 0;
    TD_TRY(td_verify_path(folder, "batch.safetensors", path));
    td_safetensors file;
    TD_TRY(td_safetensors_open(path, &file));
    td_status status = td_verify_samples(&file, &samples);
    td_safetensors_close(&file);
    TD_TRY(status);
    out->batch = out->batch == 0 ? samples : out->batch;
    if (samples % out->batch != 0) {
        return td_fail(TD_EINPUT,
                       "%s: %" PRId64 " samples; expected a multiple of batch %" PRId64
                       " in optim.json",
                       path, samples, out->batch);
    }
    out->blocks = blocks;
    if (blocks == 0) {
        out->blocks = DEFAULT_BLOCKS;
        while (out->batch % out->blocks != 0) {
            out->blocks /= 2;
        }
    }
    return TD_OK;
}

td_status td_verify_options(const char *folder, int64_t blocks, td_train_options *out) {
    char path[TD_VERIFY_PATH];
    char *json;
    size_t size;
    td_train_options options = {.keep_gradients = true};
    TD_TRY(td_verify_path(folder, "config.json", path));
    TD_TRY(td_file_read(path, &json, &size));
    td_status status = td_model_config_parse(json, path, &options.config);
    td_free(json);
    TD_TRY(status);
    TD_TRY(td_verify_path(folder, "optim.json", path));
    TD_TRY(td_file_read(path, &json, &size));
    json_error_t error;
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &error);
    td_free(json);
    if (root == NULL) {
        return td_fail(TD_EINPUT, "%s: line %d: %s", path, error.line, error.text);
    }
    status = read_optimizer(root, path, &options);
    json_decref(root);
    TD_TRY(status);
    TD_TRY(read_batch_size(folder, blocks, &options));
    *out = options;
    return TD_OK;
}
