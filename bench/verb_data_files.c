/* SPDX-License-Identifier: Apache-2.0
 * `tandem data index`, `repair` and `append`: files made from record files.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/options.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/clock.h"
#include "bench/verb_data.h"
#include "data/record_file.h"
#include "data/record_index.h"
#include "data/shards.h"

enum { WORDS_MAX = 64 };

/* The words behind a verb that takes no options: none when help was asked for, and given. */
static td_status read_words(const td_verb_help *verb, size_t least, const char *expected, int argc,
                            char **argv, const char *words[WORDS_MAX], size_t *n_words) {
    int help = 0;
    TD_TRY(td_options_parse(NULL, 0, argc, argv, NULL, words, WORDS_MAX, n_words, &help));
    if (help) {
        td_options_help(stdout, verb, NULL, 0, NULL);
        *n_words = 0;
        return TD_OK;
    }
    return *n_words >= least ? TD_OK : td_fail(TD_EUSAGE, "%s: expected %s", verb->usage, expected);
}

static td_status index_file(const char *path) {
    int64_t records;
    TD_TRY(td_record_index_write(path, &records));
    printf("%s%s, %s%s: %lld records\n", path, TD_INDEX_ENDING, path, TD_INDEX_TEXT_ENDING,
           (long long)records);
    return TD_OK;
}

td_status td_verb_data_index(int argc, char **argv) {
    static const td_verb_help verb = {
        "tandem data index FILES",
        "Writes two files beside each TFRecord file: FILE.index, which says what file it is of "
        "(size, time of the last change, checksum) and spares train, eval and embed the search for "
        "records when they open the set; and FILE.idx, a line \"offset bytes\" for each record, as "
        "DALI and the Python package tfrecord read them (those believe it). Headers are checked; a "
        "cut record is an error. An index that is not of the file as it is now is an error when "
        "the set is opened: run this again.",
        "  tandem data index shards/\n"};
    const char *words[WORDS_MAX];
    size_t n_words;
    TD_TRY(read_words(&verb, 1, "files, directories or patterns", argc, argv, words, &n_words));
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

static td_status copy_good(td_record_file *file, td_tfrecord_writer *writer) {
    for (;;) {
        td_tfrecord record;
        bool end;
        TD_TRY(td_record_file_next(file, &record, &end));
        if (end) {
            return TD_OK;
        }
        if (td_interrupted()) {
            return td_fail(TD_EINTERRUPTED, "interrupted; nothing was written");
        }
        TD_TRY(td_tfrecord_append(writer, record.data, record.size));
    }
}

static td_status repair(const char *from, const char *to, td_compression compression) {
    td_tfrecord_options options = {.policy = TD_TFRECORD_SKIP, .on_damage = print_lost};
    td_record_file *file;
    td_tfrecord_writer writer;
    TD_TRY(td_record_file_open(from, &options, &file));
    td_status status = td_tfrecord_create_compressed(to, compression, &writer);
    if (status == TD_OK) {
        status = copy_good(file, &writer);
        if (status == TD_OK) {
            status = td_tfrecord_commit(&writer);
        } else {
            td_tfrecord_abort(&writer);
        }
    }
    td_tfrecord_stats stats = td_record_file_get_stats(file);
    td_record_file_close(file);
    if (status == TD_OK) {
        printf("%s: %lld good records of %s, %lld damaged stretches (%lld bytes) left out\n", to,
               (long long)stats.records, from, (long long)stats.damaged,
               (long long)stats.lost_bytes);
    }
    return status;
}

static const td_option compression_table[] = {
    {"compression", TD_OPTION_CHOICE, 0, 0, 0, TD_COMPRESSION_OPTIONS, "NAME", "of the new file"},
};

td_status td_verb_data_repair(int argc, char **argv) {
    static const td_verb_help verb = {
        "tandem data repair FILE NEW-FILE [--compression NAME]",
        "Writes the good records of a damaged TFRecord file (compressed or not, - for standard "
        "input) to a new one, which appears only when it is complete, and names every stretch that "
        "was lost. The old file is not touched.",
        "  tandem data repair train.tfrecord train-good.tfrecord\n"};
    const char *words[2], *compression = "none";
    size_t n_words;
    int help = 0;
    TD_TRY(td_options_parse(compression_table, 1, argc, argv, &compression, words, 2, &n_words,
                            &help));
    if (help) {
        td_options_help(stdout, &verb, compression_table, 1, &compression);
        return TD_OK;
    }
    if (n_words != 2 || strcmp(words[0], words[1]) == 0) {
        return td_fail(TD_EUSAGE, "%s: expected two different files", verb.usage);
    }
    td_interrupt_install();
    return repair(words[0], words[1], td_compression_of_option(compression));
}

static td_status add_file(td_tfrecord_writer *writer, const char *path) {
    td_record_file *file;
    TD_TRY(td_record_file_open(path, &(td_tfrecord_options){0}, &file));
    td_status status = copy_good(file, writer);
    td_record_file_close(file);
    return status;
}

static td_status add_files(td_tfrecord_writer *writer, const char *word) {
    if (strcmp(word, "-") == 0) {
        return add_file(writer, word);
    }
    td_file_list files;
    TD_TRY(td_file_list_find(word, &files));
    td_status status = TD_OK;
    for (int64_t i = 0; i < files.count && status == TD_OK; i++) {
        status = add_file(writer, files.paths[i]);
    }
    td_file_list_destroy(&files);
    return status;
}

/* An index that was there goes with its file: it would be stale. */
static td_status renew_index(const char *path) {
    td_text name = {0};
    int64_t records;
    td_text_printf(&name, "%s%s", path, TD_INDEX_ENDING);
    bool own = !name.failed && access(name.data, F_OK) == 0;
    name.size = 0;
    td_text_printf(&name, "%s%s", path, TD_INDEX_TEXT_ENDING);
    bool any = own || (!name.failed && access(name.data, F_OK) == 0);
    td_status status = td_text_status(&name);
    td_text_destroy(&name);
    return status == TD_OK && any ? td_record_index_write(path, &records) : status;
}

td_status td_verb_data_append(int argc, char **argv) {
    static const td_verb_help verb = {
        "tandem data append FILE FROM...",
        "Adds the records of the files FROM (directories and patterns too, compressed or not, - "
        "for standard input) to an uncompressed TFRecord file: all of them or none. Until the end "
        "FILE stays as it was, and it is not touched when it ends in a torn record or when a "
        "record to add is damaged. Its index, where there is one, is renewed.",
        "  tandem data append train-00003-of-00004.tfrecord new.tfrecord.gz\n"};
    const char *words[WORDS_MAX];
    size_t n_words;
    TD_TRY(read_words(&verb, 2, "a file and what to add to it", argc, argv, words, &n_words));
    if (n_words == 0) {
        return TD_OK;
    }
    td_interrupt_install();
    td_tfrecord_writer writer;
    TD_TRY(td_tfrecord_extend(words[0], &writer));
    td_status status = TD_OK;
    for (size_t w = 1; w < n_words && status == TD_OK; w++) {
        status = add_files(&writer, words[w]);
    }
    if (status != TD_OK) {
        td_tfrecord_abort(&writer);
        return status;
    }
    long long added = (long long)writer.records;
    TD_TRY(td_tfrecord_commit(&writer));
    printf("%s: %lld records added\n", words[0], added);
    return renew_index(words[0]);
}
