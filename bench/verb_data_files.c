/* SPDX-License-Identifier: Apache-2.0
 * `tandem data index` and `repair`: files made from record files.
 */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/options.h"
#include "base/progress.h"
#include "base/text.h"
#include "bench/verb_data.h"
#include "data/shards.h"
#include "data/tfrecord.h"

enum { WORDS_MAX = 64 };

/* Headers alone are read; a cut or damaged record is an error, not a short line. */
static td_status index_file(const char *path) {
    td_tfrecord_options options = {.policy = TD_TFRECORD_STRICT, .headers_only = true};
    td_tfrecord_reader *reader;
    td_text lines = {0}, target = {0};
    TD_TRY(td_tfrecord_open(path, &options, &reader));
    td_tfrecord record;
    bool end = false;
    td_status status = TD_OK;
    int64_t records = 0;
    td_text_puts(&lines, "");
    while ((status = td_tfrecord_next(reader, &record, &end)) == TD_OK && !end) {
        td_text_printf(&lines, "%lld %zu\n", (long long)record.offset,
                       record.size + TD_TFRECORD_FRAME_BYTES);
        records++;
    }
    td_tfrecord_close(reader);
    td_text_printf(&target, "%s.idx", path);
    if (status == TD_OK) {
        status = td_text_status(&lines);
    }
    if (status == TD_OK) {
        status = td_file_write(target.data, lines.data, lines.size);
    }
    if (status == TD_OK) {
        printf("%s: %lld records\n", target.data, (long long)records);
    }
    td_text_destroy(&lines);
    td_text_destroy(&target);
    return status;
}

td_status td_verb_data_index(int argc, char **argv) {
    static const td_verb_help verb = {
        "tandem data index FILES",
        "Writes FILE.idx beside each TFRecord file: a line \"offset bytes\" for each record, as "
        "DALI "
        "and the Python package tfrecord read them. Only headers are read, and their checksums "
        "checked; a cut record is an error (those tools index it with a wrong size).",
        "  tandem data index shards/\n"};
    const char *words[WORDS_MAX];
    size_t n_words;
    int help = 0;
    TD_TRY(td_options_parse(NULL, 0, argc, argv, NULL, words, WORDS_MAX, &n_words, &help));
    if (help) {
        td_options_help(stdout, &verb, NULL, 0, NULL);
        return TD_OK;
    }
    if (n_words == 0) {
        return td_fail(TD_EUSAGE, "%s: expected files, directories or patterns", verb.usage);
    }
    for (size_t w = 0; w < n_words; w++) {
        td_file_list files;
        TD_TRY(td_file_list_find(words[w], &files));
        td_status status = TD_OK;
        for (int64_t i = 0; i < files.count && status == TD_OK; i++) {
            status = index_file(files.paths[i]);
        }
        td_file_list_destroy(&files);
        TD_TRY(status);
    }
    return TD_OK;
}

static void print_lost(void *arg, const td_tfrecord_damage *damage) {
    (void)arg;
    printf("LOST     %s (%lld bytes)\n", damage->message, (long long)damage->lost_bytes);
}

static td_status copy_good(td_tfrecord_reader *reader, td_tfrecord_writer *writer) {
    for (;;) {
        td_tfrecord record;
        bool end;
        TD_TRY(td_tfrecord_next(reader, &record, &end));
        if (end) {
            return TD_OK;
        }
        TD_TRY(td_tfrecord_append(writer, record.data, record.size));
    }
}

static td_status repair(const char *from, const char *to) {
    td_tfrecord_options options = {.policy = TD_TFRECORD_SKIP, .on_damage = print_lost};
    td_tfrecord_reader *reader;
    td_tfrecord_writer writer;
    TD_TRY(td_tfrecord_open(from, &options, &reader));
    td_status status = td_tfrecord_create(to, &writer);
    if (status == TD_OK) {
        status = copy_good(reader, &writer);
        if (status == TD_OK) {
            status = td_tfrecord_commit(&writer);
        } else {
            td_tfrecord_abort(&writer);
        }
    }
    td_tfrecord_stats stats = td_tfrecord_get_stats(reader);
    td_tfrecord_close(reader);
    if (status == TD_OK) {
        printf("%s: %lld good records of %s, %lld damaged stretches (%lld bytes) left out\n", to,
               (long long)stats.records, from, (long long)stats.damaged,
               (long long)stats.lost_bytes);
    }
    return status;
}

td_status td_verb_data_repair(int argc, char **argv) {
    static const td_verb_help verb = {
        "tandem data repair FILE NEW-FILE",
        "Writes the good records of a damaged TFRecord file to a new one, which appears only when "
        "it "
        "is complete, and names every stretch that was lost. The old file is not touched.",
        "  tandem data repair train.tfrecord train-good.tfrecord\n"};
    const char *words[2];
    size_t n_words;
    int help = 0;
    TD_TRY(td_options_parse(NULL, 0, argc, argv, NULL, words, 2, &n_words, &help));
    if (help) {
        td_options_help(stdout, &verb, NULL, 0, NULL);
        return TD_OK;
    }
    if (n_words != 2 || strcmp(words[0], words[1]) == 0) {
        return td_fail(TD_EUSAGE, "%s: expected two different files", verb.usage);
    }
    return repair(words[0], words[1]);
}
