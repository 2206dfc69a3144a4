/* SPDX-License-Identifier: Apache-2.0
 * Keras' preprocessing layers as feature columns: with output_mode "int" a categorical column, else
 * a dense one. A layer reads lists of any length, or values of a fixed shape. Private to columns.
 */
#ifndef TD_DATA_COLUMN_KERAS_H
#define TD_DATA_COLUMN_KERAS_H

#include "data/preprocess.h"

struct td_column_layer {
    td_encoding encoding;
    bool lists;                   /* any number of values a record; else of the column's shape */
    int rank;                     /* of what a record becomes, when it is dense */
    int64_t shape[TD_RANK_MAX];   /* the same */
    td_hashing hashing;           /* with TD_ENCODE_INT, whatever the layer has */
    const td_token_table *tokens; /* string_lookup, integer_lookup */
    float *mean, *variance;       /* normalization: n each */
    int64_t n;
    bool invert;
};

/* Input 0, of a crossing as many as it has keys, [batch, ..], to int64 ids of the same shape, as
 * the encoding numbers them; -1: of nothing. */
td_status td_keras_ids(const td_column *column, const td_tensor *inputs, td_pool *pool,
                       td_tensor *out);
/* The same to float32 encodings or numbers, a row of the layer's shape for each of the batch. */
td_status td_keras_dense(const td_column *column, const td_tensor *inputs, td_pool *pool,
                         td_tensor *out);
/* Encodes the n ids of a record's list; out: as many floats as there are buckets. */
void td_keras_row(const td_column *column, const int64_t *ids, int64_t n, float *out);

/* From features by name: ids of a categorical layer, numbers of a dense one. */
td_status td_keras_column_ids(const td_column *column, const td_feature_map *features,
                              td_pool *pool, td_sparse *out);
td_status td_keras_column_dense(const td_column *column, const td_feature_map *features,
                                td_pool *pool, td_tensor *out);

#endif
