/* SPDX-License-Identifier: Apache-2.0
 * `tandem data tabulate`: what captions say and pictures are like, as a table to learn from.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/progress.h"
#include "bench/verb_data.h"
#include "data/caption_text.h"
#include "data/pairs_pixels.h"
#include "data/shards.h"

typedef struct tabulate_cli {
    const char *out;
    int64_t shards;
    bool replace;
} tabulate_cli;

#define AT(field) offsetof(tabulate_cli, field)
static const td_option options_table[] = {
    {"out", TD_OPTION_TEXT, AT(out), 0, 0, NULL, "DIR", "where the shards go"},
    {"shards", TD_OPTION_INT, AT(shards), 1, TD_SHARDS_MAX, NULL, "N", "how many"},
    {"replace", TD_OPTION_FLAG, AT(replace), 0, 0, NULL, NULL,
     "replace the shards that DIR holds; without it they are an error"},
};
enum { N_OPTIONS = sizeof options_table / sizeof options_table[0], WORDS_MOST = 64, FEATURES = 9 };

static const td_verb_help verb_help = {
    "tandem data tabulate PAIRS --out DIR [--options]",
    "Writes an Example for each image-caption pair: words (of the caption, lower case, each once), "
    "n_words, width, height and bytes of the image, colour (mean red, green and blue from 0 to 1), "
    "paper (share of nearly white pixels), label and key. Pairs that cannot be decoded are left "
    "out and counted.",
    "  tandem data tabulate openclipart --out rows\n"
    "  tandem table --columns examples/openclipart.json --data rows\n"};

/* Letters and digits only, two at least. */
static bool counts(const td_word *word) {
    for (size_t i = 0; i < word->size; i++) {
        unsigned char c = (unsigned char)word->bytes[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c < 0x80) {
            return false;
        }
    }
    return word->size >= 2;
}

static int64_t words_of(const td_text *caption, td_span *out) {
    int64_t n = 0;
    td_word word;
    for (size_t at = 0;
         n < WORDS_MOST && td_caption_word(caption->data, caption->size, &at, &word);) {
        td_span span = {(const uint8_t *)word.bytes, word.size};
        bool seen = !counts(&word);
        for (int64_t i = 0; i < n && !seen; i++) {
            seen = out[i].size == span.size && memcmp(out[i].data, span.data, span.size) == 0;
        }
        if (!seen) {
            out[n++] = span;
        }
    }
    return n;
}

/* Mean colour and share of pixels that are nearly white. */
static void look_at(const td_image *image, float colour[3], float *paper) {
    int64_t n = image->width * image->height, sums[3] = {0}, white = 0;
    for (int64_t i = 0; i < n; i++) {
        const unsigned char *p = image->pixels + 3 * i;
        for (int c = 0; c < 3; c++) {
            sums[c] += p[c];
        }
        white += p[0] > 247 && p[1] > 247 && p[2] > 247;
    }
    for (int c = 0; c < 3; c++) {
        colour[c] = (float)((double)sums[c] / (255.0 * (double)n));
    }
    *paper = (float)((double)white / (double)n);
}

static td_status encode(const td_pair *pair, const td_image *image, td_text *caption,
                        td_text *out) {
    td_span words[WORDS_MOST], label = {NULL, 0}, key = td_span_text(pair->key.data);
    float colour[3], paper;
    TD_TRY(td_caption_clean(pair->caption.data, caption));
    int64_t n = words_of(caption, words), bytes = (int64_t)pair->encoded.size;
    look_at(image, colour, &paper);
    if (pair->label.data != NULL) {
        label = td_span_text(pair->label.data);
    }
#define INT(name, at)                                                                              \
    { .key = td_span_text(name), .kind = TD_FEATURE_INT64, .count = 1, .ints = (at) }
#define FLOATS(name, n, at)                                                                        \
    { .key = td_span_text(name), .kind = TD_FEATURE_FLOAT, .count = (n), .floats = (at) }
#define BYTES(name, n, at)                                                                         \
    { .key = td_span_text(name), .kind = TD_FEATURE_BYTES, .count = (n), .bytes = (at) }
    const td_feature features[FEATURES] = {
        BYTES("words", n, words),      INT("n_words", &n),          INT("width", &image->width),
        INT("height", &image->height), INT("bytes", &bytes),        FLOATS("colour", 3, colour),
        FLOATS("paper", 1, &paper),    BYTES(TD_PAIR_KEY, 1, &key), BYTES(TD_PAIR_LABEL, 1, &label),
    };
#undef INT
#undef FLOATS
#undef BYTES
    return td_example_encode(features, FEATURES - (label.size == 0), out);
}

