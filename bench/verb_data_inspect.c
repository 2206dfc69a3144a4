/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/progress.h"
#include "bench/example_json.h"
#include "bench/verb_data.h"
#include "data/byte_stream.h"
#include "data/example.h"
#include "data/image.h"
#include "data/pair.h"
#include "data/record_file.h"
#include "data/shards.h"
#include "data/tfrecord.h"

/* Bytes as a person reads them. */
static const char *human(double bytes, char text[16]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    while (bytes >= 1024 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, 16, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return text;
}

/* What happens to each file of the command line; a status other than TD_OK ends the walk. */
typedef td_status file_fn(void *arg, const char *path);

/* Calls each for every file that the words mean. */
static td_status for_each_file(const char **words, size_t n_words, file_fn *each, void *arg) {
    for (size_t w = 0; w < n_words; w++) {
        if (strcmp(words[w], "-") == 0) {
            TD_TRY(each(arg, words[w]));
            continue;
        }
        td_file_list files;
        TD_TRY(td_file_list_find(words[w], &files));
        td_status status = TD_OK;
        for (int64_t i = 0; i < files.count && status == TD_OK; i++) {
            status = each(arg, files.paths[i]);
        }
        td_file_list_destroy(&files);
        TD_TRY(status);
    }
    return TD_OK;
}

typedef struct common_options {
    bool deep, json;
    const char *compat;
    int64_t limit;
} common_options;

/* The files named on a command line, for td_free; none when only help was asked for and printed. */
static td_status parse_files(const td_option *table, size_t n_options, const td_verb_help *verb,
                             int argc, char **argv, common_options *options, const char ***words,
                             size_t *n_words) {
    int help = 0;
    const char **found = td_alloc((size_t)argc * sizeof *found);
    if (found == NULL) {
        return td_fail(TD_ENOMEM, "no memory for the names of files");
    }
    td_status status = td_options_parse(table, n_options, argc, argv, options, found, (size_t)argc,
                                        n_words, &help);
    if (status == TD_OK && help) {
        td_options_help(stdout, verb, table, n_options, options);
        *n_words = 0;
    } else if (status == TD_OK && *n_words == 0) {
        status = td_fail(TD_EUSAGE, "%s: expected files, directories or patterns", verb->usage);
    }
    if (status != TD_OK) {
        td_free(found);
        return status;
    }
    *words = found;
    return TD_OK;
}

typedef struct verification {
    bool deep, tensorflow;
    int64_t files, bad_files, records, bytes, damaged, lost_bytes, bad_pairs;
    int64_t kinds[TD_DAMAGE_COUNT];
    td_progress progress;
} verification;

static void print_damage(void *arg, const td_tfrecord_damage *damage) {
    verification *all = arg;
    all->kinds[damage->kind]++;
    td_progress_clear(&all->progress);
    printf("DAMAGED  %s (%lld bytes lost)\n", damage->message, (long long)damage->lost_bytes);
}

/* A record that is framed well must also be a pair whose image decodes. */
static void verify_pair(verification *all, const char *path, const td_tfrecord *record,
                        td_example *example) {
    td_image image = {0};
    td_span bytes = {0};
    td_status status = td_example_decode(record->data, record->size, example);
    if (status == TD_OK) {
        status = td_pair_feature(example, TD_PAIR_CAPTION, true, &bytes);
    }
    if (status == TD_OK) {
        status = td_pair_feature(example, TD_PAIR_IMAGE, true, &bytes);
    }
    if (status == TD_OK) {
        status = td_image_decode(bytes.data, bytes.size, &image);
    }
    td_image_destroy(&image);
    if (status != TD_OK) {
        all->bad_pairs++;
        td_progress_clear(&all->progress);
        printf("BAD PAIR %s: record %lld at byte %lld: %s\n", path, (long long)record->number,
               (long long)record->offset, td_error());
    }
}

static td_status verify_records(verification *all, const char *path, td_record_file *file,
                                td_example *example) {
    for (;;) {
        td_tfrecord record;
        bool end;
        TD_TRY(td_record_file_next(file, &record, &end));
        if (end) {
            return TD_OK;
        }
        if (td_interrupted()) {
            return td_fail(TD_EINTERRUPTED, "interrupted in %s at byte %lld", path,
                           (long long)record.offset);
        }
        if (all->deep) {
            verify_pair(all, path, &record, example);
        }
        td_progress_show(&all->progress, 0, "%s, record %lld", path, (long long)record.number);
    }
}

static void end_file(verification *all, const char *path, const td_tfrecord_stats *stats,
                     bool bad) {
    char size[16];
    td_progress_clear(&all->progress);
    printf("%-8s %s: %lld records, %s\n", bad ? "BAD" : "ok", path, (long long)stats->records,
           human((double)stats->payload_bytes, size));
    all->files++;
    all->bad_files += bad;
    all->records += stats->records;
    all->bytes += stats->payload_bytes;
    all->damaged += stats->damaged;
    all->lost_bytes += stats->lost_bytes;
}

/* As TensorFlow reads a file: to its first bad record. */
static td_status verify_as_tensorflow(verification *all, const char *path) {
    td_record_stream *stream;
    td_span record;
    bool end = false;
    TD_TRY(td_record_stream_open(path, TD_COMPRESSION_COUNT, TD_STREAM_TENSORFLOW, &stream));
    td_status status;
    while ((status = td_record_stream_next(stream, &record, &end)) == TD_OK && !end &&
           !td_interrupted()) {
        td_progress_show(&all->progress, 0, "%s, record %lld", path,
                         (long long)td_record_stream_number(stream));
    }
    td_progress_clear(&all->progress);
    td_tfrecord_stats stats = td_record_stream_get_stats(stream);
    td_record_stream_close(stream);
    if (status == TD_EIO || status == TD_ENOMEM) {
        return status;
    }
    if (status != TD_OK) {
        printf("DAMAGED  %s (the rest is lost)\n", td_error());
        stats.damaged++;
    }
    end_file(all, path, &stats, status != TD_OK);
    return TD_OK;
}

static td_status verify_file(void *arg, const char *path) {
    verification *all = arg;
    if (all->tensorflow) {
        return verify_as_tensorflow(all, path);
    }
    td_tfrecord_options options = {TD_TFRECORD_SKIP, false, print_damage, all};
    td_record_file *file;
    TD_TRY(td_record_file_open(path, &options, &file));
    td_example example = {0};
    int64_t bad_before = all->bad_pairs;
    td_status status = verify_records(all, path, file, &example);
    td_example_destroy(&example);
    td_tfrecord_stats stats = td_record_file_get_stats(file);
    td_record_file_close(file);
    TD_TRY(status);
    end_file(all, path, &stats, stats.damaged > 0 || all->bad_pairs > bad_before);
    return TD_OK;
}

static td_status conclude(const verification *all) {
    char size[16], lost[16];
    printf("%lld files, %lld good records, %s\n", (long long)all->files, (long long)all->records,
           human((double)all->bytes, size));
    for (int kind = TD_DAMAGE_NONE + 1; kind < TD_DAMAGE_COUNT; kind++) {
        if (all->kinds[kind] > 0) {
            printf("  %6lld x %s\n", (long long)all->kinds[kind],
                   td_damage_text((td_damage_kind)kind));
        }
    }
    if (all->bad_files == 0) {
        return TD_OK;
    }
    return td_fail(TD_ECHECK,
                   "%lld of %lld files are bad: %lld damaged stretches (%s lost), %lld bad pairs",
                   (long long)all->bad_files, (long long)all->files, (long long)all->damaged,
                   human((double)all->lost_bytes, lost), (long long)all->bad_pairs);
}

td_status td_verb_data_verify(int argc, char **argv) {
    static const td_option table[] = {
        {"deep", TD_OPTION_FLAG, offsetof(common_options, deep), 0, 0, NULL, NULL,
         "also parse every record as an image-caption pair and decode its image"},
        {"compat", TD_OPTION_CHOICE, offsetof(common_options, compat), 0, 0, "strict|tensorflow",
         "NAME", "tensorflow: its silent end at a cut header, and its messages"},
    };
    static const td_verb_help verb = {"tandem data verify FILES [--deep] [--compat NAME]",
                                      "Reads TFRecord files (directories and patterns too), checks "
                                      "both checksums of every record, names every damaged "
                                      "stretch with file, record, byte and reason, and goes on "
                                      "behind it. Files in gzip, zlib, zstd or snappy blocks are "
                                      "detected, pipes and standard input (-) read too. "
                                      "Exit code 1 when anything is damaged.",
                                      "  tandem data verify shards/ --deep\n"};
    common_options options = {.compat = "strict"};
    const char **words = NULL;
    size_t n_words = 0;
    TD_TRY(parse_files(table, sizeof table / sizeof table[0], &verb, argc, argv, &options, &words,
                       &n_words));
    td_interrupt_install();
    verification all = {.deep = options.deep,
                        .tensorflow = strcmp(options.compat, "tensorflow") == 0,
                        .progress = td_progress_start()};
    td_status status = for_each_file(words, n_words, verify_file, &all);
    td_progress_clear(&all.progress);
    if (status == TD_OK && n_words > 0) {
        status = conclude(&all);
    }
    td_free(words);
    return status;
}

static const char *const kind_names[] = {"none", "bytes", "float", "int64"};

static bool is_printable(td_span span) {
    for (size_t i = 0; i < span.size; i++) {
        if (span.data[i] < 0x20 || span.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

/* Text as it is, cut at a length that fits a terminal; an image by its size; other bytes by their
 * number. */
static void print_bytes(td_span span) {
    enum { SHOWN = 200 };
    td_image image = {0};
    if (span.size >= 16 && td_image_decode(span.data, span.size, &image) == TD_OK) {
        printf(" <%s, %lld x %lld, %zu bytes>", span.data[0] == 0x89 ? "PNG" : "JPEG",
               (long long)image.width, (long long)image.height, span.size);
        td_image_destroy(&image);
    } else if (is_printable(span)) {
        printf(" \"%.*s\"%s", (int)(span.size < SHOWN ? span.size : SHOWN), (const char *)span.data,
               span.size > SHOWN ? "..." : "");
    } else {
        printf(" <%zu bytes>", span.size);
    }
}

static void print_feature(const td_feature *feature) {
    enum { SHOWN = 16 };
    printf("  %.*s: %s[%lld]", (int)feature->key.size, (const char *)feature->key.data,
           kind_names[feature->kind], (long long)feature->count);
    for (int64_t v = 0; v < feature->count && v < SHOWN; v++) {
        if (feature->kind == TD_FEATURE_BYTES) {
            print_bytes(feature->bytes[v]);
        } else if (feature->kind == TD_FEATURE_FLOAT) {
            printf(" %.9g", (double)feature->floats[v]);
        } else {
            printf(" %lld", (long long)feature->ints[v]);
        }
    }
    printf("%s\n", feature->count > SHOWN ? " ..." : "");
}

typedef struct printing {
    bool json;
    int64_t limit, printed, damaged;
    td_example example;
} printing;

static void note_damage(void *arg, const td_tfrecord_damage *damage) {
    *(int64_t *)arg += 1;
    td_note(NULL, "%s; %lld bytes passed over", damage->message, (long long)damage->lost_bytes);
}

static void print_record(printing *all, const char *path, const td_tfrecord *record) {
    printf("%s#%lld, byte %lld, %zu bytes\n", path, (long long)record->number,
           (long long)record->offset, record->size);
    if (td_example_decode(record->data, record->size, &all->example) != TD_OK) {
        printf("  not an Example: %s\n", td_error());
    }
    for (int64_t i = 0; i < all->example.count; i++) {
        print_feature(&all->example.features[i]);
    }
}

/* One line: where the record is, and its features or why it has none. */
static td_status print_json(printing *all, const char *path, const td_tfrecord *record) {
    json_t *line = json_pack("{s:I,s:I,s:I}", "record", (json_int_t)record->number, "offset",
                             (json_int_t)record->offset, "bytes", (json_int_t)record->size);
    if (line == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a record as JSON");
    }
    json_object_set_new(line, "file", json_string(path)); /* a name that is no UTF-8 is left out */
    td_status status = TD_OK;
    if (td_example_decode(record->data, record->size, &all->example) == TD_OK) {
        status = td_example_json(&all->example, line);
    } else {
        json_object_set_new(line, "error", json_string(td_error()));
    }
    if (status == TD_OK &&
        (json_dumpf(line, stdout, TD_EXAMPLE_JSON_FLAGS) != 0 || putchar('\n') == EOF)) {
        status = td_fail(TD_EIO, "write a record as JSON to standard output");
    }
    json_decref(line);
    return status;
}

static td_status print_file(void *arg, const char *path) {
    printing *all = arg;
    td_tfrecord_options options = {TD_TFRECORD_SKIP, false, note_damage, &all->damaged};
    td_record_file *file;
    TD_TRY(td_record_file_open(path, &options, &file));
    td_status status = TD_OK;
    while (status == TD_OK && all->printed < all->limit && !td_interrupted()) {
        td_tfrecord record;
        bool end;
        status = td_record_file_next(file, &record, &end);
        if (status != TD_OK || end) {
            break;
        }
        if (all->json) {
            status = print_json(all, path, &record);
        } else {
            print_record(all, path, &record);
        }
        all->printed++;
    }
    td_record_file_close(file);
    return status;
}

static td_status damage_verdict(int64_t damaged) {
    return damaged == 0
               ? TD_OK
               : td_fail(TD_ECHECK, "damage was passed over in %lld places", (long long)damaged);
}

td_status td_verb_data_cat(int argc, char **argv) {
    static const td_option table[] = {
        {"limit", TD_OPTION_INT, offsetof(common_options, limit), 1, 9e15, NULL, "N",
         "records to print"},
        {"json", TD_OPTION_FLAG, offsetof(common_options, json), 0, 0, NULL, NULL,
         "a JSON object a line and record, all values whole: bytes as a string when they are "
         "UTF-8, else as {\"base64\": \"...\"}; NaN and infinities as strings"},
    };
    static const td_verb_help verb = {
        "tandem data cat FILES [--limit N] [--json]",
        "Prints the features of the first records of TFRecord files (compressed ones, pipes and "
        "standard input, -, too): texts and numbers as they are, images by format and size. Damage "
        "is named on stderr, passed over, and makes the exit code 1.",
        "  tandem data cat shards/ --limit 3\n"};
    common_options options = {.limit = 10};
    const char **words = NULL;
    size_t n_words = 0;
    TD_TRY(parse_files(table, sizeof table / sizeof table[0], &verb, argc, argv, &options, &words,
                       &n_words));
    td_interrupt_install();
    printing all = {.json = options.json, .limit = options.limit};
    td_status status = for_each_file(words, n_words, print_file, &all);
    td_example_destroy(&all.example);
    td_free(words);
    return status == TD_OK ? damage_verdict(all.damaged) : status;
}

/* Exact for as many 64-bit numbers as a file can hold; a double loses the small ones. */
__extension__ typedef __int128 int_sum;

/* What the records say about one feature name, or one class label. */
typedef struct tally {
    char *name;
    td_feature_kind kind;
    int64_t records, values, min_values, max_values; /* the last two: of one record */
    int64_t bytes, min_bytes, max_bytes;
    int64_t min_int, max_int, nans;
    int_sum sum_int;
    double min_float, max_float, sum_float; /* NaN apart */
} tally;

typedef struct tallies {
    tally *rows;
    int64_t count, capacity;
} tallies;

enum {
    TALLIES_MAX = 10000
}; /* names beyond these are not told apart: a look at a data set, not a data base */

static td_status find_tally(tallies *all, td_span name, td_feature_kind kind, tally **out) {
    *out = NULL;
    for (int64_t i = 0; i < all->count; i++) {
        tally *row = &all->rows[i];
        if (row->kind == kind && strlen(row->name) == name.size &&
            memcmp(row->name, name.data, name.size) == 0) {
            *out = row;
            return TD_OK;
        }
    }
    if (all->count == TALLIES_MAX) {
        return TD_OK;
    }
    if (all->count == all->capacity) {
        int64_t capacity = all->capacity == 0 ? 16 : 2 * all->capacity;
        tally *moved = td_realloc(all->rows, (size_t)capacity * sizeof *moved);
        if (moved == NULL) {
            return td_fail(TD_ENOMEM, "no memory for %lld names", (long long)capacity);
        }
        all->rows = moved;
        all->capacity = capacity;
    }
    char *copy = td_alloc(name.size + 1);
    if (copy == NULL) {
        return td_fail(TD_ENOMEM, "no memory for a name");
    }
    memcpy(copy, name.data, name.size);
    copy[name.size] = '\0';
    all->rows[all->count] = (tally){.name = copy,
                                    .kind = kind,
                                    .min_values = INT64_MAX,
                                    .min_bytes = INT64_MAX,
                                    .min_int = INT64_MAX,
                                    .max_int = INT64_MIN,
                                    .min_float = INFINITY,
                                    .max_float = -INFINITY};
    *out = &all->rows[all->count++];
    return TD_OK;
}

static void tallies_destroy(tallies *all) {
    for (int64_t i = 0; i < all->count; i++) {
        td_free(all->rows[i].name);
    }
    td_free(all->rows);
}

typedef struct statistics {
    int64_t files, records, bytes, min_bytes, max_bytes, damaged, not_examples;
    tallies features, labels;
    td_example example;
    td_progress progress;
} statistics;

static void count_value(tally *row, const td_feature *feature, int64_t v) {
    if (feature->kind == TD_FEATURE_BYTES) {
        int64_t bytes = (int64_t)feature->bytes[v].size;
        row->bytes += bytes;
        row->min_bytes = bytes < row->min_bytes ? bytes : row->min_bytes;
        row->max_bytes = bytes > row->max_bytes ? bytes : row->max_bytes;
    } else if (feature->kind == TD_FEATURE_INT64) {
        int64_t value = feature->ints[v];
        row->sum_int += value;
        row->min_int = value < row->min_int ? value : row->min_int;
        row->max_int = value > row->max_int ? value : row->max_int;
    } else if (isnan(feature->floats[v])) {
        row->nans++;
    } else {
        double value = (double)feature->floats[v];
        row->sum_float += value;
        row->min_float = value < row->min_float ? value : row->min_float;
        row->max_float = value > row->max_float ? value : row->max_float;
    }
}

static td_status count_feature(statistics *all, const td_feature *feature) {
    tally *row;
    TD_TRY(find_tally(&all->features, feature->key, feature->kind, &row));
    if (row != NULL) {
        row->records++;
        row->values += feature->count;
        row->min_values = feature->count < row->min_values ? feature->count : row->min_values;
        row->max_values = feature->count > row->max_values ? feature->count : row->max_values;
        for (int64_t v = 0; v < feature->count; v++) {
            count_value(row, feature, v);
        }
    }
    return TD_OK;
}

static td_status count_record(statistics *all, const td_tfrecord *record) {
    int64_t bytes = (int64_t)record->size;
    all->records++;
    all->bytes += bytes;
    all->min_bytes = bytes < all->min_bytes ? bytes : all->min_bytes;
    all->max_bytes = bytes > all->max_bytes ? bytes : all->max_bytes;
    if (td_example_decode(record->data, record->size, &all->example) != TD_OK) {
        all->not_examples++;
        return TD_OK;
    }
    for (int64_t i = 0; i < all->example.count; i++) {
        TD_TRY(count_feature(all, &all->example.features[i]));
    }
    td_span label;
    if (td_pair_feature(&all->example, TD_PAIR_LABEL, false, &label) == TD_OK && label.size > 0) {
        tally *row;
        TD_TRY(find_tally(&all->labels, label, TD_FEATURE_BYTES, &row));
        if (row != NULL) {
            row->records++;
        }
    }
    return TD_OK;
}

static td_status count_file(void *arg, const char *path) {
    statistics *all = arg;
    td_tfrecord_options options = {TD_TFRECORD_SKIP, false, note_damage, &all->damaged};
    td_record_file *file;
    TD_TRY(td_record_file_open(path, &options, &file));
    td_status status = TD_OK;
    while (status == TD_OK && !td_interrupted()) {
        td_tfrecord record;
        bool end;
        status = td_record_file_next(file, &record, &end);
        if (status != TD_OK || end) {
            break;
        }
        status = count_record(all, &record);
        td_progress_show(&all->progress, 0, "%s, record %lld", path, (long long)record.number);
    }
    td_record_file_close(file);
    all->files++;
    return status;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const tally *)a)->name, ((const tally *)b)->name);
}

static int by_records(const void *a, const void *b) {
    const tally *x = a, *y = b;
    return x->records != y->records ? (x->records < y->records) - (x->records > y->records)
                                    : by_name(a, b);
}

static void sort_tallies(tallies *all, int (*order)(const void *, const void *)) {
    if (all->count > 0) {
        qsort(all->rows, (size_t)all->count, sizeof *all->rows, order);
    }
}

/* Least, mean and most: of byte strings the length, of numbers the value. */
static void print_range(const tally *row) {
    char least[16], mean[16], most[16];
    int64_t numbers = row->values - row->nans;
    if (row->kind == TD_FEATURE_BYTES && numbers > 0) {
        printf("  %s, %s, %s", human((double)row->min_bytes, least),
               human((double)row->bytes / (double)numbers, mean),
               human((double)row->max_bytes, most));
    } else if (row->kind == TD_FEATURE_INT64 && numbers > 0) {
        printf("  %lld, %.6g, %lld", (long long)row->min_int,
               (double)row->sum_int / (double)numbers, (long long)row->max_int);
    } else if (numbers > 0) {
        double middle = row->sum_float / (double)numbers; /* of both infinities: NaN of any sign */
        printf("  %.9g, %.6g, %.9g", row->min_float, isnan(middle) ? (double)NAN : middle,
               row->max_float);
    }
    if (row->nans > 0) {
        printf("  (%lld NaN)", (long long)row->nans);
    }
}

/* In how many records, of all that are Examples; values in all and in one; bytes of the values. */
static void print_presence(const tally *row, int64_t examples) {
    char values[48], bytes[16];
    double size = row->kind == TD_FEATURE_BYTES   ? (double)row->bytes
                  : row->kind == TD_FEATURE_INT64 ? 8.0 * (double)row->values
                                                  : 4.0 * (double)row->values;
    if (row->min_values == row->max_values) {
        snprintf(values, sizeof values, "%lld", (long long)row->min_values);
    } else {
        snprintf(values, sizeof values, "%lld to %lld", (long long)row->min_values,
                 (long long)row->max_values);
    }
    printf("%-20s  %-5s  %8lld  %5.1f %%  %8lld  %9s  %9s", row->name, kind_names[row->kind],
           (long long)row->records, 100 * (double)row->records / (double)examples,
           (long long)row->values, values, human(size, bytes));
}

static void print_statistics(statistics *all) {
    enum { LABELS_SHOWN = 10 };
    char total[16], least[16], mean[16], most[16];
    printf("%lld files, %lld records, %s", (long long)all->files, (long long)all->records,
           human((double)all->bytes, total));
    if (all->records > 0) {
        printf(" (a record: %s to %s, mean %s)", human((double)all->min_bytes, least),
               human((double)all->max_bytes, most),
               human((double)all->bytes / (double)all->records, mean));
    }
    printf("\n%s", all->features.count > 0
                       ? "\nfeature               kind    records  present    values  "
                         "   a record      bytes  least, mean, most (of "
                         "bytes: lengths)\n"
                       : "");
    sort_tallies(&all->features, by_name);
    for (int64_t i = 0; i < all->features.count; i++) {
        const tally *row = &all->features.rows[i];
        print_presence(row, all->records - all->not_examples);
        print_range(row);
        printf("\n");
    }
    sort_tallies(&all->labels, by_records);
    printf("%s",
           all->labels.count > 0 ? "\nlabel                                     records\n" : "");
    for (int64_t i = 0; i < all->labels.count && i < LABELS_SHOWN; i++) {
        printf("%-40s  %7lld\n", all->labels.rows[i].name, (long long)all->labels.rows[i].records);
    }
    if (all->labels.count > LABELS_SHOWN) {
        printf("... and %lld further labels\n", (long long)(all->labels.count - LABELS_SHOWN));
    }
    if (all->not_examples > 0) {
        printf("\n%lld records are not Examples\n", (long long)all->not_examples);
    }
}

td_status td_verb_data_stat(int argc, char **argv) {
    static const td_verb_help verb = {"tandem data stat FILES",
                                      "Counts the records of TFRecord files (compressed ones, "
                                      "pipes and standard input, -, too), their sizes, the "
                                      "features in them: in how many Examples, with how many "
                                      "values in all and in one, their bytes, range and mean "
                                      "(of byte strings: of their lengths; NaN is counted apart), "
                                      "and the class labels of pairs. Damage is "
                                      "named on stderr, passed over, and makes the exit code 1.",
                                      "  tandem data stat shards/\n"};
    common_options options = {0};
    const char **words = NULL;
    size_t n_words = 0;
    TD_TRY(parse_files(NULL, 0, &verb, argc, argv, &options, &words, &n_words));
    td_interrupt_install();
    statistics all = {.min_bytes = INT64_MAX, .progress = td_progress_start()};
    td_status status = for_each_file(words, n_words, count_file, &all);
    td_progress_clear(&all.progress);
    if (status == TD_OK && n_words > 0) {
        print_statistics(&all);
        status = damage_verdict(all.damaged);
    }
    tallies_destroy(&all.features);
    tallies_destroy(&all.labels);
    td_example_destroy(&all.example);
    td_free(words);
    return status;
}
