/* SPDX-License-Identifier: Apache-2.0
 * Batches of serialized SequenceExamples, with TensorFlow's results and error classes. A context
 * feature is FIXED, SPARSE or RAGGED; a feature list is PADDED (every step has exactly shape's
 * values; the lists are padded with zeros to the longest), SPARSE or RAGGED.
 */
#ifndef TD_DATA_EXAMPLE_SEQUENCE_H
#define TD_DATA_EXAMPLE_SEQUENCE_H

#include "data/example_batch.h"

typedef struct td_sequence_spec {
    const td_parse_feature *context;
    int n_context;
    const td_parse_feature *lists; /* fallback of a PADDED one: not NULL when it may be missing */
    int n_lists;
} td_sequence_spec;

typedef struct td_sequence_result {
    td_array *context;  /* n_context */
    td_array *lists;    /* n_lists; RAGGED of a batch: two levels of splits, of one record one */
    td_tensor *lengths; /* n_lists, of PADDED ones: steps of each record, int64 [n] or [] */
} td_sequence_result;

/* batch false: one record (n is 1), results without the batch dimension. names may be NULL. */
td_status td_sequence_parse(const td_sequence_spec *spec, const td_span *records, int64_t n,
                            const td_span *names, bool batch, td_pool *pool,
                            td_sequence_result *out);

#endif
