/* SPDX-License-Identifier: Apache-2.0
 * Feature columns compiled for batches of Examples: what has to be parsed, which parsed feature
 * each column reads and where its numbers go are worked out once; batches then use memory that is
 * kept from one to the next. Results are those of td_columns_dense, bit for bit.
 *
 * A batch is cut in slices of TD_PLAN_SLICE records, which workers take. The slices do not depend
 * on the number of workers, so neither do the results nor, of several bad records, which is
 * reported. Of bags, ids that stand for nothing (below 0, or with a weight that is not above 0
 * where the combiner divides) are left out, as TensorFlow's safe lookup does.
 */
#ifndef TD_DATA_COLUMN_PLAN_H
#define TD_DATA_COLUMN_PLAN_H

#include "data/bags.h"
#include "data/column.h"
#include "threads/team.h"

enum { TD_PLAN_SLICE = 64 };

/* Categorical columns whose ids are wanted as one bag a record: those of a column are shifted by
 * the buckets of the columns before it, and each has coefficients of its own. */
typedef struct td_bag_spec {
    const td_column *const *columns;
    int count;
    td_combiner combiner;
} td_bag_spec;

typedef struct td_column_plan td_column_plan;

/* What a plan is made of: dense columns, sorted, side by side; and bags. tables_outside: the places
 * of embedding columns are left as they are, and their bags come before the others, in order of the
 * columns: who owns the tables looks them up. Columns are borrowed. No sequence columns. */
typedef struct td_plan_spec {
    td_column_list dense; /* may be empty */
    bool tables_outside;
    const td_bag_spec *bags;
    int n_bags;
} td_plan_spec;

td_status td_column_plan_create(const td_plan_spec *spec, td_column_plan **out);
void td_column_plan_destroy(td_column_plan *plan);

/* Numbers of a record's dense row, and where those of dense column i start. */
int64_t td_column_plan_width(const td_column_plan *plan);
int64_t td_column_plan_at(const td_column_plan *plan, int i);

/* Reads n records into dense (n rows of width, ld apart; not used when the width is 0) and bags
 * (embedding columns of tables_outside, then n_bags; valid until the next call; NULL when there are
 * none). names are for messages; names and team may be NULL. TD_EINPUT names record and column. */
td_status td_column_plan_run(td_column_plan *plan, const td_span *records, int64_t n,
                             const td_span *names, td_team *team, float *dense, int64_t ld,
                             const td_bags **bags);

/* td_error() of a run of one record that failed, without the record's number in it. */
const char *td_column_plan_reason(void);

/* The same from features that are parsed already, one for each of td_column_plan_features, in that
 * order: FIXED tensors and RAGGED values. */
const td_parse_feature *td_column_plan_features(const td_column_plan *plan, int *count);
td_status td_column_plan_apply(td_column_plan *plan, const td_array *values, int64_t n,
                               td_team *team, float *dense, int64_t ld, const td_bags **bags);

#endif
