/* SPDX-License-Identifier: Apache-2.0 */
#include "models/evaluate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

const int64_t td_recall_at[TD_RECALLS] = {1, 5, 10};

td_share td_share_make(int64_t hits, int64_t n, double chance) {
    td_share share = {.hits = hits, .n = n, .chance = chance};
    if (n > 0) {
        const double z = 1.959963984540054; /* 97.5 % quantile of the normal distribution */
        double count = (double)n, p = (double)hits / count, z2 = z * z / count;
        double centre = (p + z2 / 2) / (1 + z2);
        double half = z / (1 + z2) * sqrt(p * (1 - p) / count + z2 / (4 * count));
        share.value = p;
        share.low = hits == 0 ? 0 : centre - half;
        share.high = hits == n ? 1 : centre + half;
    }
    return share;
}

static const char *const default_templates[] = {
    "a photo of a {}.",
    "a picture of a {}.",
    "a drawing of a {}.",
    "clip art of a {}.",
    "an icon of a {}.",
    "an image of a {}.",
    "a {}.",
    "{}",
};

const char *const *td_zeroshot_templates(int *count) {
    *count = (int)(sizeof(default_templates) / sizeof(default_templates[0]));
    return default_templates;
}

/* Encoded pairs, in the order of the set. */
typedef struct encoded {
    int64_t n, skipped, capacity;
    float *images, *texts; /* (n, embed) */
    char **captions, **labels;
    int64_t *group; /* pairs of the same caption share a number */
} encoded;

static void encoded_free(encoded *e) {
    for (int64_t i = 0; i < e->n; i++) {
        td_free(e->captions[i]);
        td_free(e->labels[i]);
    }
    td_free(e->captions);
    td_free(e->labels);
    td_free(e->images);
    td_free(e->texts);
    td_free(e->group);
    *e = (encoded){0};
}

static td_status encoded_create(int64_t capacity, int64_t embed, encoded *e) {
    size_t n = (size_t)capacity + 1, row = (size_t)embed * sizeof(float);
    *e = (encoded){.capacity = capacity,
                   .images = td_alloc(n * row),
                   .texts = td_alloc(n * row),
                   .captions = td_alloc_zero(n * sizeof(char *)),
                   .labels = td_alloc_zero(n * sizeof(char *)),
                   .group = td_alloc_zero(n * sizeof(int64_t))};
    if (e->images == NULL || e->texts == NULL || e->captions == NULL || e->labels == NULL ||
        e->group == NULL) {
        encoded_free(e);
        return td_fail(TD_ENOMEM, "no memory for the features of %" PRId64 " pairs", capacity);
    }
    return TD_OK;
}

/* One batch's inputs. */
typedef struct staging {
    int64_t rows, capacity;
    float *images;
    int32_t *ids;
} staging;

static td_status flush(td_encoder *encoder, staging *s, encoded *e) {
    int64_t embed = td_encoder_config(encoder)->embed, first = e->n - s->rows;
    if (s->rows > 0) {
        TD_TRY(td_encoder_images(encoder, s->images, s->rows, e->images + first * embed));
        TD_TRY(td_encoder_texts(encoder, s->ids, s->rows, e->texts + first * embed));
    }
    s->rows = 0;
    return TD_OK;
}

/* Decodes pairs in order; those that cannot be decoded, and unlabelled ones when labels are asked
 * for, are left out. */
static td_status encode_all(td_encoder *encoder, td_pairs *pairs, const td_tokenizer *tokenizer,
                            bool labelled, staging *s, encoded *e) {
    const td_model_config *config = td_encoder_config(encoder);
    int64_t pixels = 3 * config->image_size * config->image_size, count = td_pairs_count(pairs);
    for (int64_t i = 0; i < count && e->n < e->capacity; i++) {
        char *caption = NULL, *label = NULL;
        td_status status = td_pairs_text(pairs, i, &caption, &label);
        if (status == TD_OK && !(labelled && label[0] == '\0')) {
            status = td_pairs_image(pairs, i, config->image_size, s->images + s->rows * pixels);
        }
        if (status != TD_OK || (labelled && label[0] == '\0')) {
            td_free(caption);
            td_free(label);
            if (status != TD_OK && status != TD_EINPUT) {
                return status;
            }
            e->skipped++;
            continue;
        }
        td_tokenize(tokenizer, caption, s->ids + s->rows * config->context, config->context);
        e->captions[e->n] = caption;
        e->labels[e->n++] = label;
        if (++s->rows == s->capacity) {
            TD_TRY(flush(encoder, s, e));
        }
    }
    return flush(encoder, s, e);
}

