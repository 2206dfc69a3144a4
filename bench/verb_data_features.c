/* SPDX-License-Identifier: Apache-2.0
 * `tandem data features`: what feature columns make of files of Examples.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/progress.h"
#include "bench/embed_output.h"
#include "bench/feature_rows.h"
#include "bench/verb_data.h"

typedef struct features_cli {
    const char *columns, *out;
    int64_t batch, workers;
} features_cli;

#define AT(field) offsetof(features_cli, field)
static const td_option options_table[] = {
    {"columns", TD_OPTION_TEXT, AT(columns), 0, 0, NULL, "FILE",
     "JSON with a list of feature columns (docs/data.md)"},
    {"out", TD_OPTION_TEXT, AT(out), 0, 0, NULL, "FILE",
     "a matrix of all columns (.npy), or a tensor a column (.safetensors); JSON lines without"},
    {"batch", TD_OPTION_INT, AT(batch), 1, 1 << 20, NULL, "N", "records computed together"},
    {"workers", TD_OPTION_INT, AT(workers), 1, 1024, NULL, "N",
     "threads; results do not depend on it"},
};
enum { N_OPTIONS = sizeof options_table / sizeof options_table[0], WORDS_MAX = 64 };

static const td_verb_help verb_help = {
    "tandem data features --columns FILE FILES [--options]",
    "Computes feature columns of every record of TFRecord files of tf.Examples (- is standard "
    "input), with TensorFlow's results: columns sorted by name, side by side. Prints a JSON object "
    "a record: file, record, and columns, each with its numbers. What is wrong with a description "
    "or a record is said with its place; exit code 3.",
    "  tandem data features --columns columns.json shards/ | head -1\n"
    "  tandem data features --columns columns.json --out rows.npy shards/\n"};

/* A number as JSON has it; what it lacks as a word. */
static json_t *number(float value) {
    return isfinite(value) ? json_real((double)value)
           : isnan(value)  ? json_string("NaN")
                           : json_string(value > 0 ? "Infinity" : "-Infinity");
}

static td_status print_row(void *arg, const td_feature_rows *rows, const td_feature_place *place,
                           const float *row) {
    (void)arg;
    json_t *columns = json_object();
    for (int i = 0; i < rows->n_columns; i++) {
        json_t *values = json_array();
        for (int64_t k = rows->at[i]; k < rows->at[i + 1]; k++) {
            json_array_append_new(values, number(row[k]));
        }
        json_object_set_new(columns, rows->names[i], values);
    }
    json_t *line = json_pack("{s:s, s:I, s:o}", "file", place->file, "record",
                             (json_int_t)place->record, "columns", columns);
    if (line == NULL) {
        return td_fail(TD_EINPUT, "%s: the name of the file or of a column is not UTF-8",
                       place->file);
    }
    int code = json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(line);
    return code != 0 || putchar('\n') == EOF ? td_fail(TD_EIO, "standard output cannot be written")
                                             : TD_OK;
}

/* All rows, until the file is written: its header says how many there are. */
typedef struct matrix {
    float *rows;
    int64_t count, capacity;
    int64_t width;
} matrix;

static td_status keep_row(void *arg, const td_feature_rows *rows, const td_feature_place *place,
                          const float *row) {
    matrix *to = arg;
    (void)place;
    to->width = rows->at[rows->n_columns];
    if (to->count == to->capacity) {
        int64_t capacity = 2 * to->capacity + 1024;
        float *moved = td_realloc(to->rows, (size_t)(capacity * to->width) * sizeof *moved);
        if (moved == NULL) {
            return td_fail(TD_ENOMEM, "no memory for %" PRId64 " rows of %" PRId64 " numbers",
                           capacity, to->width);
        }
        to->rows = moved;
        to->capacity = capacity;
    }
    memcpy(to->rows + to->count++ * to->width, row, (size_t)to->width * sizeof *row);
    return TD_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

static td_status run(const features_cli *cli, const char *const *files, size_t n_files) {
    td_feature_rows *rows;
    matrix all = {0};
    TD_TRY(td_feature_rows_open(cli->columns, cli->batch, (int)cli->workers, &rows));
    td_status status = TD_OK;
    for (size_t i = 0; i < n_files && status == TD_OK; i++) {
        status =
            td_feature_rows_read(rows, files[i], cli->out == NULL ? print_row : keep_row, &all);
    }
    if (status == TD_OK && cli->out != NULL) {
        status = ends_with(cli->out, ".npy")
                     ? td_write_npy(cli->out, all.rows, all.count, rows->at[rows->n_columns])
                     : td_feature_rows_write(rows, cli->out, all.rows, all.count);
    }
    if (status == TD_OK && cli->out != NULL) {
        printf("%s: %" PRId64 " records, %d columns of %" PRId64 " numbers\n", cli->out, all.count,
               rows->n_columns, rows->at[rows->n_columns]);
    }
    td_free(all.rows);
    td_feature_rows_close(rows);
    return status;
}

td_status td_verb_data_features(int argc, char **argv) {
    features_cli cli = {.batch = 1024, .workers = 1};
    const char *words[WORDS_MAX];
    size_t n_words;
    int help = 0;
    TD_TRY(td_options_parse(options_table, N_OPTIONS, argc, argv, &cli, words, WORDS_MAX, &n_words,
                            &help));
    if (help) {
        td_options_help(stdout, &verb_help, options_table, N_OPTIONS, &cli);
        return TD_OK;
    }
    if (cli.columns == NULL || n_words == 0) {
        return td_fail(TD_EUSAGE, "%s: expected --columns FILE, and files, directories or patterns",
                       verb_help.usage);
    }
    if (cli.out != NULL && !ends_with(cli.out, ".npy") && !ends_with(cli.out, ".safetensors")) {
        return td_fail(TD_EUSAGE, "--out %s: expected a name that ends with .npy or .safetensors",
                       cli.out);
    }
    td_interrupt_install();
    return run(&cli, words, n_words);
}
