/* SPDX-License-Identifier: Apache-2.0 */
#include "models/verify.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "models/checkpoint.h"

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
    td_verify_files files;
    int64_t samples;
    float *images;
    int32_t *tokens;
    double *reference, *start; /* as long as the largest tensor */
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
    TD_TRY(td_safetensors_read_f64(&v->files.expected, name, 0, NULL, &expected));
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

/* The part of a bias that is added to keys. It shifts all scores of a query alike, so its gradient
 * is zero: what an implementation finds there is its rounding. */
static void key_range(const td_tensor *tensor, int64_t range[2]) {
    bool packed = tensor->role == TD_ROLE_v_qkv_b || tensor->role == TD_ROLE_t_qkv_b;
    int64_t parts = packed ? 3 : 2, first = packed ? 1 : 0;
    bool has_keys = packed || tensor->role == TD_ROLE_v_map_kv_b;
    range[0] = first * tensor->count / parts;
    range[1] = has_keys ? (first + 1) * tensor->count / parts : range[0];
}

/* AdamW divides a gradient by its own size, so rounding alone moves keys' biases by up to the
 * learning rate, where it is not far below eps. The exact weight is known: the one before, as no
 * bias decays. Where the reference is no further from it than its steps can have moved it, the
 * exact value takes its place. Returns how far the reference was, relative to the tensor. */
static td_status hold_keys(verification *v, const td_tensor *tensor, double *moved) {
    const td_optimizer *o = &td_train_get_options(v->train)->optimizer;
    int64_t range[2];
    double reach = 0, most = 0, sum = 0, norm = 0;
    *moved = 0;
    key_range(tensor, range);
    if (range[0] == range[1]) {
        return TD_OK;
    }
    TD_TRY(td_safetensors_read_f64(&v->files.weights, tensor->name, tensor->n_dims, tensor->dims,
                                   v->start));
    for (int64_t step = 0; step < o->steps; step++) {
        reach += td_optimizer_lr(o, step);
    }
    for (int64_t i = 0; i < tensor->count; i++) {
        double d = v->reference[i] - v->start[i];
        bool key = i >= range[0] && i < range[1];
        most = key ? worse(most, fabs(d)) : most;
        sum += key ? d * d : 0;
        norm += v->reference[i] * v->reference[i];
    }
    if (most <= reach) {
        memcpy(v->reference + range[0], v->start + range[0],
               (size_t)(range[1] - range[0]) * sizeof(double));
        *moved = norm > 0 ? sqrt(sum / norm) : 0;
    }
    return TD_OK;
}

static td_status compare_tensors(verification *v, const char *prefix, const float *flat,
                                 double bound, double *worst) {
    bool weights = flat == td_train_params(v->train);
    const td_tensors *tensors = td_train_tensors(v->train);
    for (int i = 0; i < tensors->count; i++) {
        const td_tensor *tensor = &tensors->tensors[i];
        char name[TD_TENSOR_NAME + 16];
        snprintf(name, sizeof(name), "%s/%s", prefix, tensor->name);
        TD_TRY(td_safetensors_read_f64(&v->files.expected, name, tensor->n_dims, tensor->dims,
                                       v->reference));
        double moved = 0;
        if (weights) {
            TD_TRY(hold_keys(v, tensor, &moved));
        }
        td_difference d = td_compare(flat + tensor->offset, v->reference, tensor->count);
        bool good = d.relative <= bound;
        *worst = worse(*worst, d.relative);
        if (v->out != NULL) {
            fprintf(v->out, "%-4s %-66s relative %.2e cosine %.9f max ulp %.0f",
                    good ? "ok" : "BAD", name, d.relative, d.cosine, d.max_ulp);
            if (moved > bound / 10) {
                fprintf(v->out,
                        " (keys held to their start: rounding moved the reference's by "
                        "%.1e)",
                        moved);
            }
            fputc('\n', v->out);
        }
        if (!good) {
            note_bad(v, name, d.relative, bound);
        }
    }
    return TD_OK;
}

static td_status load(verification *v, const char *folder) {
    TD_TRY(td_verify_open(folder, &v->files));
    TD_TRY(td_verify_samples(&v->files.batch, &v->samples));
    const td_train_options *options = td_train_get_options(v->train);
    const td_tensors *tensors = td_train_tensors(v->train);
    int64_t size = options->config.image_size, context = options->config.context, most = 0;
    for (int i = 0; i < tensors->count; i++) {
        most = tensors->tensors[i].count > most ? tensors->tensors[i].count : most;
    }
    v->images = td_alloc((size_t)(v->samples * 3 * size * size) * sizeof(float));
    v->tokens = td_alloc((size_t)(v->samples * context) * sizeof(int32_t));
    v->reference = td_alloc((size_t)most * sizeof(double));
    v->start = td_alloc((size_t)most * sizeof(double));
    if (v->images == NULL || v->tokens == NULL || v->reference == NULL || v->start == NULL) {
        return td_fail(TD_ENOMEM, "no memory to verify %s", folder);
    }
    TD_TRY(td_checkpoint_load_weights(&v->files.weights, tensors, td_train_params(v->train)));
    TD_TRY(td_safetensors_read_f32(&v->files.batch, "images", 4,
                                   (int64_t[]){v->samples, 3, size, size}, v->images));
    return td_safetensors_read_i32(&v->files.batch, "tokens", 2, (int64_t[]){v->samples, context},
                                   v->tokens);
}

static td_status run(verification *v, const char *folder) {
    TD_TRY(load(v, folder));
    const td_train_options *options = td_train_get_options(v->train);
    const td_model_config *config = &options->config;
    const td_file_tensor *grad = td_safetensors_find(&v->files.expected, "grad/logit_scale");
    v->worst.grad_bound =
        grad != NULL && grad->dtype == TD_FILE_F64 ? TD_VERIFY_GRAD_F64 : TD_VERIFY_GRAD;
    int64_t row = td_split_first_row(td_train_split(v->train), td_train_split(v->train)->rank);
    int64_t pixels = 3 * config->image_size * config->image_size;
    for (int64_t step = 0; step < options->optimizer.steps; step++) {
        int64_t sample = step * options->batch % v->samples + row;
        td_step_result result;
        TD_TRY(td_train_step(v->train, v->images + sample * pixels,
                             v->tokens + sample * config->context, &result));
        TD_TRY(compare_loss(v, step, result.loss));
        if (step == 0) {
            TD_TRY(compare_tensors(v, "grad", td_train_grads(v->train), v->worst.grad_bound,
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
    td_free(v.start);
    td_verify_close(&v.files);
    return status;
}
