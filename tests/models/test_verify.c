/* SPDX-License-Identifier: Apache-2.0
 * Four AdamW steps against what open_clip computed, and against this program's own golden steps.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "models/safetensors.h"
#include "models/verify.h"
#include "train_case.h"

/* A folder made of mu's own steps, with one expected number changed: verify must find it. */
typedef struct folder_job {
    char folder[96];
    const char *spoil; /* a tensor of expected.safetensors, or "" */
    double by;         /* relative */
    int64_t batches;   /* that steps take in turn */
} folder_job;

enum { STEPS = 2, MAX_EXPECTED = 160 };

typedef struct expectation {
    td_file_tensor tensors[MAX_EXPECTED];
    char names[MAX_EXPECTED][96];
    int64_t n;
} expectation;

static void expect_tensor(expectation *e, const folder_job *job, const char *prefix,
                          const char *name, int n_dims, const int64_t *dims, int64_t count,
                          const float *values) {
    cr_assert(e->n < MAX_EXPECTED);
    char *full = e->names[e->n];
    snprintf(full, sizeof(e->names[0]), "%s/%s", prefix, name);
    double *copy = td_alloc((size_t)count * sizeof(double));
    double factor = strcmp(full, job->spoil) == 0 ? 1 + job->by : 1;
    for (int64_t i = 0; i < count; i++) {
        copy[i] = (double)values[i] * factor;
    }
    td_file_tensor *tensor = &e->tensors[e->n++];
    *tensor = (td_file_tensor){
        .name = full, .dtype = TD_FILE_F64, .n_dims = n_dims, .count = count, .data = copy};
    memcpy(tensor->dims, dims, (size_t)n_dims * sizeof(int64_t));
}

static void expect_flat(expectation *e, const folder_job *job, const char *prefix,
                        const td_tensors *tensors, const float *flat) {
    for (int i = 0; i < tensors->count; i++) {
        const td_tensor *t = &tensors->tensors[i];
        expect_tensor(e, job, prefix, t->name, t->n_dims, t->dims, t->count, flat + t->offset);
    }
}

static void write_file(const folder_job *job, const char *name, const td_file_tensor *tensors,
                       int64_t n) {
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", job->folder, name);
    td_case_ok(td_safetensors_write(path, tensors, n, NULL, 0));
}

static void write_text(const folder_job *job, const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", job->folder, name);
    td_case_ok(td_file_write(path, text, strlen(text)));
}

static td_status make_folder(td_train *train, void *arg) {
    folder_job *job = arg;
    const td_train_options *options = td_train_get_options(train);
    const td_model_config *config = &options->config;
    const td_tensors *tensors = td_train_tensors(train);
    expectation before = {0}, after = {0};
    folder_job clean = {.spoil = ""};
    expect_flat(&before, &clean, "", tensors, td_train_params(train));
    for (int64_t i = 0; i < before.n; i++) {
        before.tensors[i].name++; /* without the slash */
    }
    td_train_options all = *options;
    all.batch *= job->batches;
    td_case_batch batch = td_case_batch_make(&all, 1);
    int64_t pixels = 3 * config->image_size * config->image_size;
    for (int64_t step = 0; step < STEPS; step++) {
        int64_t first = step % job->batches * options->batch;
        td_step_result result;
        char name[8];
        td_case_ok(td_train_step(train, batch.images + first * pixels,
                                 batch.tokens + first * config->context, &result));
        snprintf(name, sizeof(name), "%d", (int)step);
        float loss = (float)result.loss;
        expect_tensor(&after, job, "loss", name, 1, (int64_t[]){1}, 1, &loss);
        if (step == 0) {
            expect_flat(&after, job, "grad", tensors, td_train_grads(train));
        }
    }
    expect_flat(&after, job, "weights", tensors, td_train_params(train));
    int64_t n = all.batch, size = config->image_size, context = config->context;
    td_file_tensor inputs[] = {{.name = "images",
                                .dtype = TD_FILE_F32,
                                .n_dims = 4,
                                .dims = {n, 3, size, size},
                                .count = n * 3 * size * size,
                                .data = batch.images},
                               {.name = "tokens",
                                .dtype = TD_FILE_I32,
                                .n_dims = 2,
                                .dims = {n, context},
                                .count = n * context,
                                .data = batch.tokens}};
    td_case_ok(td_make_directory(job->folder));
    char *json;
    td_case_ok(td_model_config_print(config, &json));
    write_text(job, "config.json", json);
    char optim[256];
    snprintf(optim, sizeof(optim),
             "{\"batch\": %d, \"lr\": 1e-3, \"beta1\": 0.9, \"beta2\": 0.98, \"eps\": 1e-6, "
             "\"weight_decay\": "
             "0.2, \"grad_clip\": 1.0, \"loss\": \"siglip\", \"steps\": 2, \"warmup\": 2, "
             "\"schedule\": \"cosine\"}",
             (int)options->batch);
    write_text(job, "optim.json", optim);
    write_file(job, "weights.safetensors", before.tensors, before.n);
    write_file(job, "batch.safetensors", inputs, 2);
    write_file(job, "expected.safetensors", after.tensors, after.n);
    td_free(json);
    td_case_batch_free(&batch);
    for (int64_t i = 0; i < before.n; i++) {
        td_free((void *)(uintptr_t)before.tensors[i].data);
    }
    for (int64_t i = 0; i < after.n; i++) {
        td_free((void *)(uintptr_t)after.tensors[i].data);
    }
    return TD_OK;
}

