/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/loss_oracle.h"

#include <math.h>
#include <stdbool.h>

#include "base/memory.h"
#include "base/rng.h"

enum { MOST_CLASSES = 251, TURN = 7 };

static int64_t image_class(const td_loss_oracle *o, int64_t i) {
    return i % o->classes;
}

static int64_t text_class(const td_loss_oracle *o, int64_t i) {
    return (i + TURN * (i / o->classes)) % o->classes;
}

const float *td_loss_oracle_image(const td_loss_oracle *o, int64_t i) {
    return o->images + image_class(o, i) * o->embed;
}

const float *td_loss_oracle_text(const td_loss_oracle *o, int64_t i) {
    return o->texts + text_class(o, i) * o->embed;
}

static void normalise(float *row, int64_t n) {
    double sum = 0;
    for (int64_t c = 0; c < n; c++) {
        sum += (double)row[c] * (double)row[c];
    }
    for (int64_t c = 0; c < n; c++) {
        row[c] = (float)((double)row[c] / sqrt(sum));
    }
}

/* Texts are near their images: a cosine of about 0.45. */
static void fill_vectors(td_loss_oracle *o) {
    for (int64_t k = 0; k < o->classes; k++) {
        td_rng rng = td_rng_make(1, TD_PURPOSE_INPUT, (uint64_t)k);
        float *image = o->images + k * o->embed, *text = o->texts + k * o->embed;
        for (int64_t c = 0; c < o->embed; c++) {
            image[c] = (float)td_rng_normal(&rng);
            text[c] = 0.5F * image[c] + (float)td_rng_normal(&rng);
        }
        normalise(image, o->embed);
        normalise(text, o->embed);
    }
}

typedef struct sums {
    double *scores;           /* (classes, classes), then their gradients */
    double *n_image, *n_text; /* samples of each class */
    double *rows, *cols;      /* log-sum-exp */
} sums;

static double log_sum_exp(const double *s, int64_t stride, const double *weight, int64_t n) {
    double top = -INFINITY, sum = 0;
    for (int64_t k = 0; k < n; k++) {
        top = weight[k] > 0 ? fmax(top, s[k * stride]) : top;
    }
    for (int64_t k = 0; k < n; k++) {
        sum += weight[k] * exp(s[k * stride] - top);
    }
    return top + log(sum);
}

