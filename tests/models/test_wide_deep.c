/* SPDX-License-Identifier: Apache-2.0
 * The wide and deep model: the same weights on every layout and instruction set, gradients that
 * central differences of an f64 twin confirm, a loss that falls, and runs that go on to the same
 * bits.
 */
#include "models/wide_deep.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/table_synth.h"
#include "models/wide_deep_plan.h"
#include "train_case.h"

enum { STEPS = 12 };

/* Every kind of thing that is trained: weighted and crossed wide columns, a limit on norms, a
 * shared table. */
#define COLUMNS(activation)                                                                        \
    "{\"label\":{\"type\":\"vocab_list\",\"key\":\"label\",\"vocabulary\":[\"none\",\"basic\","    \
    "\"plus\",\"premium\"]},"                                                                      \
    "\"wide\":[{\"type\":\"crossed\",\"keys\":[\"region\",\"device\"],\"hash_bucket_size\":50},"   \
    "{\"type\":\"weighted\",\"weight_key\":\"spend\",\"categorical\":{\"type\":\"hash_bucket\","   \
    "\"key\":\"tags\",\"hash_bucket_size\":20}}],"                                                 \
    "\"deep\":[{\"type\":\"numeric\",\"key\":\"age\",\"normalizer\":{\"op\":\"mul\",\"value\":"    \
    "0.02}},"                                                                                      \
    "{\"type\":\"embedding\",\"dimension\":6,\"max_norm\":0.9,\"combiner\":\"sqrtn\","             \
    "\"categorical\":{\"type\":\"hash_bucket\",\"key\":\"tags\",\"hash_bucket_size\":30}},"        \
    "{\"type\":\"shared_embeddings\",\"dimension\":3,\"categoricals\":["                           \
    "{\"type\":\"hash_bucket\",\"key\":\"region\",\"hash_bucket_size\":12},"                       \
    "{\"type\":\"hash_bucket\",\"key\":\"device\",\"hash_bucket_size\":12}]}],"                    \
    "\"hidden\":[9,7],\"activation\":\"" activation "\"}"

static const char columns[] = COLUMNS("gelu"), with_relu[] = COLUMNS("relu");

typedef struct table_job {
    td_wide_deep_options options;
    int64_t steps, rows;
    const char *save, *resume;
    td_status (*inspect)(td_wide_deep *model, td_table *table);
} table_job;

typedef struct table_result {
    double loss[STEPS], accuracy[STEPS];
    td_wide_deep_score score;
    char sha256[TD_SHA256_HEX];
} table_result;

static td_status run_steps(const table_job *job, td_wide_deep *model, td_table *table,
                           table_result *out) {
    if (job->resume != NULL) {
        TD_TRY(td_wide_deep_resume(job->resume, model));
    }
    while (td_wide_deep_steps_done(model) < job->steps) {
        td_wide_deep_result done;
        TD_TRY(td_wide_deep_step(model, table, &done));
        out->loss[done.step % STEPS] = done.loss;
        out->accuracy[done.step % STEPS] = done.accuracy;
    }
    if (job->save != NULL) {
        TD_TRY(td_wide_deep_save(job->save, model));
    }
    if (job->inspect != NULL) {
        TD_TRY(job->inspect(model, table));
    }
    TD_TRY(td_wide_deep_evaluate(model, table, &out->score));
    return td_wide_deep_sha256(model, out->sha256);
}

static td_status table_rank(td_rank *rank, void *arg) {
    const table_job *job = arg;
    td_table *table = NULL;
    td_wide_deep *model = NULL;
    td_table_options options = {.n_synthetic = job->rows, .seed = 1, .holdout = 0.2};
    td_status status = td_table_open(job->options.spec, &options, &table);
    status = status == TD_OK ? td_wide_deep_create(&job->options, rank, &model) : status;
    status = status == TD_OK ? run_steps(job, model, table, (table_result *)(void *)rank->segment)
                             : status;
    td_wide_deep_destroy(model);
    td_table_close(table);
    return status;
}

static td_status run(const table_job *job, const char *layout, table_result *out) {
    td_wide_deep_needs needs;
    td_group_options group = {.deadline_ns = INT64_C(20000000000)};
    TD_TRY(td_layout_parse(layout, &group.layout));
    group.layout.over = true;
    TD_TRY(td_wide_deep_measure(&job->options, group.layout.ranks, &needs));
    group.segment_bytes = (size_t)needs.segment_bytes;
    return td_group_run_result(&group, table_rank, (void *)job, out, sizeof *out);
}

