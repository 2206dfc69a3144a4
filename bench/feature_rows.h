/* SPDX-License-Identifier: Apache-2.0
 * Files of Examples, record by record, as rows of feature columns.
 */
#ifndef TD_BENCH_FEATURE_ROWS_H
#define TD_BENCH_FEATURE_ROWS_H

#include <stdint.h>

#include "base/status.h"

/* names, sorted; the numbers of column i are [at[i], at[i + 1]) of a row. */
typedef struct td_feature_rows {
    int n_columns;
    const char **names;
    int64_t *at;
    struct td_feature_work *work; /* private */
} td_feature_rows;

typedef struct td_feature_place {
    const char *file;
    int64_t record;
} td_feature_place;

typedef td_status td_feature_row_fn(void *arg, const td_feature_rows *rows,
                                    const td_feature_place *place, const float *row);

/* columns: a file for td_columns_load. */
td_status td_feature_rows_open(const char *columns, int64_t batch, int workers,
                               td_feature_rows **out);
void td_feature_rows_close(td_feature_rows *rows);

/* Calls fn with every record of a file, directory, pattern or, for "-", of standard input.
 * Compressed files are recognised. TD_EINPUT names file, record and column; TD_EINTERRUPTED. */
td_status td_feature_rows_read(td_feature_rows *rows, const char *path, td_feature_row_fn *fn,
                               void *arg);

/* n rows as a safetensors file: a tensor (n, numbers) for each column. */
td_status td_feature_rows_write(const td_feature_rows *rows, const char *path, const float *values,
                                int64_t n);

#endif