static td_status staging_create(const td_model_config *config, int64_t rows, staging *s) {
    size_t pixels = (size_t)(3 * config->image_size * config->image_size);
    *s = (staging){.capacity = rows,
                   .images = td_alloc((size_t)rows * pixels * sizeof(float)),
                   .ids = td_alloc((size_t)(rows * config->context) * sizeof(int32_t))};
    return s->images == NULL || s->ids == NULL
               ? td_fail(TD_ENOMEM, "no memory for a batch of %" PRId64 " pairs", rows)
               : TD_OK;
}

static void staging_free(staging *s) {
    td_free(s->images);
    td_free(s->ids);
}

static td_status encode(td_encoder *encoder, td_pairs *pairs, const td_tokenizer *tokenizer,
                        int64_t limit, bool labelled, encoded *e) {
    int64_t count = td_pairs_count(pairs);
    const td_model_config *config = td_encoder_config(encoder);
    TD_TRY(encoded_create(limit < count ? limit : count, config->embed, e));
    staging s = {0};
    td_status status = staging_create(config, TD_EVALUATE_BATCH, &s);
    if (status == TD_OK) {
        status = encode_all(encoder, pairs, tokenizer, labelled, &s, e);
    }
    staging_free(&s);
    if (status == TD_OK && e->n == 0) {
        status = td_fail(TD_EINPUT, "no pair could be used; %" PRId64 " were skipped", e->skipped);
    }
    if (status != TD_OK) {
        encoded_free(e);
    }
    return status;
}

typedef struct named {
    const char *text;
    int64_t index;
} named;

static int by_text(const void *a, const void *b) {
    const named *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

/* Numbers equal texts alike, in sorted order; returns how many differ, or -1. sorted gets the first
 * of each, when wanted. */
static int64_t number_texts(char *const *texts, int64_t n, int64_t *group, const char **sorted) {
    named *order = td_alloc((size_t)n * sizeof(*order));
    if (order == NULL) {
        return -1;
    }
    for (int64_t i = 0; i < n; i++) {
        order[i] = (named){texts[i], i};
    }
    qsort(order, (size_t)n, sizeof(*order), by_text);
    int64_t groups = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(order[i].text, order[i - 1].text) != 0) {
            if (sorted != NULL) {
                sorted[groups] = order[i].text;
            }
            groups++;
        }
        group[order[i].index] = groups - 1;
    }
    td_free(order);
    return groups;
}

void td_retrieval_count(const float *scores, const int64_t *group, int64_t n, int64_t step_row,
                        int64_t step_column, int64_t hits[TD_RECALLS]) {
    for (int64_t i = 0; i < n; i++) {
        const float *row = scores + i * step_row;
        float best = -INFINITY;
        for (int64_t j = 0; j < n; j++) {
            float score = row[j * step_column];
            best = group[j] == group[i] && score > best ? score : best;
        }
        int64_t ahead = 0;
        for (int64_t j = 0; j < n; j++) {
            /* "not below" also counts a NaN against the model. */
            ahead += group[j] != group[i] && !(row[j * step_column] < best);
        }
        for (int k = 0; k < TD_RECALLS; k++) {
            hits[k] += ahead < td_recall_at[k];
        }
    }
}

/* Chance that k draws without replacement from n hold at least one of the m right answers, averaged
 * over queries. */