static table_job make_job(const char *text) {
    table_job job = {.steps = STEPS,
                     .rows = 500,
                     .options = {.batch = 64,
                                 .blocks = 8,
                                 .seed = 3,
                                 .optimizer = {.lr = 1e-2,
                                               .beta1 = 0.9,
                                               .beta2 = 0.98,
                                               .eps = 1e-6,
                                               .weight_decay = 0.02,
                                               .steps = STEPS}}};
    td_table_spec *spec;
    td_case_ok(td_table_spec_parse(text, "test", &spec));
    job.options.spec = spec;
    td_isa isa;
    td_case_ok(td_isa_active(&isa));
    td_case_ok(td_kernels_select(isa));
    return job;
}

static void free_job(table_job *job) {
    td_table_spec_destroy((td_table_spec *)job->options.spec);
}

static void check_layouts(const char *text) {
    static const char *const layouts[] = {"p1xt2",         "p1xt3",         "p2xt1:thread",
                                          "p2xt1:process", "p2xt2:process", "p4xt1:thread",
                                          "p8xt1:process"};
    table_job job = make_job(text);
    table_result first = {0};
    td_case_ok(run(&job, "p1xt1", &first));
    cr_assert(first.loss[STEPS - 1] < first.loss[0]);
    cr_assert_eq(strlen(first.sha256), 64);
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        table_result other = {0};
        td_case_ok(run(&job, layouts[i], &other));
        cr_expect_str_eq(other.sha256, first.sha256, "%s: another answer", layouts[i]);
        cr_expect_arr_eq(other.loss, first.loss, sizeof first.loss, "%s: other losses", layouts[i]);
        cr_expect_arr_eq(other.accuracy, first.accuracy, sizeof first.accuracy);
        cr_expect_eq(other.score.accuracy.hits, first.score.accuracy.hits);
    }
    free_job(&job);
}

Test(wide_deep, one_answer_on_every_layout) {
    check_layouts(columns);
}

Test(wide_deep, one_answer_on_every_layout_with_relu) {
    check_layouts(with_relu);
}

static void check_instruction_sets(const char *text) {
    table_job job = make_job(text);
    char first[TD_SHA256_HEX] = "";
    td_isa highest;
    td_case_ok(td_isa_active(&highest));
    for (td_isa isa = TD_ISA_PORTABLE; isa <= highest; isa++) {
        table_result result = {0};
        td_case_ok(td_kernels_select(isa));
        td_case_ok(run(&job, "p2xt1:thread", &result));
        if (first[0] == '\0') {
            strcpy(first, result.sha256);
        }
        cr_expect_str_eq(result.sha256, first, "%s: another answer", td_isa_name(isa));
    }
    free_job(&job);
}

Test(wide_deep, one_answer_on_every_instruction_set) {
    check_instruction_sets(columns);
}

Test(wide_deep, one_answer_on_every_instruction_set_with_relu) {
    check_instruction_sets(with_relu);
}

/* ---- gradients, against the model written out in f64 ---- */

static double activated(const td_table_shape *shape, double x) {
    return strcmp(shape->activation, "relu") == 0 ? fmax(x, 0) : x * 0.5 * erfc(-x * M_SQRT1_2);
}

/* Row r of a bag's sum: of tables with f64 values. */
static void look_up(const td_wd_bag *bag, const double *table, int64_t r, double *out) {
    for (int32_t i = bag->offsets[r]; i < bag->offsets[r + 1]; i++) {
        const double *e = table + bag->ids[i] * bag->width;
        double squares = 0, most = (double)bag->max_norm;
        for (int64_t c = 0; c < bag->width; c++) {
            squares += e[c] * e[c];
        }
        double norm = sqrt(squares), s = most > 0 && norm > most ? most / norm : 1;
        for (int64_t c = 0; c < bag->width; c++) {
            out[c] += (double)bag->coefficients[i] * s * e[c];
        }
    }
}

/* The mean loss of the batch that the model read last, with f64 weights. */
static double twin_loss(const td_wide_deep *model, const double *params) {
    const td_table_shape *s = model->shape;
    int64_t rows = model->split.batch;
    double loss = 0;
    for (int64_t r = 0; r < rows; r++) {
        double x[64], y[64], logits[8] = {0}, total = 0;
        for (int64_t c = 0; c < s->width; c++) {
            x[c] = (double)model->deep[r * s->width + c];
        }
        for (int i = 0; i < s->n_embeddings; i++) {
            const td_table_embedding *e = &s->embeddings[i];
            memset(x + e->at, 0, (size_t)e->dimension * sizeof *x);
            look_up(&model->bags[i], params + model->tensors[e->table].offset, r, x + e->at);
        }
        for (int l = 0; l <= s->n_hidden; l++) {
            const td_wd_tensor *w = &model->tensors[td_wd_layer(model, l)];
            for (int64_t o = 0; o < w->rows; o++) {
                y[o] = params[w[1].offset + o];
                for (int64_t c = 0; c < w->cols; c++) {
                    y[o] += params[w->offset + o * w->cols + c] * x[c];
                }
            }
            for (int64_t o = 0; o < w->rows; o++) {
                x[o] = l < s->n_hidden ? activated(s, y[o]) : y[o];
            }
        }
        memcpy(logits, x, (size_t)s->classes * sizeof *x);
        look_up(&model->bags[s->n_embeddings], params + model->tensors[s->n_tables].offset, r,
                logits);
        for (int64_t c = 0; c < s->classes; c++) {
            total += exp(logits[c]);
        }
        loss += (log(total) - logits[model->labels[r]]) / (double)rows;
    }
    return loss;
}

