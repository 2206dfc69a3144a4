/* SPDX-License-Identifier: Apache-2.0
 * One slice of a batch on its way through compiled columns. Private to the column plan.
 */
#ifndef TD_DATA_COLUMN_SLICE_H
#define TD_DATA_COLUMN_SLICE_H

#include "data/column_plan.h"
#include "data/tf_error.h"

/* A column with the numbers of the parsed features it reads. column NULL: a leaf of a cross that is
 * a feature. */
typedef struct td_column_node {
    const td_column *column;
    int input, weights;
    const struct td_column_node *source, *leaves;
} td_column_node;

/* Of one bag, what a slice has found; kept from batch to batch. */
typedef struct td_slice_bag {
    int32_t *ids;
    float *coefficients;
    int64_t count, capacity, start; /* start: of the slice's ids among those of the batch */
} td_slice_bag;

typedef struct td_column_slice {
    td_slice_bag *bags;
    td_status status; /* TD_OK between batches */
    td_tf_class class;
    char message[1024];
} td_column_slice;

/* Rows [first, last) of a batch. memory is for intermediate results. */
typedef struct td_slice_rows {
    int64_t first, last;
    const td_array *values; /* of the batch, by feature */
    td_pool *memory;
    td_pool *kept;     /* for what all columns of the slice share */
    uint64_t **hashes; /* of strings by feature: their fingerprints, NULL until a column asks */
    float *dense;      /* of the batch */
    int64_t ld;
} td_slice_rows;

/* Dense numbers of one column, from float `at` of every row on. */
td_status td_slice_dense(const td_column_node *node, const td_slice_rows *rows, int64_t at);

/* Ids of nodes as a bag; offsets[r + 1] of the batch gets the number of the slice's ids up to row
 * r. */
td_status td_slice_bag_ids(const td_column_node *const *nodes, int count, td_combiner combiner,
                           const td_slice_rows *rows, int32_t *offsets, td_slice_bag *out);

#endif
