/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "reports/record.h"

static char directory[] = "/tmp/tandem-record-XXXXXX";
static char path[64];

static void make_directory(void) {
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/records.jsonl", directory);
}

static const double samples[] = {40, 10, 30, 20, 50};

static td_record example(void) {
    static const td_ceiling ceilings[] = {{"fma_f32", 200, "GFLOP/s", NULL},
                                          {"read", 40, "GB/s", NULL}};
    return (td_record){.case_id = "kernel/gemm_f32/avx2/m1-n1-k1",
                       .layout = "p1xt2",
                       .provider = "tandem",
                       .status = "ok",
                       .value = 150,
                       .unit = "GFLOP/s",
                       .samples_ns = samples,
                       .n_samples = 5,
                       .flops = 6,
                       .ceilings = ceilings,
                       .n_ceilings = 2,
                       .check_ok = true,
                       .check_method = "memcmp:portable",
                       .max_ulp = -1,
                       .steal_pct = NAN,
                       .command = "tandem bench 'x'"};
}

static void write_two(void) {
    td_record_writer *writer;
    json_t *machine = json_pack("{s:s}", "title", "box"), *run = json_object();
    cr_assert_eq(td_record_open(path, machine, run, &writer), TD_OK);
    td_record record = example();
    cr_assert_eq(td_record_write(writer, &record), TD_OK);
    cr_assert_eq(td_record_close(writer), TD_OK);
    cr_assert_eq(td_record_open(path, machine, run, &writer), TD_OK, "appending writes no header");
    cr_assert_eq(td_record_write(writer, &record), TD_OK);
    cr_assert_eq(td_record_close(writer), TD_OK);
    json_decref(machine);
    json_decref(run);
}

/* A ceiling that was disturbed carries the reason, and no share of a value above it. */
Test(record, a_disturbed_ceiling_is_marked, .init = make_directory) {
    const td_ceiling ceilings[] = {{"fma_f32", 200, "GFLOP/s", "a neighbour"},
                                   {"dot_bf16", 100, "GFLOP/s", "a neighbour"},
                                   {"read", 100, "GFLOP/s", NULL}};
    td_record record = example();
    record.ceilings = ceilings;
    record.n_ceilings = 3;
    td_record_writer *writer;
    json_t *machine = json_object(), *run = json_object();
    cr_assert_eq(td_record_open(path, machine, run, &writer), TD_OK);
    cr_assert_eq(td_record_write(writer, &record), TD_OK);
    cr_assert_eq(td_record_close(writer), TD_OK);
    td_record_set set;
    char *warning;
    cr_assert_eq(td_record_read(path, &set, &warning), TD_OK);
    json_t *all = json_object_get(json_array_get(set.records, 0), "ceilings");
    json_t *below = json_array_get(all, 0), *above = json_array_get(all, 1);
    cr_assert_str_eq(json_string_value(json_object_get(below, "disturbed")), "a neighbour");
    cr_assert_eq(json_number_value(json_object_get(below, "share")), 0.75);
    cr_assert_null(json_object_get(above, "share"));
    cr_assert_null(json_object_get(json_array_get(all, 2), "disturbed"));
    cr_assert_eq(json_number_value(json_object_get(json_array_get(all, 2), "share")), 1.5);
    td_record_set_free(&set);
    json_decref(machine);
    json_decref(run);
}

Test(record, round_trip_with_statistics, .init = make_directory) {
    write_two();
    td_record_set set;
    char *warning;
    cr_assert_eq(td_record_read(path, &set, &warning), TD_OK);
    cr_assert_null(warning);
    cr_assert_eq(json_array_size(set.records), 2);
    cr_assert_str_eq(
        json_string_value(json_object_get(json_object_get(set.header, "machine"), "title")), "box");
    json_t *row = json_array_get(set.records, 1), *times = json_object_get(row, "time_ns");
    cr_assert_eq(json_number_value(json_object_get(times, "min")), 10);
    cr_assert_eq(json_number_value(json_object_get(times, "p50")), 30);
    cr_assert_eq(json_number_value(json_object_get(times, "max")), 50);
    cr_assert_eq(json_number_value(json_object_get(times, "mad")), 10);
    cr_assert_float_eq(json_number_value(json_object_get(times, "p95")), 48, 1e-9);
    cr_assert_eq(json_number_value(json_array_get(json_object_get(row, "samples_ns"), 0)), 40,
                 "raw samples keep their order");
    json_t *ceilings = json_object_get(row, "ceilings");
    cr_assert_eq(json_number_value(json_object_get(json_array_get(ceilings, 0), "share")), 0.75);
    cr_assert_null(json_object_get(json_array_get(ceilings, 1), "share"), "units differ");
    cr_assert(json_is_null(json_object_get(json_object_get(row, "noise"), "steal_pct")),
              "NaN is null");
    td_record_set_free(&set);
}

Test(record, a_cut_last_line_is_dropped_with_a_warning, .init = make_directory) {
    write_two();
    char *data, *warning;
    size_t size;
    cr_assert_eq(td_file_read(path, &data, &size), TD_OK);
    cr_assert_eq(td_file_write(path, data, size - 40), TD_OK);
    td_free(data);
    td_record_set set;
    cr_assert_eq(td_record_read(path, &set, &warning), TD_OK);
    cr_assert_not_null(warning);
    cr_assert_eq(json_array_size(set.records), 1);
    td_free(warning);
    td_record_set_free(&set);
}

Test(record, bad_files_name_line_and_reason, .init = make_directory) {
    static const char *const rows[][2] = {
        {"", "no records"},
        {"{\"schema\": 1, \"case\": \"a\"}\n", "line 1: expected the header"},
        {"{\"schema\": 2}\n", "schema 2; expected 1"},
        {"{\"schema\": 1}\n{\"schema\": 1}\n", "line 2: expected a record"},
        {"{\"schema\": 1}\n{\"schema\": 1, \"case\"\n", "line 2, column"},
        {"{\"schema\": 1}\n\n", "line 2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_assert_eq(td_file_write(path, rows[i][0], strlen(rows[i][0])), TD_OK);
        td_record_set set;
        char *warning;
        cr_assert_eq(td_record_read(path, &set, &warning), TD_EINPUT, "row %zu", i);
        cr_assert_neq(strstr(td_error(), rows[i][1]), NULL, "%s", td_error());
        cr_assert_neq(strstr(td_error(), path), NULL);
    }
}

Test(record, text_that_is_not_utf8_is_left_out, .init = make_directory) {
    write_two();
    td_record_writer *writer;
    cr_assert_eq(td_record_open(path, NULL, NULL, &writer), TD_OK);
    td_record record = example();
    record.reason = "\xff\xfe";
    cr_assert_eq(td_record_write(writer, &record), TD_OK, "a bad text is left out");
    cr_assert_eq(td_record_close(writer), TD_OK);
    td_record_set set;
    char *warning;
    cr_assert_eq(td_record_read(path, &set, &warning), TD_OK);
    cr_assert_null(json_object_get(json_array_get(set.records, 2), "reason"));
    td_record_set_free(&set);
}
