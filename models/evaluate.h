/* SPDX-License-Identifier: Apache-2.0
 * What trained features are worth: retrieval between images and texts, and zero-shot classification
 * by class names. Both are counts, so each share comes with its 95 % interval (Wilson), beside what
 * chance would give.
 */
#ifndef TD_MODELS_EVALUATE_H
#define TD_MODELS_EVALUATE_H

#include "data/pairs.h"
#include "data/tokenizer.h"
#include "models/encoder.h"

/* A share of n with its interval. */
typedef struct td_share {
    int64_t hits, n;
    double value, low, high;
    double chance; /* expected share when answers are drawn at random */
} td_share;
td_share td_share_make(int64_t hits, int64_t n, double chance);

/* Rows encoded at once: the batch of the encoder that is given must be at least this. */
enum { TD_EVALUATE_BATCH = 32 };

enum { TD_RECALLS = 3 };
extern const int64_t td_recall_at[TD_RECALLS]; /* 1, 5, 10 */

typedef struct td_retrieval {
    int64_t pairs, skipped; /* skipped: could not be decoded */
    int64_t distinct_captions;
    td_share image_to_text[TD_RECALLS], text_to_image[TD_RECALLS];
} td_retrieval;

/* At k: an answer of the same caption is among the k best. Pairs that share a caption answer each
 * other, since nothing in the text could tell them apart; chance counts them too. Ties are broken
 * against the model. */
td_status td_evaluate_retrieval(td_encoder *encoder, td_pairs *pairs, const td_tokenizer *tokenizer,
                                int64_t limit, td_retrieval *out);

/* The counting alone, on scores (n, n), row i a query, group[i] the caption of pair i: hits[k]
 * queries whose best answer of their own group has fewer than td_recall_at[k] others at or above
 * it. */
void td_retrieval_count(const float *scores, const int64_t *group, int64_t n, int64_t step_row,
                        int64_t step_column, int64_t hits[TD_RECALLS]);

typedef struct td_zeroshot {
    int64_t classes, pairs, skipped;
    char **names;       /* sorted */
    int64_t *confusion; /* (classes, classes): row the label, column the answer */
    td_share top1, top5;
} td_zeroshot;

/* Every class name is put into every template ("{}" stands for the name), encoded, averaged and
 * normalised again; an image gets the class of the highest score. Pairs without a label are left
 * out. */
td_status td_evaluate_zeroshot(td_encoder *encoder, td_pairs *pairs, const td_tokenizer *tokenizer,
                               const char *const *templates, int n_templates, int64_t limit,
                               td_zeroshot *out);
void td_zeroshot_free(td_zeroshot *result);

/* The templates in use when none are given. */
const char *const *td_zeroshot_templates(int *count);

#endif
