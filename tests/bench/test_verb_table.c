/* SPDX-License-Identifier: Apache-2.0
 * `tandem data features`, `data tabulate` and `tandem table` as a user calls them.
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "bench/feature_rows.h"
#include "bench/verb_data.h"
#include "bench/verbs.h"
#include "data/pair.h"
#include "data/table_synth.h"
#include "data/tfrecord.h"
#include "folder_files.h"
#include "models/safetensors.h"

enum { RECORDS = 300, WORDS_MOST = 20 };

static char folder[64], records[96], columns[96], result[96];

static const char columns_text[] =
    "{\"columns\": [{\"type\": \"numeric\", \"key\": \"age\"},\n"
    " {\"type\": \"indicator\", \"categorical\":\n"
    "   {\"type\": \"identity\", \"key\": \"hour\", \"num_buckets\": 24}}]}";

static void write_text(const char *path, const char *text) {
    cr_assert_eq(td_file_write(path, text, strlen(text)), TD_OK, "%s", td_error());
}

static void set_up(void) {
    snprintf(folder, sizeof folder, "/tmp/tandem_table_%ld", (long)getpid());
    snprintf(records, sizeof records, "%s/rows.tfrecord", folder);
    snprintf(columns, sizeof columns, "%s/columns.json", folder);
    snprintf(result, sizeof result, "%s/result.safetensors", folder);
    cr_assert_eq(td_make_directory(folder), TD_OK);
    write_text(columns, columns_text);
    td_tfrecord_writer writer;
    td_text record = {0};
    cr_assert_eq(td_tfrecord_create(records, &writer), TD_OK, "%s", td_error());
    for (int i = 0; i < RECORDS; i++) {
        record.size = 0;
        cr_assert_eq(td_table_synth(1, i, &record), TD_OK);
        cr_assert_eq(td_tfrecord_append(&writer, record.data, record.size), TD_OK);
    }
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK);
    td_text_destroy(&record);
}

static void tear_down(void) {
    folder_files(folder, true);
}

TestSuite(verb_table, .init = set_up, .fini = tear_down);

typedef td_status verb_fn(int argc, char **argv);

static td_status run(verb_fn *verb, const char *const *words) {
    char *argv[WORDS_MOST] = {td_strdup("verb")};
    int argc = 1;
    for (; words[argc - 1] != NULL; argc++) {
        cr_assert_lt(argc, WORDS_MOST - 1);
        argv[argc] = td_strdup(words[argc - 1]);
    }
    td_status status = verb(argc, argv);
    fflush(stdout);
    for (int i = 0; i < argc; i++) {
        td_free(argv[i]);
    }
    return status;
}
#define RUN(verb, ...) run(verb, (const char *const[]){__VA_ARGS__, NULL})

/* The values of the records themselves, whatever the batch and the number of workers. */
Test(verb_table, features_are_those_of_the_records) {
    static const char *const batches[] = {"1", "7", "1024"};
    for (int b = 0; b < 3; b++) {
        td_safetensors file;
        float age[RECORDS], hours[RECORDS * 24];
        cr_assert_eq(RUN(td_verb_data_features, "--columns", columns, "--out", result, "--batch",
                         batches[b], "--workers", b == 1 ? "1" : "2", records),
                     TD_OK, "%s", td_error());
        cr_assert_eq(td_safetensors_open(result, &file), TD_OK, "%s", td_error());
        cr_assert_eq(td_safetensors_read_f32(&file, "age", 2, (int64_t[]){RECORDS, 1}, age), TD_OK,
                     "%s", td_error());
        cr_assert_eq(
            td_safetensors_read_f32(&file, "hour_indicator", 2, (int64_t[]){RECORDS, 24}, hours),
            TD_OK, "%s", td_error());
        td_safetensors_close(&file);
        td_example example = {0};
        td_text record = {0};
        for (int i = 0; i < RECORDS; i++) {
            record.size = 0;
            cr_assert_eq(td_table_synth(1, i, &record), TD_OK);
            cr_assert_eq(td_example_decode(record.data, record.size, &example), TD_OK);
            cr_assert_eq(age[i], td_example_find(&example, "age")->floats[0]);
            for (int h = 0; h < 24; h++) {
                cr_assert_eq(hours[i * 24 + h], td_example_find(&example, "hour")->ints[0] == h);
            }
        }
        td_example_destroy(&example);
        td_text_destroy(&record);
    }
}