static double retrieval_chance(const int64_t *group, int64_t groups, int64_t n, int64_t k) {
    int64_t *size = td_alloc_zero((size_t)groups * sizeof(*size));
    double sum = 0;
    for (int64_t i = 0; size != NULL && i < n; i++) {
        size[group[i]]++;
    }
    for (int64_t g = 0; size != NULL && g < groups; g++) {
        double miss = 1;
        for (int64_t draw = 0; draw < k && draw < n; draw++) {
            double left = (double)(n - size[g] - draw);
            miss *= left > 0 ? left / (double)(n - draw) : 0;
        }
        sum += (double)size[g] * (1 - miss);
    }
    td_free(size);
    return sum / (double)n;
}

td_status td_evaluate_retrieval(td_encoder *encoder, td_pairs *pairs, const td_tokenizer *tokenizer,
                                int64_t limit, td_retrieval *out) {
    encoded e;
    TD_TRY(encode(encoder, pairs, tokenizer, limit, false, &e));
    float *scores = td_alloc((size_t)(e.n * e.n) * sizeof(float));
    int64_t groups = number_texts(e.captions, e.n, e.group, NULL);
    td_status status =
        scores == NULL || groups < 0
            ? td_fail(TD_ENOMEM, "no memory for %" PRId64 " x %" PRId64 " scores", e.n, e.n)
            : td_encoder_scores(encoder, e.images, e.n, e.texts, e.n, scores);
    if (status == TD_OK) {
        int64_t by_image[TD_RECALLS] = {0}, by_caption[TD_RECALLS] = {0};
        td_retrieval_count(scores, e.group, e.n, e.n, 1, by_image);
        td_retrieval_count(scores, e.group, e.n, 1, e.n, by_caption);
        *out = (td_retrieval){.pairs = e.n, .skipped = e.skipped, .distinct_captions = groups};
        for (int k = 0; k < TD_RECALLS; k++) {
            double chance = retrieval_chance(e.group, groups, e.n, td_recall_at[k]);
            out->image_to_text[k] = td_share_make(by_image[k], e.n, chance);
            out->text_to_image[k] = td_share_make(by_caption[k], e.n, chance);
        }
    }
    td_free(scores);
    encoded_free(&e);
    return status;
}

/* A label as a caption says it: "musical-instruments/wind" is "musical instruments wind". */
static void spell(const char *label, const char *form, td_text *out) {
    const char *hole = strstr(form, "{}");
    if (hole == NULL) {
        td_text_puts(out, form);
        return;
    }
    td_text_append(out, form, (size_t)(hole - form));
    for (const char *c = label; *c != '\0'; c++) {
        char plain = *c == '_' || *c == '-' || *c == '/' ? ' ' : *c;
        td_text_append(out, &plain, 1);
    }
    td_text_puts(out, hole + 2);
}

/* The feature of one class: its templates' features averaged and normalised again. */
static td_status encode_class(td_encoder *encoder, const td_tokenizer *tokenizer, const char *label,
                              const char *const *templates, int n_templates, float *scratch,
                              int32_t *ids, float *out) {
    const td_model_config *config = td_encoder_config(encoder);
    for (int64_t i = 0; i < config->embed; i++) {
        out[i] = 0;
    }
    for (int first = 0; first < n_templates; first += TD_EVALUATE_BATCH) {
        int rows =
            n_templates - first < TD_EVALUATE_BATCH ? n_templates - first : TD_EVALUATE_BATCH;
        for (int row = 0; row < rows; row++) {
            td_text text = {0};
            spell(label, templates[first + row], &text);
            td_status status = td_text_status(&text);
            if (status == TD_OK) {
                td_tokenize(tokenizer, text.data, ids + row * config->context, config->context);
            }
            td_text_destroy(&text);
            TD_TRY(status);
        }
        TD_TRY(td_encoder_texts(encoder, ids, rows, scratch));
        for (int64_t i = 0; i < rows * config->embed; i++) {
            out[i % config->embed] += scratch[i];
        }
    }
    double norm = 0;
    for (int64_t i = 0; i < config->embed; i++) {
        norm += (double)out[i] * (double)out[i];
    }
    for (int64_t i = 0; i < config->embed; i++) {
        out[i] = (float)((double)out[i] / sqrt(norm > 0 ? norm : 1));
    }
    return TD_OK;
}