typedef struct tabulation {
    td_pairs *pairs;
    td_shard_writer *writer;
    td_pair pair;
    td_text caption, record;
    int64_t written, left_out;
    td_progress progress;
} tabulation;

static td_status put_pair(tabulation *work, int64_t item) {
    td_image image = {0};
    td_status status = td_pairs_fetch(work->pairs, item, &work->pair);
    if (status == TD_OK) {
        status = td_image_decode(work->pair.encoded.data, work->pair.encoded.size, &image);
    }
    if (status == TD_EINPUT) {
        work->left_out++;
        td_note(&work->progress, "%s; left out", td_error());
        return TD_OK;
    }
    work->record.size = 0;
    status = status == TD_OK ? encode(&work->pair, &image, &work->caption, &work->record) : status;
    td_image_destroy(&image);
    TD_TRY(status);
    work->written++;
    return td_shard_writer_append(work->writer, work->record.data, work->record.size);
}

static td_status tabulate(tabulation *work, const char *path, const tabulate_cli *cli) {
    TD_TRY(td_pairs_open(&(td_pairs_options){.path = path}, &work->pairs));
    TD_TRY(td_shard_writer_create(cli->out, "table", (int)cli->shards, TD_COMPRESSION_NONE,
                                  cli->replace, &work->writer));
    int64_t n = td_pairs_count(work->pairs);
    td_status status = TD_OK;
    for (int64_t i = 0; i < n && status == TD_OK; i++) {
        td_progress_show(&work->progress, (double)i / (double)n, "%lld of %lld pairs", (long long)i,
                         (long long)n);
        status = td_interrupted() ? td_fail(TD_EINTERRUPTED, "interrupted; nothing was written")
                                  : put_pair(work, i);
    }
    td_progress_clear(&work->progress);
    if (status == TD_OK && work->written == 0) {
        status = td_fail(TD_EINPUT, "%s: no pair to write", path);
    }
    if (status != TD_OK) {
        td_shard_writer_abort(work->writer);
        return status;
    }
    TD_TRY(td_shard_writer_commit(work->writer));
    printf("%s: %lld rows, %lld pairs left out\n", cli->out, (long long)work->written,
           (long long)work->left_out);
    return TD_OK;
}

td_status td_verb_data_tabulate(int argc, char **argv) {
    tabulate_cli cli = {.shards = 1};
    const char *words[1];
    size_t n_words;
    int help = 0;
    TD_TRY(td_options_parse(options_table, N_OPTIONS, argc, argv, &cli, words, 1, &n_words, &help));
    if (help) {
        td_options_help(stdout, &verb_help, options_table, N_OPTIONS, &cli);
        return TD_OK;
    }
    if (n_words != 1 || cli.out == NULL) {
        return td_fail(TD_EUSAGE, "%s: expected a directory, pattern or file, and --out DIR",
                       verb_help.usage);
    }
    td_interrupt_install();
    tabulation work = {.pair = {.item = -1}, .progress = td_progress_start()};
    td_status status = tabulate(&work, words[0], &cli);
    td_pairs_close(work.pairs);
    td_pair_destroy(&work.pair);
    td_text_destroy(&work.caption);
    td_text_destroy(&work.record);
    return status;
}
