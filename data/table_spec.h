/* SPDX-License-Identifier: Apache-2.0
 * What a model of a table reads and how large it is, from JSON:
 *   {"label": a categorical column, one id a record: the class;
 *    "wide": [categorical columns], whose ids have a weight for every class;
 *    "deep": [dense columns], side by side the input of the hidden layers;
 *    "hidden": [64, 32], "activation": "gelu"}
 * Columns are those of column.h. Tables of embedding columns are the model's own, and trained:
 * columns that share one are "shared_embeddings".
 */
#ifndef TD_DATA_TABLE_SPEC_H
#define TD_DATA_TABLE_SPEC_H

#include <stdint.h>

#include "base/status.h"

enum { TD_HIDDEN_MAX = 8 };

/* An embedding column of the deep part. Tables are numbered; columns that share one have its
 * number. */
typedef struct td_table_embedding {
    const char *name;
    int64_t at; /* its first number in the deep row */
    int64_t dimension, buckets;
    double max_norm; /* 0: none */
    int table;
} td_table_embedding;

typedef struct td_table_shape {
    int64_t classes;
    int64_t width;        /* of the deep row */
    int64_t wide_buckets; /* of all wide columns; 0: there are none */
    int n_wide, n_deep, n_embeddings, n_tables, n_hidden;
    const td_table_embedding *embeddings; /* in the order in which they stand in the deep row */
    int64_t hidden[TD_HIDDEN_MAX];
    const char *activation; /* "gelu", "gelu_tanh", "gelu_quick" or "relu" */
} td_table_shape;

typedef struct td_table_spec td_table_spec; /* opaque; read-only once made */

/* path NULL: the embedded table's. TD_EINPUT names file, place and what was expected. */
td_status td_table_spec_load(const char *path, td_table_spec **out);
/* The same from text; name is for messages. */
td_status td_table_spec_parse(const char *text, const char *name, td_table_spec **out);
void td_table_spec_destroy(td_table_spec *spec);

const td_table_shape *td_table_spec_shape(const td_table_spec *spec);
/* The description in one form whatever its layout, to be kept with weights and compared. */
const char *td_table_spec_text(const td_table_spec *spec);
/* The name of a class where the label has a vocabulary of strings, else NULL. */
const char *td_table_spec_class(const td_table_spec *spec, int64_t class);

#endif
