/* SPDX-License-Identifier: Apache-2.0 */
#include "reports/record.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"

struct td_record_writer {
    FILE *stream;
    char *path;
};

static const size_t line_flags = JSON_COMPACT | JSON_REAL_PRECISION(9);

static td_status write_line(td_record_writer *writer, json_t *line) {
    char *text = json_dumps(line, line_flags);
    if (text == NULL) {
        return td_fail(TD_EINPUT, "%s: a record holds text that is not UTF-8", writer->path);
    }
    /* One write a line: a run that is killed leaves whole lines and at most one cut at the end. */
    bool good = fprintf(writer->stream, "%s\n", text) > 0 && fflush(writer->stream) == 0;
    td_free(text);
    return good ? TD_OK : td_fail(TD_EIO, "write %s: %s", writer->path, strerror(errno));
}

static void destroy(td_record_writer *writer) {
    if (writer->stream != NULL) {
        fclose(writer->stream);
    }
    td_free(writer->path);
    td_free(writer);
}

td_status td_record_open(const char *path, json_t *machine, json_t *run, td_record_writer **out) {
    td_record_writer *writer = td_alloc_zero(sizeof *writer);
    if (writer == NULL || (writer->path = td_strdup(path)) == NULL) {
        td_free(writer);
        return td_fail(TD_ENOMEM, "no memory to open %s", path);
    }
    writer->stream = fopen(path, "ab");
    if (writer->stream == NULL) {
        td_status status = td_fail(TD_EIO, "open %s: %s", path, strerror(errno));
        destroy(writer);
        return status;
    }
    td_status status = TD_OK;
    if (ftell(writer->stream) == 0) {
        json_t *header = json_pack("{s:i, s:O?, s:O?}", "schema", TD_RECORD_SCHEMA, "machine",
                                   machine, "run", run);
        status = write_line(writer, header);
        json_decref(header);
    }
    if (status != TD_OK) {
        destroy(writer);
        return status;
    }
    *out = writer;
    return TD_OK;
}

static void put_text(json_t *object, const char *name, const char *text) {
    if (text != NULL) {
        json_object_set_new(object, name, json_string(text));
    }
}

/* A number that is not finite cannot be written as JSON: it becomes null, which readers take as
 * absent. */
