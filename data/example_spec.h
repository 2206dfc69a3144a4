/* SPDX-License-Identifier: Apache-2.0
 * What a user asks of an Example, in TensorFlow's terms: FixedLen, VarLen, FixedLenSequence, Sparse
 * and Ragged features by name. Sparse and ragged features are put together from several stored ones
 * after parsing.
 */
#ifndef TD_DATA_EXAMPLE_SPEC_H
#define TD_DATA_EXAMPLE_SPEC_H

#include "data/example_sequence.h"

typedef enum td_spec_kind {
    TD_SPEC_FIXED_LEN,
    TD_SPEC_VAR_LEN,
    TD_SPEC_FIXED_LEN_SEQUENCE,
    TD_SPEC_SPARSE,
    TD_SPEC_RAGGED
} td_spec_kind;

typedef enum td_partition_kind {
    TD_ROW_SPLITS,
    TD_ROW_LENGTHS,
    TD_ROW_STARTS,
    TD_ROW_LIMITS,
    TD_VALUE_ROW_IDS,
    TD_UNIFORM_ROW_LENGTH
} td_partition_kind;

typedef struct td_partition {
    td_partition_kind kind;
    td_span key;    /* the feature that holds it */
    int64_t length; /* of TD_UNIFORM_ROW_LENGTH */
} td_partition;

enum { TD_INDEX_KEYS_MAX = TD_RANK_MAX - 1, TD_PARTITIONS_MAX = TD_RAGGED_DEPTH_MAX - 2 };

typedef struct td_feature_spec {
    td_span key; /* of the result */
    td_spec_kind kind;
    td_element_type dtype;
    int rank;
    int64_t shape[TD_RANK_MAX]; /* -1: not known, which is refused */
    bool allow_missing;         /* FIXED_LEN_SEQUENCE */
    const td_tensor *fallback;  /* or NULL */
    int n_index;                /* SPARSE: the features that hold the indices */
    td_span index_key[TD_INDEX_KEYS_MAX];
    int64_t size[TD_INDEX_KEYS_MAX];
    bool already_sorted;
    td_span value_key; /* SPARSE, RAGGED */
    int n_partitions;  /* RAGGED, outermost first */
    td_partition partitions[TD_PARTITIONS_MAX];
    td_element_type splits_dtype;
    bool validate;
} td_feature_spec;

/* Features sorted by key, with what has to be parsed for them. */
typedef struct td_spec_plan {
    td_feature_spec *specs;
    int n_specs;
    td_parse_feature *raw;
    int n_raw;
} td_spec_plan;

/* Checks the specifications and lists the stored features behind them; memory from the pool.
 * sequence: they are the feature lists of a SequenceExample. */
td_status td_spec_plan_create(const td_feature_spec *specs, int n, bool sequence, td_pool *pool,
                              td_spec_plan *out);

/* From the raw values (n_raw) the results (n_specs, in the plan's order). */
td_status td_spec_compose(const td_spec_plan *plan, const td_array *raw, td_pool *pool,
                          td_array *out);

/* Splits the rows of a ragged value, which all results of a batch are, by one partition; depth
 * grows by one. given: the partition as it was parsed, NULL for a uniform length. */
td_status td_ragged_partition_batch(td_ragged *value, const td_partition *partition,
                                    const td_ragged *given, bool validate, td_pool *pool);
/* The same for one record, whose values and partition are plain lists. */
td_status td_ragged_partition_one(td_array *value, const td_partition *partition,
                                  const td_tensor *given, td_element_type splits_dtype,
                                  bool validate, td_pool *pool);

#endif
