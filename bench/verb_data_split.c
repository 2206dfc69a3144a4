/* SPDX-License-Identifier: Apache-2.0
 * `tandem data split`: one record file dealt out to the shards of a set.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/options.h"
#include "base/progress.h"
#include "bench/verb_data.h"
#include "data/byte_stream.h"
#include "data/shards.h"

typedef struct split_options {
    const char *out, *name, *order;
    int64_t shards;
    bool replace;
} split_options;

static bool is_standard_input(const char *path) {
    return strcmp(path, "-") == 0;
}

/* What is called for each record, with its number in the file. */
typedef td_status record_fn(void *arg, td_span record, int64_t number);

/* All records of the file, both checksums checked; total is how many there are, 0 when unknown. */
static td_status for_each_record(const char *path, int64_t total, record_fn *each, void *arg,
                                 int64_t *records) {
    td_record_stream *stream;
    td_progress progress = td_progress_start();
    td_span record;
    bool end = false;
    int64_t number = 0;
    TD_TRY(td_record_stream_open(path, TD_COMPRESSION_COUNT, TD_STREAM_STRICT, &stream));
    td_status status;
    while ((status = td_record_stream_next(stream, &record, &end)) == TD_OK && !end) {
        if (td_interrupted()) {
            status = td_fail(TD_EINTERRUPTED, "interrupted in %s at record %lld", path,
                             (long long)number);
            break;
        }
        status = each(arg, record, number);
        if (status != TD_OK) {
            break;
        }
        number++;
        td_progress_show(&progress, total > 0 ? (double)number / (double)total : 0,
                         "%s, record %lld", path, (long long)number);
    }
    td_progress_clear(&progress);
    td_record_stream_close(stream);
    *records = number;
    return status;
}

static td_status count_only(void *arg, td_span record, int64_t number) {
    (void)arg;
    (void)record;
    (void)number;
    return TD_OK;
}

/* Where records go. Contiguous: shard s has the records [total*s/n, total*(s+1)/n). */
typedef struct dealing {
    const char *path;
    td_shard_writer *writer;
    bool contiguous;
    int64_t total, shards, shard;
} dealing;

static td_status deal(void *arg, td_span record, int64_t number) {
    dealing *to = arg;
    if (!to->contiguous) {
        to->shard = number % to->shards;
    } else if (number >= to->total) {
        return td_fail(TD_EIO, "%s: it held %lld records and now holds more: it was written to",
                       to->path, (long long)to->total);
    }
    while (to->contiguous && number >= to->total * (to->shard + 1) / to->shards) {
        to->shard++;
    }
    return td_shard_writer_append_to(to->writer, (int)to->shard, record.data, record.size);
}

static td_status check_count(const dealing *from, int64_t records) {
    return !from->contiguous || records == from->total
               ? TD_OK
               : td_fail(TD_EIO, "%s: it held %lld records and now %lld: it was written to",
                         from->path, (long long)from->total, (long long)records);
}

/* The file's own name without ".tfrecord" and an ending that tells of compression. */
static void shard_set_name(const char *path, char name[NAME_MAX + 1]) {
    static const char *const endings[] = {".gz", ".zz", ".zlib", ".zst", ".snappy", ".tfrecord"};
    const char *slash = strrchr(path, '/');
    snprintf(name, NAME_MAX + 1, "%s",
             is_standard_input(path) ? "records"
             : slash != NULL         ? slash + 1
                                     : path);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t size = strlen(name), cut = strlen(endings[i]);
        if (size > cut && strcmp(name + size - cut, endings[i]) == 0) {
            name[size - cut] = '\0';
        }
    }
}

/* Replacing the shards of a directory must not remove what is being split. */
static td_status check_apart(const char *path, const char *directory) {
    char file[PATH_MAX], out[PATH_MAX];
    if (is_standard_input(path) || realpath(path, file) == NULL ||
        realpath(directory, out) == NULL) {
        return TD_OK; /* the file is opened next, and a new directory holds nothing */
    }
    char *slash = strrchr(file, '/');
    *slash = '\0';
    return strcmp(slash == file ? "/" : file, out) != 0
               ? TD_OK
               : td_fail(TD_EUSAGE, "--out %s: %s lies there itself; choose another directory",
                         directory, path);
}