/* Best class of each image, and whether its own is among five. */
static void count_classes(const float *scores, const encoded *e, td_zeroshot *out) {
    int64_t top1 = 0, top5 = 0;
    for (int64_t i = 0; i < e->n; i++) {
        const float *row = scores + i * out->classes;
        int64_t best = 0, ahead = 0, own = e->group[i];
        for (int64_t c = 0; c < out->classes; c++) {
            best = row[c] > row[best] ? c : best;
            ahead += c != own && !(row[c] < row[own]);
        }
        out->confusion[own * out->classes + best]++;
        top1 += ahead < 1;
        top5 += ahead < 5;
    }
    double classes = (double)out->classes;
    out->top1 = td_share_make(top1, e->n, 1 / classes);
    out->top5 = td_share_make(top5, e->n, classes < 5 ? 1 : 5 / classes);
}

static td_status name_classes(const encoded *e, td_zeroshot *out) {
    const char **sorted = td_alloc((size_t)e->n * sizeof(*sorted));
    int64_t classes = sorted == NULL ? -1 : number_texts(e->labels, e->n, e->group, sorted);
    *out = (td_zeroshot){.classes = classes, .pairs = e->n, .skipped = e->skipped};
    bool good = classes > 0;
    if (good) {
        out->names = td_alloc_zero((size_t)classes * sizeof(char *));
        out->confusion = td_alloc_zero((size_t)(classes * classes) * sizeof(int64_t));
        good = out->names != NULL && out->confusion != NULL;
    }
    for (int64_t c = 0; good && c < classes; c++) {
        out->names[c] = td_strdup(sorted[c]);
        good = out->names[c] != NULL;
    }
    td_free(sorted);
    return good ? TD_OK
                : td_fail(TD_ENOMEM, "no memory for the classes of %" PRId64 " pairs", e->n);
}

static td_status classify(td_encoder *encoder, const td_tokenizer *tokenizer,
                          const char *const *templates, int n_templates, encoded *e,
                          td_zeroshot *out) {
    TD_TRY(name_classes(e, out));
    const td_model_config *config = td_encoder_config(encoder);
    size_t embed = (size_t)config->embed;
    float *features = td_alloc((size_t)out->classes * embed * sizeof(float));
    float *scores = td_alloc((size_t)(e->n * out->classes) * sizeof(float));
    float *scratch = td_alloc(TD_EVALUATE_BATCH * embed * sizeof(float));
    int32_t *ids = td_alloc((size_t)(TD_EVALUATE_BATCH * config->context) * sizeof(int32_t));
    td_status status = TD_OK;
    if (features == NULL || scores == NULL || scratch == NULL || ids == NULL) {
        status = td_fail(TD_ENOMEM, "no memory for %" PRId64 " classes", out->classes);
    }
    for (int64_t c = 0; status == TD_OK && c < out->classes; c++) {
        status = encode_class(encoder, tokenizer, out->names[c], templates, n_templates, scratch,
                              ids, features + c * config->embed);
    }
    if (status == TD_OK) {
        status = td_encoder_scores(encoder, e->images, e->n, features, out->classes, scores);
    }
    if (status == TD_OK) {
        count_classes(scores, e, out);
    }
    td_free(features);
    td_free(scores);
    td_free(scratch);
    td_free(ids);
    return status;
}

td_status td_evaluate_zeroshot(td_encoder *encoder, td_pairs *pairs, const td_tokenizer *tokenizer,
                               const char *const *templates, int n_templates, int64_t limit,
                               td_zeroshot *out) {
    encoded e;
    TD_TRY(encode(encoder, pairs, tokenizer, limit, true, &e));
    *out = (td_zeroshot){0};
    td_status status = classify(encoder, tokenizer, templates, n_templates, &e, out);
    encoded_free(&e);
    if (status != TD_OK) {
        td_zeroshot_free(out);
    }
    return status;
}

void td_zeroshot_free(td_zeroshot *result) {
    for (int64_t c = 0; result->names != NULL && c < result->classes; c++) {
        td_free(result->names[c]);
    }
    td_free(result->names);
    td_free(result->confusion);
    *result = (td_zeroshot){0};
}