static void put_number(json_t *object, const char *name, double value) {
    json_object_set_new(object, name, isfinite(value) ? json_real(value) : json_null());
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear interpolation between order statistics. */
static double quantile(const double *sorted, int64_t n, double q) {
    double at = q * (double)(n - 1);
    int64_t below = (int64_t)at;
    double weight = at - (double)below;
    return weight == 0 ? sorted[below] : sorted[below] * (1 - weight) + sorted[below + 1] * weight;
}

static td_status put_samples(json_t *line, const td_record *record) {
    int64_t n = record->n_samples;
    if (n == 0) {
        return TD_OK;
    }
    double *sorted = td_alloc((size_t)n * sizeof *sorted);
    if (sorted == NULL) {
        return td_fail(TD_ENOMEM, "no memory for %lld samples", (long long)n);
    }
    memcpy(sorted, record->samples_ns, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_doubles);
    json_t *times = json_object(), *samples = json_array();
    double median = quantile(sorted, n, 0.5);
    put_number(times, "min", sorted[0]);
    put_number(times, "p50", median);
    put_number(times, "p95", quantile(sorted, n, 0.95));
    put_number(times, "p99", quantile(sorted, n, 0.99));
    put_number(times, "max", sorted[n - 1]);
    for (int64_t i = 0; i < n; i++) {
        sorted[i] = fabs(record->samples_ns[i] - median);
        json_array_append_new(samples, json_real(record->samples_ns[i]));
    }
    qsort(sorted, (size_t)n, sizeof *sorted, compare_doubles);
    put_number(times, "mad", quantile(sorted, n, 0.5));
    json_object_set_new(times, "n", json_integer(n));
    td_free(sorted);
    json_object_set_new(line, "time_ns", times);
    json_object_set_new(line, "samples_ns", samples);
    return TD_OK;
}

static json_t *ceilings_of(const td_record *record) {
    json_t *array = json_array();
    for (int64_t i = 0; i < record->n_ceilings; i++) {
        const td_ceiling *ceiling = &record->ceilings[i];
        json_t *row = json_object();
        put_text(row, "name", ceiling->name);
        put_number(row, "value", ceiling->value);
        put_text(row, "unit", ceiling->unit);
        put_text(row, "disturbed", ceiling->disturbed);
        /* A share compares equal units; a ceiling in another unit carries none, nor does one that
         * is known to be too low because the value is above it. */
        if (record->unit != NULL && ceiling->unit != NULL && ceiling->value > 0 &&
            strcmp(record->unit, ceiling->unit) == 0 &&
            !(ceiling->disturbed != NULL && record->value > ceiling->value)) {
            put_number(row, "share", record->value / ceiling->value);
        }
        json_array_append_new(array, row);
    }
    return array;
}

static json_t *ops_of(const td_record *record) {
    json_t *array = json_array();
    for (int64_t i = 0; i < record->n_ops; i++) {
        const td_op_time *op = &record->ops[i];
        json_t *row = json_object();
        put_text(row, "name", op->name);
        put_text(row, "family", op->family);
        put_number(row, "ns", op->ns);
        put_number(row, "wait_ns", op->wait_ns);
        put_number(row, "flops", op->flops);
        put_number(row, "bytes", op->bytes);
        json_object_set_new(row, "count", json_integer(op->count));
        json_array_append_new(array, row);
    }
    return array;
}

static json_t *check_of(const td_record *record) {
    json_t *check = json_object();
    json_object_set_new(check, "ok", json_boolean(record->check_ok));
    put_text(check, "method", record->check_method);
    if (record->max_ulp >= 0) {
        put_number(check, "max_ulp", record->max_ulp);
    }
    put_text(check, "answer_sha256", record->answer_sha256);
    put_text(check, "answer_class", record->answer_class);
    return check;
}

td_status td_record_write(td_record_writer *writer, const td_record *record) {
    json_t *line = json_pack("{s:i}", "schema", TD_RECORD_SCHEMA);
    put_text(line, "case", record->case_id);
    put_text(line, "layout", record->layout);
    put_text(line, "isa", record->isa);
    put_text(line, "provider", record->provider);
    put_text(line, "provider_version", record->provider_version);
    put_text(line, "status", record->status);
    put_text(line, "reason", record->reason);
    if (record->unit != NULL) {
        put_number(line, "value", record->value);
        put_text(line, "unit", record->unit);
        json_object_set_new(line, "lower_is_better", json_boolean(record->lower_is_better));
    }
    td_status status = put_samples(line, record);
    if (record->flops > 0) {
        put_number(line, "flops", record->flops);
    }
    if (record->bytes > 0) {
        put_number(line, "bytes", record->bytes);
    }
    json_object_set_new(line, "ceilings", ceilings_of(record));
    json_object_set_new(line, "check", check_of(record));
    json_t *noise = json_object();
    put_number(noise, "steal_pct", record->steal_pct);
    json_object_set_new(noise, "involuntary_switches", json_integer(record->involuntary_switches));
    json_object_set_new(line, "noise", noise);
    if (record->n_ops > 0) {
        json_object_set_new(line, "ops", ops_of(record));
    }
    if (record->extra != NULL) {
        json_object_update_missing(line, record->extra);
    }
    put_text(line, "command", record->command);
    if (status == TD_OK) {
        status = write_line(writer, line);
    }
    json_decref(line);
    return status;
}

td_status td_record_close(td_record_writer *writer) {
    bool good = fflush(writer->stream) == 0 && fsync(fileno(writer->stream)) == 0;
    td_status status =
        good ? TD_OK : td_fail(TD_EIO, "write %s: %s", writer->path, strerror(errno));
    destroy(writer);
    return status;
}

/* ---- reading ---- */

static td_status read_line(const char *path, int number, const char *text, size_t size,
                           td_record_set *set) {
    json_error_t error;
    json_t *line = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (line == NULL) {
        return td_fail(TD_EINPUT, "%s: line %d, column %d: %s", path, number, error.column,
                       error.text);
    }
    long long schema = json_integer_value(json_object_get(line, "schema"));
    if (schema != TD_RECORD_SCHEMA) {
        json_decref(line);
        return td_fail(TD_EINPUT, "%s: line %d: schema %lld; expected %d", path, number, schema,
                       TD_RECORD_SCHEMA);
    }
    bool is_header = json_object_get(line, "case") == NULL;
    if (is_header != (number == 1)) {
        json_decref(line);
        return td_fail(TD_EINPUT, "%s: line %d: expected %s", path, number,
                       number == 1 ? "the header with the machine" : "a record with a case");
    }
    if (is_header) {
        set->header = line;
    } else {
        json_array_append_new(set->records, line);
    }
    return TD_OK;
}

td_status td_record_read(const char *path, td_record_set *out, char **warning) {
    char *data;
    size_t size;
    *warning = NULL;
    TD_TRY(td_file_read(path, &data, &size));
    td_record_set set = {.records = json_array()};
    td_status status = TD_OK;
    int number = 0;
    for (size_t at = 0; status == TD_OK && at < size;) {
        const char *end = memchr(data + at, '\n', size - at);
        if (end == NULL) {
            td_text text = {0};
            td_text_printf(&text, "%s: the last line is cut and was dropped", path);
            *warning = text.data;
            break;
        }
        size_t length = (size_t)(end - (data + at));
        status = read_line(path, ++number, data + at, length, &set);
        at += length + 1;
    }
    td_free(data);
    if (status == TD_OK && set.header == NULL) {
        status = td_fail(TD_EINPUT, "%s: no records; expected a header line first", path);
    }
    if (status != TD_OK) {
        td_record_set_free(&set);
        td_free(*warning);
        *warning = NULL;
        return status;
    }
    *out = set;
    return TD_OK;
}

void td_record_set_free(td_record_set *set) {
    json_decref(set->header);
    json_decref(set->records);
    *set = (td_record_set){0};
}
