/* SPDX-License-Identifier: Apache-2.0 */
#include "models/verify.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "base/text.h"
#include "models/checkpoint.h"
#include "models/safetensors.h"

enum { PATH = 4096, DEFAULT_BLOCKS = 8 };

static td_status join(const char *folder, const char *file, char path[PATH]) {
    if (snprintf(path, PATH, "%s/%s", folder, file) >= PATH) {
        return td_fail(TD_EUSAGE, "the path of %s in %.64s... is longer than %d bytes", file,
                       folder, PATH);
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
    double warmup = 0, steps = 0;
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

/* The batch says how many samples there are; blocks follow from it. */
static td_status read_batch_size(const char *folder, int64_t blocks, td_train_options *out) {
    char path[PATH];
    TD_TRY(join(folder, "batch.safetensors", path));
    td_safetensors file;
    TD_TRY(td_safetensors_open(path, &file));
    const td_file_tensor *images = td_safetensors_find(&file, "images");
    out->batch = images == NULL || images->n_dims != 4 ? 0 : images->dims[0];
    td_safetensors_close(&file);
    if (out->batch < 1) {
        return td_fail(TD_EINPUT, "%s: tensor images must be (batch, 3, size, size)", path);
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
    char path[PATH];
    char *json;
    size_t size;
    td_train_options options = {0};
    TD_TRY(join(folder, "config.json", path));
    TD_TRY(td_file_read(path, &json, &size));
    td_status status = td_model_config_parse(json, path, &options.config);
    td_free(json);
    TD_TRY(status);
    TD_TRY(join(folder, "optim.json", path));
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

/* The larger, and NaN once there was one: a comparison with it is false. */
static double worse(double worst, double value) {
    return value > worst || isnan(value) ? value : worst;
}

td_difference td_compare(const float *found, const double *expected, int64_t n) {
    double difference = 0, norm = 0, found_norm = 0, dot = 0, max_ulp = 0;
    for (int64_t i = 0; i < n; i++) {
        double f = (double)found[i], e = expected[i], d = f - e;
        difference += d * d;
        norm += e * e;
        found_norm += f * f;
        dot += f * e;
        int exponent;
        frexp(fabs(e) < (double)FLT_MIN ? (double)FLT_MIN : e, &exponent);
        max_ulp = worse(max_ulp, fabs(d) / ldexp(1, exponent - 24));
    }
    double product = sqrt(norm) * sqrt(found_norm);
    return (td_difference){.relative = norm > 0 ? sqrt(difference / norm) : sqrt(difference),
                           .cosine = product > 0 ? dot / product : (norm == found_norm ? 1 : 0),
                           .max_ulp = max_ulp};
}

/* Everything a rank needs at hand while it verifies. */
typedef struct verification {
    td_train *train;
    td_safetensors batch, expected, weights;
    float *images;
    int32_t *tokens;
    double *reference; /* as long as the largest tensor */
    FILE *out;
    td_verify_worst worst;
    char first_bad[256];
} verification;

static void note_bad(verification *v, const char *what, double error, double bound) {
    if (v->first_bad[0] == '\0') {
        snprintf(v->first_bad, sizeof(v->first_bad), "%s: relative error %.3g is beyond %.0e", what,
                 error, bound);
    }
}

static td_status compare_loss(verification *v, int64_t step, double loss) {
    char name[32];
    double expected;
    snprintf(name, sizeof(name), "loss/%" PRId64, step);
    TD_TRY(td_safetensors_read_f64(&v->expected, name, 0, NULL, &expected));
    double error = fabs(loss - expected) / fabs(expected);
    bool good = error <= TD_VERIFY_LOSS;
    v->worst.loss = worse(v->worst.loss, error);
    if (v->out != NULL) {
        fprintf(v->out, "%-4s %-66s %.9g expected %.9g relative %.2e\n", good ? "ok" : "BAD", name,
                loss, expected, error);
    }
    if (!good) {
        note_bad(v, name, error, TD_VERIFY_LOSS);
    }
    return TD_OK;
}

static td_status compare_tensors(verification *v, const char *prefix, const float *flat,
                                 double bound, double *worst) {
    const td_tensors *tensors = td_train_tensors(v->train);
    for (int i = 0; i < tensors->count; i++) {
        const td_tensor *tensor = &tensors->tensors[i];
        char name[TD_TENSOR_NAME + 16];
        snprintf(name, sizeof(name), "%s/%s", prefix, tensor->name);
        TD_TRY(td_safetensors_read_f64(&v->expected, name, tensor->n_dims, tensor->dims,
                                       v->reference));
        td_difference d = td_compare(flat + tensor->offset, v->reference, tensor->count);
        bool good = d.relative <= bound;
        *worst = worse(*worst, d.relative);
        if (v->out != NULL) {
            fprintf(v->out, "%-4s %-66s relative %.2e cosine %.9f max ulp %.0f\n",
                    good ? "ok" : "BAD", name, d.relative, d.cosine, d.max_ulp);
        }
        if (!good) {
            note_bad(v, name, d.relative, bound);
        }
    }
    return TD_OK;
}

static td_status load(verification *v, const char *folder) {
    char path[PATH];
    TD_TRY(join(folder, "weights.safetensors", path));
    TD_TRY(td_safetensors_open(path, &v->weights));
    TD_TRY(join(folder, "batch.safetensors", path));
    TD_TRY(td_safetensors_open(path, &v->batch));
    TD_TRY(join(folder, "expected.safetensors", path));
    TD_TRY(td_safetensors_open(path, &v->expected));
    const td_train_options *options = td_train_get_options(v->train);
    const td_tensors *tensors = td_train_tensors(v->train);
    int64_t size = options->config.image_size, context = options->config.context, most = 0;
    for (int i = 0; i < tensors->count; i++) {
        most = tensors->tensors[i].count > most ? tensors->tensors[i].count : most;
    }
    v->images = td_alloc((size_t)(options->batch * 3 * size * size) * sizeof(float));
    v->tokens = td_alloc((size_t)(options->batch * context) * sizeof(int32_t));
    v->reference = td_alloc((size_t)most * sizeof(double));
    if (v->images == NULL || v->tokens == NULL || v->reference == NULL) {
        return td_fail(TD_ENOMEM, "no memory to verify %s", folder);
    }
    TD_TRY(td_checkpoint_load_weights(&v->weights, tensors, td_train_params(v->train)));
    TD_TRY(td_safetensors_read_f32(&v->batch, "images", 4,
                                   (int64_t[]){options->batch, 3, size, size}, v->images));
    return td_safetensors_read_i32(&v->batch, "tokens", 2, (int64_t[]){options->batch, context},
                                   v->tokens);
}

static td_status run(verification *v, const char *folder) {
    TD_TRY(load(v, folder));
    const td_train_options *options = td_train_get_options(v->train);
    const td_model_config *config = &options->config;
    int64_t row = td_split_first_row(td_train_split(v->train), td_train_split(v->train)->rank);
    const float *images = v->images + row * 3 * config->image_size * config->image_size;
    const int32_t *tokens = v->tokens + row * config->context;
    for (int64_t step = 0; step < options->optimizer.steps; step++) {
        td_step_result result;
        TD_TRY(td_train_step(v->train, images, tokens, &result));
        TD_TRY(compare_loss(v, step, result.loss));
        if (step == 0) {
            TD_TRY(compare_tensors(v, "grad", td_train_grads(v->train), TD_VERIFY_GRAD,
                                   &v->worst.grad));
        }
    }
    TD_TRY(compare_tensors(v, "weights", td_train_params(v->train), TD_VERIFY_WEIGHTS,
                           &v->worst.weights));
    return v->first_bad[0] == '\0' ? TD_OK : td_fail(TD_ECHECK, "%s: %s", folder, v->first_bad);
}

td_status td_verify_run(const char *folder, td_train *train, FILE *out, td_verify_worst *worst) {
    verification v = {.train = train, .out = td_train_split(train)->rank == 0 ? out : NULL};
    td_status status = run(&v, folder);
    if (worst != NULL) {
        *worst = v.worst;
    }
    td_free(v.images);
    td_free(v.tokens);
    td_free(v.reference);
    td_safetensors_close(&v.weights);
    td_safetensors_close(&v.batch);
    td_safetensors_close(&v.expected);
    return status;
}
