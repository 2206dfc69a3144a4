/* SPDX-License-Identifier: Apache-2.0
 * A table to learn from: Examples of TFRecord shards, or the embedded table, held in memory with
 * the features that its description reads and nothing else. Every record goes through the columns
 * once when the table is opened, so what is wrong with one is said before training starts.
 */
#ifndef TD_DATA_EXAMPLE_TABLE_H
#define TD_DATA_EXAMPLE_TABLE_H

#include <stdbool.h>

#include "data/bags.h"
#include "data/table_spec.h"
#include "threads/team.h"

typedef struct td_table td_table; /* opaque */

typedef struct td_table_options {
    const char *path;    /* directory, glob or file of records; NULL: the embedded table */
    int64_t n_synthetic; /* rows of the embedded table */
    uint64_t seed;
    double holdout; /* share that is held out, by a hash of "key", or of file and number */
} td_table_options;

td_status td_table_open(const td_table_spec *spec, const td_table_options *options, td_table **out);
void td_table_close(td_table *table);

/* Rows of a side; rows without a label, or with one that is no class, are on neither. */
int64_t td_table_count(const td_table *table, bool held_out);
int64_t td_table_unlabelled(const td_table *table);
/* Of a side, rows of each class: (classes) numbers. */
const int64_t *td_table_classes(const td_table *table, bool held_out);

/* The row at place `position` of the endless sequence of training: epoch e is a permutation keyed
 * by (seed, e). */
int64_t td_table_at(td_table *table, uint64_t seed, int64_t position);

/* Rows as a model reads them; bags and labels are valid until the next call. */
typedef struct td_table_rows {
    const td_bags *embeddings; /* one for each of the shape's */
    const td_bags *wide;       /* NULL without wide columns */
    const int32_t *labels;
} td_table_rows;

/* n rows of a side by number; deep (n, width) gets numbers of all but the embedding columns. */
td_status td_table_read(td_table *table, bool held_out, const int64_t *rows, int64_t n,
                        td_team *team, float *deep, td_table_rows *out);

#endif
