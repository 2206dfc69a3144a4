/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/progress.h"
#include "bench/verb_data.h"
#include "data/import.h"
#include "data/pair.h"
#include "data/pair_table.h"
#include "data/resize.h"
#include "data/shards.h"
#include "data/synth.h"

typedef struct make_options {
    const char *out;
    int64_t count, seed, shards, size, limit;
    bool openclipart, replace;
    const char *tsv, *tar, *compression;
} make_options;

/* Where records go, and how far that is. */
typedef struct sink {
    td_shard_writer *writer;
    td_text record;
    int64_t written, bytes, limit, size, undecodable;
    td_progress progress;
} sink;

static td_status check_interrupt(void) {
    return td_interrupted() ? td_fail(TD_EINTERRUPTED, "interrupted; nothing was written") : TD_OK;
}

static td_status put_pair(sink *to, const void *image, size_t size, const char *caption,
                          const char *label, const char *key) {
    to->record.size = 0;
    TD_TRY(td_pair_encode(image, size, caption, label, key, &to->record));
    TD_TRY(td_shard_writer_append(to->writer, to->record.data, to->record.size));
    to->written++;
    to->bytes += (int64_t)to->record.size;
    return TD_OK;
}

static td_status put_picture(sink *to, const td_image *image, const char *caption,
                             const char *label, const char *key) {
    void *png;
    size_t size;
    TD_TRY(td_image_encode_png(image, &png, &size));
    td_status status = put_pair(to, png, size, caption, label, key);
    td_free(png);
    return status;
}

/* Ends the shards as the work ended, and says what is there now. */
static td_status finish(sink *to, const make_options *options, td_status status) {
    td_progress_clear(&to->progress);
    td_text_destroy(&to->record);
    if (status == TD_OK && to->written == 0) {
        status = td_fail(TD_EINPUT, "no pair to write");
    }
    if (status != TD_OK) {
        td_shard_writer_abort(to->writer);
        return status;
    }
    TD_TRY(td_shard_writer_commit(to->writer));
    printf("%lld pairs, %.1f MiB, in %lld shards under %s\n", (long long)to->written,
           (double)to->bytes / 1048576, (long long)options->shards, options->out);
    return TD_OK;
}

static td_status make_one(sink *to, const make_options *options, int64_t index) {
    td_image drawn = {0}, fitted = {0};
    char *caption = NULL, *label = NULL;
    td_text key = {0};
    TD_TRY(td_synth_pair((uint64_t)options->seed, index, &drawn, &caption, &label));
    td_pair_synthetic_key((uint64_t)options->seed, index, &key);
    td_status status = td_text_status(&key);
    bool fits = drawn.width == options->size && drawn.height == options->size;
    if (status == TD_OK && !fits) {
        status = td_image_fit(&drawn, options->size, &fitted);
    }
    if (status == TD_OK) {
        status = put_picture(to, fits ? &drawn : &fitted, caption, label, key.data);
    }
    td_image_destroy(&drawn);
    td_image_destroy(&fitted);
    td_text_destroy(&key);
    td_free(caption);
    td_free(label);
    return status;
}

#define OUT_OPTIONS                                                                                \
    {"out", TD_OPTION_TEXT, offsetof(make_options, out),         0, 0,                             \
     NULL,  "DIR",          "where the shards go; it is created"},                                 \
        {"shards", TD_OPTION_INT,    offsetof(make_options, shards), 1, TD_SHARDS_MAX, NULL,       \
         "K",      "number of files"},                                                             \
        {"compression",                                                                            \
         TD_OPTION_CHOICE,                                                                         \
         offsetof(make_options, compression),                                                      \
         0,                                                                                        \
         0,                                                                                        \
         TD_COMPRESSION_OPTIONS,                                                                   \
         "NAME",                                                                                   \
         "of the shards; train reads uncompressed ones only"},                                     \
    {                                                                                              \
        "replace", TD_OPTION_FLAG, offsetof(make_options, replace), 0, 0, NULL, NULL,              \
            "replace the shards that DIR holds; without it they are an error"                      \
    }

static td_status parse(const td_option *table, size_t n_options, const td_verb_help *verb, int argc,
                       char **argv, make_options *options, bool *run) {
    const char *words[1];
    size_t n_words;
    int help = 0;
    TD_TRY(td_options_parse(table, n_options, argc, argv, options, words, 0, &n_words, &help));
    *run = !help;
    if (help) {
        td_options_help(stdout, verb, table, n_options, options);
        return TD_OK;
    }
    return options->out != NULL ? TD_OK : td_fail(TD_EUSAGE, "%s: expected --out DIR", verb->usage);
}

td_status td_verb_data_make(int argc, char **argv) {
    static const td_option table[] = {
        OUT_OPTIONS,
        {"count", TD_OPTION_INT, offsetof(make_options, count), 1, 1e12, NULL, "N",
         "number of pairs"},
        {"seed", TD_OPTION_INT, offsetof(make_options, seed), 0, 9e15, NULL, "S",
         "seed of the set; pair i of a seed is the same whatever the count"},
        {"size", TD_OPTION_INT, offsetof(make_options, size), 8, 4096, NULL, "PIXELS",
         "side of the square images"},
    };
    static const td_verb_help verb = {
        "tandem data make --out DIR [--options]",
        "Writes a procedural set: drawn shapes in colours, counts and relations, with captions "
        "that say so, as PNG files in "
        "TFRecord shards. Shards appear when all are complete; after Ctrl-C there are none.",
        "  tandem data make --out synth --count 50k --seed 1 --shards 8\n"};
    make_options options = {.count = 10000, .shards = 4, .size = 64, .compression = "none"};
    bool run;
    TD_TRY(parse(table, sizeof table / sizeof table[0], &verb, argc, argv, &options, &run));
    if (!run) {
        return TD_OK;
    }
    td_interrupt_install();
    sink to = {.progress = td_progress_start()};
    TD_TRY(td_shard_writer_create(options.out, "synth", (int)options.shards,
                                  td_compression_of_option(options.compression), options.replace,
                                  &to.writer));
    td_status status = TD_OK;
    for (int64_t i = 0; i < options.count && status == TD_OK; i++) {
        td_progress_show(&to.progress, (double)i / (double)options.count, "%lld of %lld pairs",
                         (long long)i, (long long)options.count);
        status = check_interrupt();
        if (status == TD_OK) {
            status = make_one(&to, &options, i);
        }
    }
    return finish(&to, &options, status);
}