static void remove_folder(const char *folder) {
    static const char *const files[] = {"config.json", "optim.json", "weights.safetensors",
                                        "batch.safetensors", "expected.safetensors"};
    char path[128];
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
}

/* TD_SHOW in the environment prints the table. */
static td_status verify_inside(td_train *train, void *arg) {
    return td_verify_run(arg, train, getenv("TD_SHOW") != NULL ? stdout : NULL, NULL);
}

ParameterizedTestParameters(verify, twins) {
    static const char names[][16] = {"twin-clip", "twin-siglip"};
    return cr_make_param_array(const char[16], names, 2);
}

ParameterizedTest(const char name[16], verify, twins) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
    const char *folder = td_case_oracle(name);
    if (folder == NULL) {
        cr_skip("no oracle %s here", name);
    }
    td_train_options options;
    td_case_ok(td_verify_options(folder, 0, &options));
    cr_assert_eq(options.batch, 6);
    cr_assert_eq(options.blocks, 2);
    td_case_ok(td_case_inside(&options, 2, verify_inside, (void *)(uintptr_t)folder));
}

typedef struct spoil_case {
    char tensor[64];
    double by;
    bool good;
    int64_t batches;
} spoil_case;

ParameterizedTestParameters(verify, finds_what_differs) {
    static spoil_case cases[] = {
        {"", 0, true, 1},
        {"", 0, true, 2},
        {"loss/1", 5e-7, true, 1},
        {"loss/1", 2e-6, false, 1},
        {"grad/visual.trunk.attn_pool.kv.weight", 1e-5, true, 1}, /* given in f64: 2e-5 */
        {"grad/visual.trunk.attn_pool.kv.weight", 4e-5, false, 1},
        {"grad/logit_bias", -2e-4, false, 1},
        {"weights/text.ln_final.bias", 2e-4, false, 1},
        {"weights/text.positional_embedding", 5e-5, true, 1},
    };
    return cr_make_param_array(spoil_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(spoil_case *c, verify, finds_what_differs) {
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
    folder_job job = {.spoil = c->tensor, .by = c->by, .batches = c->batches};
    snprintf(job.folder, sizeof(job.folder), "/tmp/tandem_verify_%d", (int)getpid());
    td_train_options options = td_case_options("mu-siglip", TD_LOSS_SIGMOID), read;
    options.optimizer.steps = STEPS;
    td_case_ok(td_case_inside(&options, 1, make_folder, &job));
    td_case_ok(td_verify_options(job.folder, 0, &read));
    cr_assert_eq(read.blocks, 8);
    td_status status = td_case_inside(&read, 1, verify_inside, job.folder);
    cr_assert_eq(status, c->good ? TD_OK : TD_ECHECK, "%s by %g: %s", c->tensor, c->by, td_error());
    cr_assert(c->good || strstr(td_error(), c->tensor) != NULL, "%s", td_error());
    remove_folder(job.folder);
}

Test(verify, differences) {
    float found[3] = {1, 2, 2};
    double expected[3] = {1, 2, 2};
    td_difference d = td_compare(found, expected, 3);
    cr_assert(d.relative <= 0 && d.max_ulp <= 0 && fabs(d.cosine - 1) < 1e-15);
    expected[2] = 2.0000002384185791; /* one unit in the last place above 2 */
    d = td_compare(found, expected, 3);
    cr_assert_float_eq(d.max_ulp, 1, 1e-6);
    found[1] = NAN;
    d = td_compare(found, expected, 3);
    cr_assert(isnan(d.relative) && isnan(d.max_ulp));
    double zero[1] = {0};
    found[0] = 0.25F;
    cr_assert_float_eq(td_compare(found, zero, 1).relative, 0.25, 1e-15);
}
