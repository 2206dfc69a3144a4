/* SPDX-License-Identifier: Apache-2.0
 * Examples as JSON, and what `tandem data cat --json` and `stat` print of a file.
 */
#include "bench/example_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/text.h"
#include "bench/verb_data.h"
#include "data/tfrecord.h"

static char source[64], printed[64];

static void set_up(void) {
    snprintf(source, sizeof source, "/tmp/tandem_json_%ld.tfrecord", (long)getpid());
    snprintf(printed, sizeof printed, "/tmp/tandem_json_%ld.out", (long)getpid());
}

static void tear_down(void) {
    unlink(source);
    unlink(printed);
}

TestSuite(example_json, .init = set_up, .fini = tear_down);

/* The vectors of RFC 4648, and bytes above 127. */
Test(example_json, base64) {
    static const struct {
        const char *bytes, *coded;
    } rows[] = {{"", ""},
                {"f", "Zg=="},
                {"fo", "Zm8="},
                {"foo", "Zm9v"},
                {"foob", "Zm9vYg=="},
                {"fooba", "Zm9vYmE="},
                {"foobar", "Zm9vYmFy"},
                {"\xff\xfe\xfb\xef", "//777w=="}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        td_text text = {0};
        td_base64(&text, td_span_text(rows[i].bytes));
        cr_assert_not(text.failed);
        cr_expect_str_eq(text.data, rows[i].coded);
        td_text_destroy(&text);
    }
}

/* One record with everything, and one that is no Example. */
static void write_source(void) {
    static const float floats[] = {0.1F, -2.5F, NAN, INFINITY, -INFINITY};
    static const float range[] = {-1.5F, NAN, 4.0F, 0.5F};
    static const int64_t ints[] = {INT64_MIN, 7, INT64_MAX};
    const td_span bytes[] = {td_span_text("a \"cat\" \xc3\xa9\n"),
                             td_span_text("\xff\xd8"),
                             {(const uint8_t *)"a\0b", 3},
                             td_span_text("")};
    const td_feature features[] = {
        {td_span_text("bytes"), TD_FEATURE_BYTES, 4, bytes, NULL, NULL},
        {td_span_text("empty"), TD_FEATURE_INT64, 0, NULL, NULL, NULL},
        {td_span_text("floats"), TD_FEATURE_FLOAT, 5, NULL, floats, NULL},
        {td_span_text("ints"), TD_FEATURE_INT64, 3, NULL, NULL, ints},
        {td_span_text("none"), TD_FEATURE_NONE, 0, NULL, NULL, NULL},
        {td_span_text("range"), TD_FEATURE_FLOAT, 4, NULL, range, NULL},
        {td_span_text("small"), TD_FEATURE_INT64, 1, NULL, NULL, ints + 1},
        {td_span_text("\xff"), TD_FEATURE_INT64, 1, NULL, NULL, ints + 1},
    };
    td_text record = {0};
    td_tfrecord_writer writer;
    cr_assert_eq(td_example_encode(features, sizeof features / sizeof features[0], &record), TD_OK,
                 "%s", td_error());
    cr_assert_eq(td_tfrecord_create(source, &writer), TD_OK, "%s", td_error());
    cr_assert_eq(td_tfrecord_append(&writer, record.data, record.size), TD_OK);
    cr_assert_eq(td_tfrecord_append(&writer, "\x0b", 1), TD_OK);
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK, "%s", td_error());
    td_text_destroy(&record);
}

typedef td_status verb_fn(int argc, char **argv);

/* What the verb prints about the source; for td_free. */
static char *output(verb_fn *verb, const char *option) {
    char name[] = "verb", flag[16];
    snprintf(flag, sizeof flag, "%s", option != NULL ? option : "");
    char *argv[] = {name, source, flag};
    char *text;
    size_t size;
    cr_assert_not_null(freopen(printed, "w", stdout));
    cr_assert_eq(verb(option != NULL ? 3 : 2, argv), TD_OK, "%s", td_error());
    fflush(stdout);
    cr_assert_eq(td_file_read(printed, &text, &size), TD_OK);
    return text;
}

