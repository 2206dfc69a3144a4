/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/feature_rows.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/progress.h"
#include "data/byte_stream.h"
#include "data/column_plan.h"
#include "data/shards.h"
#include "models/safetensors.h"

typedef struct td_feature_work {
    td_pool pool;
    td_column_list columns;
    td_column_plan *plan;
    td_team *team;
    td_text bytes; /* of the records of a batch */
    size_t *ends;
    td_span *records;
    float *dense;
    int64_t batch, count, done;
    td_progress progress;
} td_feature_work;

static td_status prepare(td_feature_rows *rows, const char *columns, int64_t batch, int workers) {
    td_feature_work *work = rows->work;
    td_column_list built;
    TD_TRY(td_columns_load(columns, &work->pool, &built));
    TD_TRY(td_columns_sort(&built, &work->pool, &work->columns));
    td_plan_spec spec = {.dense = work->columns};
    TD_TRY(td_column_plan_create(&spec, &work->plan));
    td_team_options team = {.workers = workers};
    TD_TRY(td_team_create(&team, &work->team));
    int n = work->columns.count;
    int64_t width = td_column_plan_width(work->plan);
    rows->n_columns = n;
    rows->names = td_pool_take(&work->pool, (size_t)n * sizeof *rows->names);
    rows->at = td_pool_take(&work->pool, (size_t)(n + 1) * sizeof *rows->at);
    work->ends = td_pool_take(&work->pool, (size_t)batch * sizeof *work->ends);
    work->records = td_pool_take(&work->pool, (size_t)batch * sizeof *work->records);
    work->dense = td_pool_take(&work->pool, (size_t)(batch * width) * sizeof *work->dense);
    if (rows->names == NULL || rows->at == NULL || work->ends == NULL || work->records == NULL ||
        work->dense == NULL) {
        return td_fail(TD_ENOMEM, "no memory for %lld rows of %lld numbers", (long long)batch,
                       (long long)width);
    }
    for (int i = 0; i < n; i++) {
        rows->names[i] = (const char *)work->columns.columns[i]->name.data;
        rows->at[i] = td_column_plan_at(work->plan, i);
    }
    rows->at[n] = width;
    work->batch = batch;
    work->progress = td_progress_start();
    return TD_OK;
}

td_status td_feature_rows_open(const char *columns, int64_t batch, int workers,
                               td_feature_rows **out) {
    td_feature_rows *rows = td_alloc_zero(sizeof *rows);
    if (rows != NULL) {
        rows->work = td_alloc_zero(sizeof *rows->work);
    }
    td_status status = rows == NULL || rows->work == NULL
                           ? td_fail(TD_ENOMEM, "no memory for feature columns")
                           : prepare(rows, columns, batch, workers);
    if (status != TD_OK) {
        td_feature_rows_close(rows);
        return status;
    }
    *out = rows;
    return TD_OK;
}

void td_feature_rows_close(td_feature_rows *rows) {
    if (rows != NULL && rows->work != NULL) {
        td_column_plan_destroy(rows->work->plan);
        if (rows->work->team != NULL) {
            td_team_destroy(rows->work->team);
        }
        td_text_destroy(&rows->work->bytes);
        td_pool_destroy(&rows->work->pool);
        td_free(rows->work);
    }
    td_free(rows);
}

static td_status compute(td_feature_rows *rows, int64_t first, int64_t n) {
    td_feature_work *work = rows->work;
    return td_column_plan_run(work->plan, work->records + first, n, NULL, work->team, work->dense,
                              rows->at[rows->n_columns], NULL);
}

/* Of a batch that failed, the first record that fails alone. */
static td_status blame(td_feature_rows *rows, const td_feature_place *first, td_status status) {
    for (int64_t i = 0; i < rows->work->count; i++) {
        td_status one = compute(rows, i, 1);
        if (one != TD_OK) {
            char message[900];
            snprintf(message, sizeof message, "%s", td_column_plan_reason());
            return td_fail(one, "%s, record %lld: %s", first->file, (long long)(first->record + i),
                           message);
        }
    }
    return status;
}