static double softplus(double x) {
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static void fill_scores(const td_loss_oracle *o, const sums *at) {
    for (int64_t a = 0; a < o->classes; a++) {
        for (int64_t b = 0; b < o->classes; b++) {
            double dot = 0;
            for (int64_t c = 0; c < o->embed; c++) {
                dot += (double)o->images[a * o->embed + c] * (double)o->texts[b * o->embed + c];
            }
            at->scores[a * o->classes + b] = o->scale * dot;
        }
    }
    for (int64_t k = 0; k < o->classes; k++) {
        at->rows[k] = log_sum_exp(at->scores + k * o->classes, 1, at->n_text, o->classes);
        at->cols[k] = log_sum_exp(at->scores + k, o->classes, at->n_image, o->classes);
    }
}

/* What the positives alone contribute. */
static void add_positives(td_loss_oracle *o, const sums *at) {
    double n = (double)o->batch;
    for (int64_t i = 0; i < o->batch; i++) {
        int64_t a = image_class(o, i), b = text_class(o, i);
        double s = at->scores[a * o->classes + b];
        o->loss += o->kind == TD_LOSS_SOFTMAX ? (at->rows[a] + at->cols[b] - 2 * s) / (2 * n)
                                              : -(s + o->bias) / n;
        o->dscale -= s / n;
        o->dbias -= o->kind == TD_LOSS_SOFTMAX ? 0 : 1 / n;
    }
}

/* Scores to gradients, as of a negative pair, and their sums. */
static void add_pairs(td_loss_oracle *o, const sums *at) {
    double n = (double)o->batch;
    for (int64_t a = 0; a < o->classes; a++) {
        for (int64_t b = 0; b < o->classes; b++) {
            double *at_pair = at->scores + a * o->classes + b, s = *at_pair, l = s + o->bias;
            double pairs = at->n_image[a] * at->n_text[b];
            *at_pair = o->kind == TD_LOSS_SOFTMAX
                           ? (exp(s - at->rows[a]) + exp(s - at->cols[b])) / (2 * n)
                           : 1 / (1 + exp(-l)) / n;
            o->loss += o->kind == TD_LOSS_SOFTMAX ? 0 : pairs * softplus(l) / n;
            o->dscale += pairs * *at_pair * s;
            o->dbias += o->kind == TD_LOSS_SOFTMAX ? 0 : pairs * *at_pair;
        }
    }
}

static void add_rows(td_loss_oracle *o, const sums *at) {
    for (int64_t a = 0; a < o->classes; a++) {
        for (int64_t b = 0; b < o->classes; b++) {
            double g = o->scale * at->scores[a * o->classes + b];
            for (int64_t c = 0; c < o->embed; c++) {
                int64_t image = a * o->embed + c, text = b * o->embed + c;
                o->d_images[image] += g * at->n_text[b] * (double)o->texts[text];
                o->d_texts[text] += g * at->n_image[a] * (double)o->images[image];
            }
        }
    }
}

static void solve(td_loss_oracle *o, sums *at) {
    for (int64_t i = 0; i < o->batch; i++) {
        at->n_image[image_class(o, i)] += 1;
        at->n_text[text_class(o, i)] += 1;
    }
    fill_scores(o, at);
    add_positives(o, at);
    add_pairs(o, at);
    add_rows(o, at);
}

td_status td_loss_oracle_create(td_loss kind, int64_t batch, int64_t embed, float scale, float bias,
                                td_loss_oracle *out) {
    int64_t k = batch < MOST_CLASSES ? batch : MOST_CLASSES;
    size_t n = (size_t)(k * embed);
    td_loss_oracle o = {.kind = kind,
                        .batch = batch,
                        .embed = embed,
                        .classes = k,
                        .scale = (double)scale,
                        .bias = (double)bias,
                        .images = td_alloc(n * sizeof(float)),
                        .texts = td_alloc(n * sizeof(float)),
                        .d_images = td_alloc_zero(n * sizeof(double)),
                        .d_texts = td_alloc_zero(n * sizeof(double))};
    double *memory = td_alloc_zero((size_t)(k * (k + 4)) * sizeof(double));
    if (!o.images || !o.texts || !o.d_images || !o.d_texts || !memory) {
        td_free(memory);
        td_loss_oracle_destroy(&o);
        return td_fail(TD_ENOMEM, "the answer of a loss");
    }
    double *vectors = memory + k * k;
    fill_vectors(&o);
    solve(&o, &(sums){memory, vectors, vectors + k, vectors + 2 * k, vectors + 3 * k});
    td_free(memory);
    *out = o;
    return TD_OK;
}

void td_loss_oracle_destroy(td_loss_oracle *o) {
    td_free(o->images);
    td_free(o->texts);
    td_free(o->d_images);
    td_free(o->d_texts);
}

double td_loss_oracle_error(const td_loss_oracle *o, bool images, int64_t first, int64_t rows,
                            const float *got) {
    double most = 0, squares = 0, label = o->scale / (double)o->batch;
    for (int64_t i = first; i < first + rows; i++, got += o->embed) {
        int64_t row = images ? image_class(o, i) : text_class(o, i);
        const double *base = (images ? o->d_images : o->d_texts) + row * o->embed;
        const float *other = images ? td_loss_oracle_text(o, i) : td_loss_oracle_image(o, i);
        double gap = 0;
        for (int64_t c = 0; c < o->embed; c++) {
            double want = base[c] - label * (double)other[c];
            squares += want * want;
            gap += ((double)got[c] - want) * ((double)got[c] - want);
        }
        most = gap <= most ? most : gap; /* a NaN stays */
    }
    return sqrt(most / (squares / (double)rows));
}

double td_loss_oracle_bound(const td_loss_oracle *o) {
    return (16 + 4 * o->scale + (double)o->batch / 2048) * 0x1p-24;
}
