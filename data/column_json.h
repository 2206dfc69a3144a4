/* SPDX-License-Identifier: Apache-2.0
 * What descriptions of feature columns in JSON are read with. Private to their builders. Messages
 * say where: "columns[2].categorical.key: expected the name of a feature".
 */
#ifndef TD_DATA_COLUMN_JSON_H
#define TD_DATA_COLUMN_JSON_H

#include "data/column.h"

enum { TD_JSON_PLACE_BYTES = 256 };

/* What is built, and where in the description the reader is. */
typedef struct td_column_builder {
    td_pool *pool;
    bool hex_files;
    const char *root; /* what messages call the list */
    int depth;
} td_column_builder;

typedef struct td_json_place {
    char text[TD_JSON_PLACE_BYTES];
} td_json_place;

td_json_place td_json_below(const td_json_place *at, const char *member);
td_json_place td_json_item(const td_json_place *at, size_t i);

/* "at.member: expected what". */
td_status td_json_expected(const td_json_place *at, const char *member, const char *what);

/* Copies with a NUL behind them. */
td_status td_json_copy(const td_column_builder *to, const char *text, size_t size, td_span *out);
td_status td_json_copy_string(const td_column_builder *to, const json_t *value, td_span *out);

/* There, and not null. */
bool td_json_given(const json_t *value);

/* A member; missing: when it is not given. */
td_status td_json_key(const td_column_builder *to, const json_t *spec, const char *member,
                      const td_json_place *at, td_span *out);
td_status td_json_int(const json_t *spec, const char *member, const td_json_place *at,
                      int64_t missing, int64_t *out);
td_status td_json_dtype(const json_t *spec, const td_json_place *at, td_element_type missing,
                        td_element_type *out);
/* "shape" to the column's, whose key is known: [1] when it is not given. */
td_status td_json_shape(const json_t *spec, const td_json_place *at, td_column *column);
/* Strings, or whole numbers, of "vocabulary". */
td_status td_json_words(const td_column_builder *to, const json_t *list, const td_json_place *at,
                        td_tensor *out);

/* Names a column: its source's name, or else its key, the suffix, the tail. */
td_status td_column_name(const td_column_builder *to, td_column *column, const char *suffix,
                         td_span tail);

/* The builder of a kind of column. */
typedef td_status td_column_build_fn(td_column_builder *to, const json_t *spec,
                                     const td_json_place *at, td_column *column);

td_column_build_fn td_build_hashing, td_build_hashed_crossing, td_build_string_lookup,
    td_build_integer_lookup, td_build_discretization, td_build_category_encoding,
    td_build_normalization;

#endif
