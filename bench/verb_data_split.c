/* SPDX-License-Identifier: Apache-2.0
 * `tandem data split`: one record file dealt out to the shards of a set.
 */
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/options.h"
#include "base/progress.h"
#include "bench/verb_data.h"
#include "data/byte_stream.h"
#include "data/record_file.h"
#include "data/shards.h"
#include "threads/team.h"

typedef struct split_options {
    const char *out, *name, *order, *compression;
    int64_t shards, workers;
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

static void cut_ending(char *name, const char *ending) {
    size_t size = strlen(name), cut = strlen(ending);
    if (size > cut && strcmp(name + size - cut, ending) == 0) {
        name[size - cut] = '\0';
    }
}

/* The file's own name without ".tfrecord" and an ending that tells of compression. */
static void shard_set_name(const char *path, char name[NAME_MAX + 1]) {
    const char *slash = strrchr(path, '/');
    snprintf(name, NAME_MAX + 1, "%s",
             is_standard_input(path) ? "records"
             : slash != NULL         ? slash + 1
                                     : path);
    for (int i = TD_COMPRESSION_NONE + 1; i < TD_COMPRESSION_COUNT; i++) {
        cut_ending(name, td_compression_ending((td_compression)i));
    }
    cut_ending(name, ".tfrecord");
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

/* Shards that several workers write at once, each from a range of the file's bytes. */
typedef struct range_split {
    const char *path;
    int64_t bytes, shards;
    td_shard_writer *writer;
    _Atomic int64_t records;
} range_split;

static td_status copy_range(range_split *work, int64_t shard, td_tfrecord_reader *reader) {
    TD_TRY(td_tfrecord_range(reader, work->bytes * shard / work->shards,
                             work->bytes * (shard + 1) / work->shards));
    for (;;) {
        td_tfrecord record;
        bool end;
        TD_TRY(td_tfrecord_next(reader, &record, &end));
        if (end) {
            break;
        }
        if (td_interrupted()) {
            return td_fail(TD_EINTERRUPTED, "interrupted in %s at byte %lld", work->path,
                           (long long)record.offset);
        }
        TD_TRY(td_shard_writer_append_to(work->writer, (int)shard, record.data, record.size));
    }
    atomic_fetch_add_explicit(&work->records, td_tfrecord_get_stats(reader).records,
                              memory_order_relaxed);
    return TD_OK;
}

static td_status copy_shards(void *arg, int64_t first, int64_t last, td_worker *worker) {
    range_split *work = arg;
    td_status status = TD_OK;
    (void)worker;
    for (int64_t shard = first; shard < last && status == TD_OK; shard++) {
        td_tfrecord_reader *reader;
        TD_TRY(td_tfrecord_open(work->path, &(td_tfrecord_options){0}, &reader));
        status = copy_range(work, shard, reader);
        td_tfrecord_close(reader);
    }
    return status;
}

/* The bytes of an uncompressed regular file, which alone can be read from its middle. */
static td_status check_ranges(const char *path, int64_t *bytes) {
    td_compression compression;
    struct stat info;
    TD_TRY(td_record_file_compression(path, &compression));
    if (compression != TD_COMPRESSION_NONE || stat(path, &info) != 0) {
        return td_fail(TD_EUSAGE,
                       "--order ranges: %s is compressed (%s), which is read from its "
                       "start only; choose another order",
                       path, td_compression_option(compression));
    }
    *bytes = (int64_t)info.st_size;
    return TD_OK;
}

static td_status split_ranges(const char *path, const split_options *options, int64_t bytes,
                              td_shard_writer *writer, int64_t *records) {
    range_split work = {.path = path, .bytes = bytes, .shards = options->shards, .writer = writer};
    td_team *team;
    td_site site = {0};
    TD_TRY(td_team_create(&(td_team_options){.workers = (int)options->workers}, &team));
    td_status status = td_team_tiles(team, &site, work.shards, 1, copy_shards, &work);
    td_team_destroy(team);
    *records = atomic_load_explicit(&work.records, memory_order_relaxed);
    return status;
}

/* One record after the other, to shards in turn or by their number. */
static td_status split_in_order(const char *path, dealing *to, int64_t *records) {
    TD_TRY(for_each_record(path, to->total, deal, to, records));
    return check_count(to, *records);
}

static td_status split(const char *path, const split_options *options) {
    char own[NAME_MAX + 1];
    shard_set_name(path, own);
    const char *name = options->name != NULL ? options->name : own;
    dealing to = {.path = path,
                  .contiguous = strcmp(options->order, "contiguous") == 0,
                  .shards = options->shards};
    bool ranges = strcmp(options->order, "ranges") == 0;
    int64_t records, bytes = 0;
    if (ranges) {
        TD_TRY(check_ranges(path, &bytes));
    }
    if (options->replace) {
        TD_TRY(check_apart(path, options->out));
    }
    if (to.contiguous) {
        TD_TRY(for_each_record(path, 0, count_only, NULL, &to.total));
    }
    TD_TRY(td_shard_writer_create(options->out, name, (int)to.shards,
                                  td_compression_of_option(options->compression), options->replace,
                                  &to.writer));
    td_status status = ranges ? split_ranges(path, options, bytes, to.writer, &records)
                              : split_in_order(path, &to, &records);
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
        {"order", TD_OPTION_CHOICE, offsetof(split_options, order), 0, 0,
         "round-robin|contiguous|ranges", "NAME",
         "record i in shard i mod N; N stretches whose lengths differ by one at most (reads FILE "
         "twice); or N stretches of equal bytes, found without an index and written by several "
         "workers, of an uncompressed file"},
        {"workers", TD_OPTION_INT, offsetof(split_options, workers), 1, 1024, NULL, "N",
         "threads, of --order ranges; shards do not depend on it"},
        {"compression", TD_OPTION_CHOICE, offsetof(split_options, compression), 0, 0,
         TD_COMPRESSION_OPTIONS, "NAME", "of the shards"},
        {"name", TD_OPTION_TEXT, offsetof(split_options, name), 0, 0, NULL, "NAME",
         "what shards are called before -00000-of-0000N.tfrecord (default: as FILE)"},
        {"replace", TD_OPTION_FLAG, offsetof(split_options, replace), 0, 0, NULL, NULL,
         "remove the shards that are in DIR when the new ones are complete"},
    };
    static const td_verb_help verb = {
        "tandem data split FILE --shards N --out DIR [--options]",
        "Writes the records of a TFRecord file (compressed or not, - for standard input) "
        "unchanged to N shards. Both checksums of every record are checked; a damaged "
        "one is an error (repair the file first). Shards appear when all of them are complete.",
        "  tandem data split train.tfrecord.gz --shards 8 --out shards/\n"
        "  tandem data split big.tfrecord --order ranges --workers 8 --shards 64 --out shards/\n"};
    split_options options = {.order = "round-robin", .compression = "none", .workers = 1};
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
    if (is_standard_input(path) && strcmp(options.order, "round-robin") != 0) {
        return td_fail(TD_EUSAGE,
                       "--order %s reads the file from more than one place, which "
                       "standard input does not allow",
                       options.order);
    }
    td_interrupt_install();
    return split(path, &options);
}
