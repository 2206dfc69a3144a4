/* SPDX-License-Identifier: Apache-2.0
 * Batches of serialized Examples into dense, sparse and ragged arrays, with the results, bit for
 * bit, and the error classes of TensorFlow's parse_example: the last of equal keys wins, the first
 * byte of a feature decides its type, what follows a packed chunk is ignored, framing that is cut
 * is accepted where TensorFlow accepts it. (td_example_decode is the strict reader of one Example.)
 *
 * Byte strings are not copied: they point into the records. Work is cut in the same slices whatever
 * the number of workers, so results, and which error is reported, do not depend on it.
 */
#ifndef TD_DATA_EXAMPLE_BATCH_H
#define TD_DATA_EXAMPLE_BATCH_H

#include "data/tensor.h"
#include "threads/team.h"

typedef enum td_parse_kind {
    TD_PARSE_FIXED,  /* exactly as many values as shape has; [batch] + shape */
    TD_PARSE_PADDED, /* rows of shape, as many as there are; [batch, most rows] + shape */
    TD_PARSE_SPARSE, /* indices, values, [batch, most values] */
    TD_PARSE_RAGGED, /* row splits and values */
} td_parse_kind;

typedef struct td_parse_feature {
    td_span key;
    td_parse_kind kind;
    td_element_type dtype; /* bytes, float32 or int64 */
    int rank;
    int64_t shape[TD_RANK_MAX];   /* FIXED, PADDED: of one example, without the rows */
    const void *fallback;         /* FIXED: that many values, or NULL: the feature has to be there.
                                   * PADDED: one value to pad with, or NULL: zero or "". */
    td_element_type splits_dtype; /* RAGGED */
} td_parse_feature;

typedef struct td_example_parser td_example_parser;

/* Copies the features. TD_EINPUT for a type that cannot be parsed, a shape without elements that
 * would have to be divided by, or two features of one key. */
td_status td_example_parser_create(const td_parse_feature *features, int count,
                                   td_example_parser **out);
void td_example_parser_destroy(td_example_parser *parser);

/* Parses n records; out has one value for each feature, in memory of the pool. names (for messages)
 * and team may be NULL. On failure the error of the first bad record, by number, is reported. */
td_status td_example_parse_batch(td_example_parser *parser, const td_span *records, int64_t n,
                                 const td_span *names, td_team *team, td_pool *pool, td_array *out);

/* One record as parse_single_example treats it: no batch dimension, other messages, and an empty
 * feature leaves an earlier one of the same key in force for every kind. RAGGED gives a tensor. */
td_status td_example_parse_one(td_example_parser *parser, td_span record, td_pool *pool,
                               td_array *out);

#endif