Test(example_json, cat_gives_every_value) {
    static const char wanted[] =
        "{\"bytes\":{\"kind\":\"bytes\",\"values\":[\"a \\\"cat\\\" \xc3\xa9\\n\","
        "{\"base64\":\"/9g=\"},\"a\\u0000b\",\"\"]},"
        "\"empty\":{\"kind\":\"int64\",\"values\":[]},"
        "\"floats\":{\"kind\":\"float\",\"values\":"
        "[0.100000001,-2.5,\"NaN\",\"Infinity\",\"-Infinity\"]},"
        "\"ints\":{\"kind\":\"int64\",\"values\":"
        "[-9223372036854775808,7,9223372036854775807]},"
        "\"none\":{\"kind\":\"none\",\"values\":[]},"
        "\"range\":{\"kind\":\"float\",\"values\":[-1.5,\"NaN\",4.0,0.5]},"
        "\"small\":{\"kind\":\"int64\",\"values\":[7]}}";
    write_source();
    char *text = output(td_verb_data_cat, "--json");
    char *second = strchr(text, '\n') + 1;
    cr_expect_not_null(strstr(text, wanted), "%s", text);
    cr_expect_not_null(
        strstr(text, "\"base64_features\":{\"/w==\":{\"kind\":\"int64\",\"values\":[7]}}"), "%s",
        text);
    json_t *line = json_loads(second, 0, NULL);
    cr_assert_not_null(line, "one object a line: %s", second);
    cr_expect_eq(json_integer_value(json_object_get(line, "record")), 1);
    cr_expect_eq(json_integer_value(json_object_get(line, "bytes")), 1);
    cr_expect_str_eq(json_string_value(json_object_get(line, "file")), source);
    cr_expect(json_is_string(json_object_get(line, "error")));
    cr_expect_null(json_object_get(line, "features"));
    json_decref(line);
    td_free(text);
}

/* The line of a feature, behind its name and up to its end. */
static void expect_row(const char *text, const char *start, const char *wanted) {
    const char *at = strstr(text, start);
    cr_assert_not_null(at, "%s: %s", start, text);
    size_t size = strcspn(at, "\n"), tail = strlen(wanted);
    cr_assert_geq(size, tail, "%s", at);
    cr_expect_eq(memcmp(at + size - tail, wanted, tail), 0, "%.*s", (int)size, at);
}

Test(example_json, stat_gives_ranges) {
    write_source();
    char *text = output(td_verb_data_stat, NULL);
    expect_row(strstr(text, "\nbytes ") + 1, "bytes ",
               "  100.0 %         4          4       16 B  0 B, 4 B, 11 B");
    expect_row(text, "empty ", "  100.0 %         0          0        0 B");
    expect_row(text, "floats ", "         5          5       20 B  -inf, nan, inf  (1 NaN)");
    expect_row(text, "ints ", "  -9223372036854775808, 2, 9223372036854775807");
    expect_row(text, "range ", "         4          4       16 B  -1.5, 1, 4  (1 NaN)");
    expect_row(text, "small ", "         1          1        8 B  7, 7, 7");
    cr_expect_not_null(strstr(text, "1 records are not Examples"));
    td_free(text);
}

/* Presence is counted over Examples, not over what is none; lists vary in length. */
Test(example_json, stat_gives_presence_and_lengths) {
    static const int64_t ints[] = {1, 2, 3};
    const td_feature features[] = {{td_span_text("often"), TD_FEATURE_INT64, 3, NULL, NULL, ints},
                                   {td_span_text("rare"), TD_FEATURE_INT64, 1, NULL, NULL, ints}};
    td_tfrecord_writer writer;
    cr_assert_eq(td_tfrecord_create(source, &writer), TD_OK, "%s", td_error());
    for (int i = 0; i < 8; i++) {
        td_text record = {0};
        td_feature some[] = {features[0], features[1]};
        some[0].count = i == 5 ? 1 : 3;
        cr_assert_eq(td_example_encode(some, i == 2 ? 2 : 1, &record), TD_OK);
        cr_assert_eq(td_tfrecord_append(&writer, record.data, record.size), TD_OK);
        td_text_destroy(&record);
    }
    cr_assert_eq(td_tfrecord_append(&writer, "\x0b", 1), TD_OK);
    cr_assert_eq(td_tfrecord_commit(&writer), TD_OK, "%s", td_error());
    char *text = output(td_verb_data_stat, NULL);
    expect_row(text, "often ",
               "         8  100.0 %        22     1 to 3      176 B  1, 1.95455, 3");
    expect_row(text, "rare ", "         1   12.5 %         1          1        8 B  1, 1, 1");
    td_free(text);
}