Test(verb_table, what_is_wrong_is_named_with_its_place) {
    write_text(columns, "{\"columns\": [{\"type\": \"numeric\", \"key\": \"age\"},\n"
                        "{\"type\": \"embedding\", \"dimension\": 2, \"categorical\":\n"
                        "{\"type\": \"hash_bucket\", \"key\": \"region\"}}]}");
    cr_expect_eq(RUN(td_verb_data_features, "--columns", columns, records), TD_EINPUT);
    cr_expect(strstr(td_error(), columns) != NULL &&
                  strstr(td_error(), "columns[1].categorical") != NULL,
              "%s", td_error());
    write_text(columns, "[{\"type\": \"numeric\", \"key\": \"height\"}]");
    cr_expect_eq(RUN(td_verb_data_features, "--columns", columns, records), TD_EINPUT);
    cr_expect(strstr(td_error(), "rows.tfrecord, record 0: ") != NULL &&
                  strstr(td_error(), "height") != NULL,
              "%s", td_error());
    cr_expect_eq(RUN(td_verb_data_features, "--columns", columns), TD_EUSAGE);
    cr_expect_eq(RUN(td_verb_data_features, "--columns", columns, "--out", "x.txt", records),
                 TD_EUSAGE);
    cr_expect_eq(RUN(td_verb_table, "--data", records, "--columns", columns), TD_EINPUT);
    cr_expect(strstr(td_error(), "expected an object") != NULL, "%s", td_error());
    cr_expect_eq(RUN(td_verb_table, "--batch", "100", "--blocks", "8"), TD_EUSAGE);
}

Test(verb_table, trains_on_records_and_saves) {
    cr_assert_eq(RUN(td_verb_table, "--data", folder, "--steps", "12", "--batch", "64", "--save",
                     result, "--layout", "p1xt2", "--log-every", "5"),
                 TD_OK, "%s", td_error());
    td_safetensors file;
    cr_assert_eq(td_safetensors_open(result, &file), TD_OK, "%s", td_error());
    cr_expect_str_eq(td_safetensors_metadata(&file, "step"), "12");
    cr_expect_not_null(td_safetensors_find(&file, "adam.v/logits/weight"));
    td_safetensors_close(&file);
}

/* A signal ends training after the step at hand, with everything saved; the run can go on. */
Test(verb_table, an_interrupt_saves) {
    td_interrupt_install();
    raise(SIGINT);
    cr_assert_eq(RUN(td_verb_table, "--data", folder, "--steps", "50", "--batch", "64", "--save",
                     result, "--layout", "p2xt1:process"),
                 TD_EINTERRUPTED);
    cr_expect_not_null(strstr(td_error(), "interrupted after 1 steps"), "%s", td_error());
    td_safetensors file;
    cr_assert_eq(td_safetensors_open(result, &file), TD_OK, "%s", td_error());
    cr_expect_str_eq(td_safetensors_metadata(&file, "step"), "1");
    td_safetensors_close(&file);
}

/* Pairs as a table: the words of the caption, each once, and the size of the image. */
Test(verb_table, tabulates_pairs) {
    char pairs[96], table[96];
    snprintf(pairs, sizeof pairs, "%s/pairs.tfrecord", folder);
    snprintf(table, sizeof table, "%s_rows", folder);
    td_image image = {0};
    td_text record = {0};
    td_tfrecord_writer writer;
    void *png;
    size_t size;
    cr_assert_eq(td_image_create(6, 4, &image), TD_OK);
    memset(image.pixels, 255, 6 * 4 * 3 / 2);
    cr_assert_eq(td_image_encode_png(&image, &png, &size), TD_OK);
    cr_assert_eq(td_pair_encode(png, size, "A Bird, a blue bird & 2 EGGS", "animals", "k", &record),
                 TD_OK);
    cr_assert_eq(td_tfrecord_create(pairs, &writer), TD_OK);
    cr_assert_eq(td_tfrecord_append(&writer, record.data, record.size), TD_OK);
    cr_assert_eq(td_tfrecord_append(&writer, "no pair", 7), TD_OK);
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK);
    cr_assert_eq(RUN(td_verb_data_tabulate, pairs, "--out", table), TD_OK, "%s", td_error());
    td_tfrecord_options options = {.policy = TD_TFRECORD_STRICT};
    td_tfrecord_reader *reader;
    td_tfrecord row;
    td_example example = {0};
    bool end;
    char path[160];
    snprintf(path, sizeof path, "%s/table-00000-of-00001.tfrecord", table);
    cr_assert_eq(td_tfrecord_open(path, &options, &reader), TD_OK, "%s", td_error());
    cr_assert(td_tfrecord_next(reader, &row, &end) == TD_OK && !end);
    cr_assert_eq(td_example_decode(row.data, row.size, &example), TD_OK);
    const td_feature *words = td_example_find(&example, "words");
    static const char *const want[] = {"bird", "blue", "eggs"};
    cr_assert_eq(words->count, 3);
    for (int i = 0; i < 3; i++) {
        cr_expect(words->bytes[i].size == strlen(want[i]) &&
                  memcmp(words->bytes[i].data, want[i], words->bytes[i].size) == 0);
    }
    cr_expect_eq(td_example_find(&example, "width")->ints[0], 6);
    cr_expect_eq(td_example_find(&example, "height")->ints[0], 4);
    cr_expect_eq(td_example_find(&example, "paper")->floats[0], 0.5f);
    cr_expect_eq(td_example_find(&example, "colour")->floats[1], 0.5f);
    cr_assert(td_tfrecord_next(reader, &row, &end) == TD_OK && end);
    td_tfrecord_close(reader);
    td_example_destroy(&example);
    td_image_destroy(&image);
    td_text_destroy(&record);
    td_free(png);
    folder_files(table, true);
}