/* One step at a learning rate of zero leaves the weights as they are beside their gradients. */
static td_status check_gradients(td_wide_deep *model, td_table *table) {
    td_wide_deep_result done;
    int64_t count, checked = 0, moved = 0;
    float *params = td_wide_deep_params(model, &count);
    double *exact = td_alloc((size_t)count * sizeof *exact);
    model->options.optimizer.lr = 0;
    model->options.optimizer.weight_decay = 0;
    TD_TRY(td_wide_deep_step(model, table, &done));
    for (int64_t i = 0; i < count; i++) {
        exact[i] = (double)params[i];
    }
    cr_expect(fabs(twin_loss(model, exact) - done.loss) < 2e-6, "%g, in f64 %g", done.loss,
              twin_loss(model, exact));
    for (int t = 0; t < model->n_tensors; t++) {
        const td_wd_tensor *tensor = &model->tensors[t];
        int64_t n = tensor->rows * tensor->cols, stride = n < 60 ? 1 : n / 60;
        for (int64_t i = tensor->offset; i < tensor->offset + n; i += stride) {
            const double h = 1e-5, kept = exact[i];
            exact[i] = kept + h;
            double above = twin_loss(model, exact);
            exact[i] = kept - h;
            double below = twin_loss(model, exact), want = (above - below) / (2 * h);
            exact[i] = kept;
            double got = (double)td_wide_deep_grads(model)[i];
            cr_expect(fabs(got - want) <= 2e-6 + 1e-5 * fabs(want), "%s[%lld] is %g, expected %g",
                      tensor->name, (long long)(i - tensor->offset), got, want);
            checked++;
            moved += fabs(want) > 1e-4;
        }
    }
    cr_expect(checked > 250 && moved > 100, "%lld checked, %lld not zero", (long long)checked,
              (long long)moved);
    td_free(exact);
    return TD_OK;
}

static void check_gradients_of(const char *text) {
    table_job job = make_job(text);
    table_result result = {0};
    job.inspect = check_gradients;
    td_case_ok(run(&job, "p1xt2", &result));
    free_job(&job);
}

Test(wide_deep, gradients_agree_with_central_differences_in_f64) {
    check_gradients_of(columns);
}

Test(wide_deep, gradients_with_relu_agree_with_central_differences_in_f64) {
    check_gradients_of(with_relu);
}

/* ---- learning ---- */

Test(wide_deep, learns_what_the_embedded_table_holds) {
    table_job job = make_job(td_table_synth_columns);
    table_result result = {0};
    job.rows = 8000;
    job.steps = job.options.optimizer.steps = 400;
    job.options.batch = 128;
    job.options.optimizer.lr = 4e-3;
    td_case_ok(run(&job, "p1xt2", &result));
    const td_share *share = &result.score.accuracy;
    cr_expect(share->low > share->chance + 0.15, "accuracy %.3f, from %.3f; chance %.3f",
              share->value, share->low, share->chance);
    free_job(&job);
}

Test(wide_deep, a_resumed_run_ends_with_the_same_bits) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/td_wide_deep_%d.safetensors", (int)getpid());
    table_job whole = make_job(columns), half = whole, rest = whole;
    table_result a = {0}, b = {0};
    half.steps = 5;
    half.save = rest.resume = path;
    td_case_ok(run(&whole, "p1xt1", &a));
    td_case_ok(run(&half, "p2xt1:process", &b));
    td_case_ok(run(&rest, "p1xt2", &b));
    cr_expect_str_eq(a.sha256, b.sha256);
    rest.options.seed = 4;
    cr_expect_eq(run(&rest, "p1xt1", &b), TD_EUSAGE);
    cr_expect(strstr(td_error(), "seed 3, this run has 4") != NULL, "%s", td_error());
    table_job other = make_job(td_table_synth_columns);
    other.resume = path;
    cr_expect_eq(run(&other, "p1xt1", &b), TD_EUSAGE);
    cr_expect(strstr(td_error(), "other columns") != NULL, "%s", td_error());
    unlink(path);
    free_job(&whole);
    free_job(&other);
}