/* Large images are stored at the size training needs, so that decoding them again every epoch costs
 * little: the shortest side becomes `size`, as PNG. Small ones are kept as they came. An image so
 * long that its shortest side says little is cut to its centre, which is all that training looks
 * at. */
static td_status put_imported(sink *to, const td_import_pair *pair, const td_image *image) {
    int64_t shortest = image->width < image->height ? image->width : image->height;
    int64_t longest = image->width < image->height ? image->height : image->width;
    if (shortest <= to->size && longest <= 4 * to->size) {
        return put_pair(to, pair->bytes, pair->size, pair->caption, pair->label, pair->key);
    }
    td_image stored = {0};
    TD_TRY(longest <= 4 * shortest && shortest > to->size
               ? td_image_resize_shortest(image, to->size, &stored)
               : td_image_fit(image, to->size, &stored));
    td_status status = put_picture(to, &stored, pair->caption, pair->label, pair->key);
    td_image_destroy(&stored);
    return status;
}

static td_status import_one(void *arg, const td_import_pair *pair) {
    sink *to = arg;
    TD_TRY(check_interrupt());
    if (to->written == to->limit) {
        return td_fail(TD_ESKIP,
                       "the limit is reached"); /* ends the walk; the verb takes it for success */
    }
    td_progress_show(&to->progress, 0, "%lld pairs, now %s", (long long)to->written, pair->key);
    td_image image = {0};
    td_status status = td_image_decode(pair->bytes, pair->size, &image);
    if (status == TD_EINPUT) {
        to->undecodable++;
        td_note(&to->progress, "%s: %s; left out", pair->key, td_error());
        return TD_OK;
    }
    if (status == TD_OK) {
        status = put_imported(to, pair, &image);
    }
    td_image_destroy(&image);
    return status;
}

td_status td_verb_data_import(int argc, char **argv) {
    static const td_option table[] = {
        OUT_OPTIONS,
        {"openclipart", TD_OPTION_FLAG, offsetof(make_options, openclipart), 0, 0, NULL, NULL,
         "Debian's openclipart-png and openclipart-svg"},
        {"tsv", TD_OPTION_TEXT, offsetof(make_options, tsv), 0, 0, NULL, "FILE",
         "your own pairs: a line is PATH <tab> CAPTION [<tab> LABEL], paths relative to the file"},
        {"tar", TD_OPTION_TEXT, offsetof(make_options, tar), 0, 0, NULL, "PATH",
         "WebDataset tar files: a file, a directory or a pattern"},
        {"size", TD_OPTION_INT, offsetof(make_options, size), 16, 8192, NULL, "PIXELS",
         "shortest side that images are reduced to; smaller ones stay as they are"},
        {"limit", TD_OPTION_INT, offsetof(make_options, limit), 1, 9e15, NULL, "N",
         "stop after N pairs"},
    };
    static const td_verb_help verb = {
        "tandem data import (--openclipart | --tsv FILE | --tar PATH) --out DIR [--options]",
        "Writes image-caption pairs as TFRecord shards. Images whose shortest side is above --size "
        "are reduced to it, "
        "transparency laid over white, and stored as PNG; others keep their bytes. Pairs that "
        "cannot be read are named and "
        "left out.",
        "  tandem data import --openclipart --out openclipart --shards 8\n"
        "  tandem data import --tsv photos.tsv --out photos\n"};
    make_options options = {.shards = 4, .size = 256, .limit = INT64_MAX, .compression = "none"};
    bool run;
    TD_TRY(parse(table, sizeof table / sizeof table[0], &verb, argc, argv, &options, &run));
    if (!run) {
        return TD_OK;
    }
    if (options.openclipart + (options.tsv != NULL) + (options.tar != NULL) != 1) {
        return td_fail(TD_EUSAGE,
                       "data import: expected one of --openclipart, --tsv FILE and --tar PATH");
    }
    const char *table_path = options.tsv != NULL ? options.tsv : options.tar;
    if (table_path != NULL && options.tsv != NULL && !td_pair_table_is(table_path)) {
        return td_fail(TD_EUSAGE, "--tsv %s: expected a name that ends with .tsv", table_path);
    }
    td_interrupt_install();
    sink to = {.progress = td_progress_start(), .limit = options.limit, .size = options.size};
    const char *name = options.openclipart ? "openclipart" : "pairs";
    TD_TRY(td_shard_writer_create(options.out, name, (int)options.shards,
                                  td_compression_of_option(options.compression), options.replace,
                                  &to.writer));
    td_import_stats stats = {0};
    td_status status = options.openclipart ? td_import_openclipart(import_one, &to, &stats)
                                           : td_import_table(table_path, import_one, &to, &stats);
    bool limited = status == TD_ESKIP && to.written == to.limit;
    if (to.undecodable > 0) {
        td_note(&to.progress, "%lld images do not decode and were left out",
                (long long)to.undecodable);
    }
    return finish(&to, &options, limited ? TD_OK : status);
}
