/* SPDX-License-Identifier: Apache-2.0
 * Keras' preprocessing layers, which succeeded the feature columns: the same hashes and buckets,
 * other conventions (out-of-vocabulary ids come first, crosses keep the given order, multi-hot is 0
 * or 1).
 */
#ifndef TD_DATA_PREPROCESS_H
#define TD_DATA_PREPROCESS_H

#include "data/column.h"

typedef enum td_encoding {
    TD_ENCODE_INT,
    TD_ENCODE_ONE_HOT,
    TD_ENCODE_MULTI_HOT,
    TD_ENCODE_COUNT,
    TD_ENCODE_TF_IDF
} td_encoding;

/* As Keras' output_mode has it: "int", "one_hot", ... */
const char *td_encoding_text(td_encoding encoding);

/* The shape that td_encode_ids gives ids of a shape; rank, which may be above TD_RANK_MAX. */
int td_encoded_shape(const td_tensor *ids, td_encoding encoding, int64_t depth,
                     int64_t shape[TD_RANK_MAX]);

/* ids of any shape to one-hot rows, or to one row for the last dimension; ids outside [0, depth)
 * count nowhere. weights: as many numbers as ids, or NULL. dtype: float32 or int64. */
td_status td_encode_ids(const td_tensor *ids, td_encoding encoding, int64_t depth,
                        const td_tensor *weights, td_element_type dtype, td_pool *pool,
                        td_tensor *out);

typedef struct td_hashing {
    int64_t bins;
    bool masked; /* bin 0 is kept for mask */
    td_span mask_text;
    int64_t mask_int;
    bool salted;
    uint64_t salt[2];
    td_encoding encoding;
} td_hashing;
td_status td_hashing_apply(const td_hashing *layer, const td_tensor *input, td_pool *pool,
                           td_tensor *out);

/* Inputs [batch] or [batch, 1], in the given order. */
td_status td_hashed_crossing_apply(int64_t bins, td_encoding encoding, const td_tensor *inputs,
                                   int count, td_pool *pool, td_tensor *out);

td_status td_discretization_apply(const float *boundaries, int64_t n, td_encoding encoding,
                                  const td_tensor *input, td_pool *pool, td_tensor *out);

/* Strings or integers to ids: the mask's (0) where the encoding is TD_ENCODE_INT, then those of
 * what is unknown, then the vocabulary's; or, inverted, ids to words. A vocabulary may start with
 * the mask and as many unknown words as there are ids for them, as Keras gives it back. */
typedef struct td_token_lookup {
    td_tensor vocabulary; /* bytes, or int64 */
    int64_t oov;          /* ids for what is not in it; 0: such input is an error */
    bool masked, invert;
    td_span mask_text, oov_text; /* the words of a vocabulary of strings */
    int64_t mask_int, oov_int;   /* of integers */
    bool fingerprints;           /* spread unknown integers by hash, not by division */
    bool salted;
    uint64_t salt[2];
    int64_t max_tokens; /* 0: any number */
    bool padded;        /* encoded rows are max_tokens wide */
    td_encoding encoding;
    const double *idf; /* TD_ENCODE_TF_IDF: one for each of the vocabulary */
    int64_t n_idf;
} td_token_lookup;
/* A vocabulary looked through, for many inputs; the layer, not inverted, is borrowed. Ids are
 * numbered as the encoding has it, -1 is the mask's where it counts nowhere. depth: how many there
 * are, or how wide encodings are. weigh: n counts, rows of depth, times the weight of each word;
 * special words that the vocabulary does not hold have the mean of all, padding nothing. */
typedef struct td_token_table td_token_table;
td_status td_token_table_create(const td_token_lookup *layer, td_pool *pool, td_token_table **out);
int64_t td_token_table_depth(const td_token_table *made);
td_status td_token_table_ids(const td_token_table *made, const td_tensor *input, td_pool *pool,
                             td_tensor *ids);
void td_token_table_weigh(const td_token_table *made, int64_t depth, float *counts, int64_t n);
td_status td_token_lookup_apply(const td_token_lookup *layer, const td_tensor *input, td_pool *pool,
                                td_tensor *out);

/* (x - mean) / max(sqrt(variance), 1e-7), along the last dimension; n is 1 or its size. */
td_status td_normalization_apply(const float *mean, const float *variance, int64_t n, bool invert,
                                 const td_tensor *input, td_pool *pool, td_tensor *out);

#endif