/* The batch that was gathered; first: where its first record is. */
static td_status flush(td_feature_rows *rows, const td_feature_place *first, td_feature_row_fn *fn,
                       void *arg) {
    td_feature_work *work = rows->work;
    for (int64_t i = 0; i < work->count; i++) {
        size_t start = i == 0 ? 0 : work->ends[i - 1];
        work->records[i] =
            (td_span){(const uint8_t *)work->bytes.data + start, work->ends[i] - start};
    }
    td_status status = compute(rows, 0, work->count);
    if (status != TD_OK) {
        return blame(rows, first, status);
    }
    for (int64_t i = 0; i < work->count; i++) {
        td_feature_place place = {first->file, first->record + i};
        TD_TRY(fn(arg, rows, &place, work->dense + i * rows->at[rows->n_columns]));
    }
    work->done += work->count;
    work->count = 0;
    work->bytes.size = 0;
    td_progress_show(&work->progress, 0, "%lld records, now %s", (long long)work->done,
                     first->file);
    return td_interrupted()
               ? td_fail(TD_EINTERRUPTED, "interrupted after %lld records", (long long)work->done)
               : TD_OK;
}

static td_status read_stream(td_feature_rows *rows, td_record_stream *stream, const char *path,
                             td_feature_row_fn *fn, void *arg) {
    td_feature_work *work = rows->work;
    td_feature_place first = {path, 0};
    work->count = 0;
    work->bytes.size = 0;
    for (;;) {
        td_span record;
        bool end;
        TD_TRY(td_record_stream_next(stream, &record, &end));
        if (end || work->count == work->batch) {
            int64_t n = work->count;
            TD_TRY(n > 0 ? flush(rows, &first, fn, arg) : TD_OK);
            first.record += n;
        }
        if (end) {
            return TD_OK;
        }
        td_text_append(&work->bytes, (const char *)record.data, record.size);
        TD_TRY(td_text_status(&work->bytes));
        work->ends[work->count++] = work->bytes.size;
    }
}

static td_status read_file(td_feature_rows *rows, const char *path, td_feature_row_fn *fn,
                           void *arg) {
    td_record_stream *stream;
    TD_TRY(td_record_stream_open(path, TD_COMPRESSION_COUNT, TD_STREAM_STRICT, &stream));
    td_status status = read_stream(rows, stream, path, fn, arg);
    td_record_stream_close(stream);
    td_progress_clear(&rows->work->progress);
    return status;
}

td_status td_feature_rows_read(td_feature_rows *rows, const char *path, td_feature_row_fn *fn,
                               void *arg) {
    td_file_list files;
    if (strcmp(path, "-") == 0) {
        return read_file(rows, path, fn, arg);
    }
    TD_TRY(td_file_list_find(path, &files));
    td_status status = TD_OK;
    for (int64_t i = 0; i < files.count && status == TD_OK; i++) {
        status = read_file(rows, files.paths[i], fn, arg);
    }
    td_file_list_destroy(&files);
    return status;
}

td_status td_feature_rows_write(const td_feature_rows *rows, const char *path, const float *values,
                                int64_t n) {
    int64_t width = rows->at[rows->n_columns];
    float *parts = td_alloc((size_t)(n * width + 1) * sizeof *parts), *to = parts;
    td_file_tensor *entries = td_alloc_zero((size_t)rows->n_columns * sizeof *entries);
    if (parts == NULL || entries == NULL) {
        td_free(parts);
        td_free(entries);
        return td_fail(TD_ENOMEM, "no memory to write %s", path);
    }
    for (int i = 0; i < rows->n_columns; i++) {
        int64_t cols = rows->at[i + 1] - rows->at[i];
        entries[i] = (td_file_tensor){.name = rows->names[i],
                                      .dtype = TD_FILE_F32,
                                      .n_dims = 2,
                                      .dims = {n, cols},
                                      .count = n * cols,
                                      .data = to};
        for (int64_t r = 0; r < n; r++, to += cols) {
            memcpy(to, values + r * width + rows->at[i], (size_t)cols * sizeof *to);
        }
    }
    td_status status = td_safetensors_write(path, entries, rows->n_columns, NULL, 0);
    td_free(parts);
    td_free(entries);
    return status;
}