static td_status split(const char *path, const split_options *options) {
    char own[NAME_MAX + 1];
    shard_set_name(path, own);
    const char *name = options->name != NULL ? options->name : own;
    dealing to = {.path = path,
                  .contiguous = strcmp(options->order, "contiguous") == 0,
                  .shards = options->shards};
    int64_t records;
    if (options->replace) {
        TD_TRY(check_apart(path, options->out));
    }
    if (to.contiguous) {
        TD_TRY(for_each_record(path, 0, count_only, NULL, &to.total));
    }
    TD_TRY(
        td_shard_writer_create(options->out, name, (int)to.shards, options->replace, &to.writer));
    td_status status = for_each_record(path, to.total, deal, &to, &records);
    if (status == TD_OK) {
        status = check_count(&to, records);
    }
    if (status != TD_OK) {
        td_shard_writer_abort(to.writer);
        return status;
    }
    TD_TRY(td_shard_writer_commit(to.writer));
    printf("%s: %lld records of %s in %lld shards named %s\n", options->out, (long long)records,
           path, (long long)to.shards, name);
    return TD_OK;
}

td_status td_verb_data_split(int argc, char **argv) {
    static const td_option table[] = {
        {"shards", TD_OPTION_INT, offsetof(split_options, shards), 1, TD_SHARDS_MAX, NULL, "N",
         "files to write"},
        {"out", TD_OPTION_TEXT, offsetof(split_options, out), 0, 0, NULL, "DIR",
         "directory for them, made when it is missing"},
        {"order", TD_OPTION_CHOICE, offsetof(split_options, order), 0, 0, "round-robin|contiguous",
         "NAME",
         "record i in shard i mod N, or N stretches whose lengths differ by one at most "
         "(reads FILE twice) (default round-robin)"},
        {"name", TD_OPTION_TEXT, offsetof(split_options, name), 0, 0, NULL, "NAME",
         "what shards are called before -00000-of-0000N.tfrecord (default: as FILE)"},
        {"replace", TD_OPTION_FLAG, offsetof(split_options, replace), 0, 0, NULL, NULL,
         "remove the shards that are in DIR when the new ones are complete"},
    };
    static const td_verb_help verb = {
        "tandem data split FILE --shards N --out DIR [--options]",
        "Writes the records of a TFRecord file (compressed or not, - for standard input) "
        "unchanged to N uncompressed shards. Both checksums of every record are checked; a damaged "
        "one is an error (repair the file first). Shards appear when all of them are complete.",
        "  tandem data split train.tfrecord.gz --shards 8 --out shards/\n"};
    split_options options = {.order = "round-robin"};
    const char *path;
    size_t n_words;
    int help = 0;
    size_t n_options = sizeof table / sizeof table[0];
    TD_TRY(td_options_parse(table, n_options, argc, argv, &options, &path, 1, &n_words, &help));
    if (help) {
        td_options_help(stdout, &verb, table, n_options, &options);
        return TD_OK;
    }
    if (n_words != 1 || options.shards == 0 || options.out == NULL) {
        return td_fail(TD_EUSAGE, "%s: expected a file, --shards and --out", verb.usage);
    }
    if (options.name != NULL && (options.name[0] == '\0' || strchr(options.name, '/') != NULL)) {
        return td_fail(TD_EUSAGE, "--name \"%s\": expected a file's name without /", options.name);
    }
    if (is_standard_input(path) && strcmp(options.order, "contiguous") == 0) {
        return td_fail(TD_EUSAGE, "--order contiguous reads the file twice, which standard input "
                                  "does not allow");
    }
    td_interrupt_install();
    return split(path, &options);
}
