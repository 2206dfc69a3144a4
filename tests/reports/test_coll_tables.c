/* SPDX-License-Identifier: Apache-2.0
 * Against text as the benchmarks themselves print it, and read back the way their parsers do.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "reports/coll_tables.h"

/* Two sizes in place, one of them also out of place, and a library beside it; one that failed. */
static const char *const lines[] = {
    "{\"schema\":1,\"case\":\"coll/allreduce/tree/f32-4KiB-written\",\"layout\":\"p2xt1:process\","
    "\"provider\":\"tandem\",\"status\":\"ok\",\"value\":4.096,\"unit\":\"GB/s\",\"time_ns\":"
    "{\"min\":900,\"p50\":1000,\"p95\":1500,\"p99\":1800,\"max\":2500,\"n\":5},\"samples_ns\":"
    "[1000,900,1000,1500,2500],\"bytes\":4096,\"message_bytes\":4096,\"busbw\":4.096}",
    "{\"schema\":1,\"case\":\"coll/allreduce/tree/f32-1KiB-written\",\"layout\":\"p2xt1:process\","
    "\"provider\":\"tandem\",\"status\":\"ok\",\"value\":2.048,\"unit\":\"GB/s\",\"time_ns\":"
    "{\"min\":400,\"p50\":500,\"p95\":500,\"p99\":500,\"max\":600,\"n\":2},\"samples_ns\":[400,600]"
    ","
    "\"bytes\":1024,\"message_bytes\":1024,\"busbw\":2.048}",
    "{\"schema\":1,\"case\":\"coll/allreduce/tree/f32-4KiB-written-apart\",\"layout\":"
    "\"p2xt1:process\",\"provider\":\"tandem\",\"status\":\"ok\",\"value\":2.048,\"unit\":\"GB/s\","
    "\"time_ns\":{\"min\":2000,\"p50\":2000,\"p95\":2000,\"p99\":2000,\"max\":2000,\"n\":1},"
    "\"samples_ns\":[2000],\"bytes\":4096,\"message_bytes\":4096,\"busbw\":2.048}",
    "{\"schema\":1,\"case\":\"coll/allreduce/tree/f32-4KiB-written\",\"layout\":\"p2xt1:process\","
    "\"provider\":\"mpi-openmpi\",\"status\":\"ok\",\"value\":1.024,\"unit\":\"GB/s\",\"time_ns\":"
    "{\"min\":4000,\"p50\":4000,\"p95\":4000,\"p99\":4000,\"max\":4000,\"n\":1},\"samples_ns\":["
    "4000],"
    "\"bytes\":4096,\"message_bytes\":4096,\"busbw\":1.024}",
    "{\"schema\":1,\"case\":\"coll/allreduce/ring/f32-4KiB\",\"layout\":\"p2xt1:process\","
    "\"provider\":\"tandem\",\"status\":\"failed\",\"reason\":\"wrong\"}",
};

static char *print(const char *format, td_text *out) {
    json_t *records = json_array();
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        json_t *line = json_loads(lines[i], 0, NULL);
        cr_assert_not_null(line, "line %zu", i);
        json_array_append_new(records, line);
    }
    td_record_set set = {NULL, records};
    td_facts facts;
    cr_assert_eq(td_facts_create(&set, &facts), TD_OK, "%s", td_error());
    td_status status = td_coll_tables(&facts, format, out);
    cr_assert_eq(status, TD_OK, "%s", td_error());
    td_facts_destroy(&facts);
    json_decref(records);
    return out->data;
}

static void expect_in(const char *text, const char *part) {
    cr_expect_not_null(strstr(text, part), "no \"%s\" in\n%s", part, text);
}

Test(coll_tables, as_nccl_tests_print) {
    td_text out = {0};
    char *text = print("nccl", &out);
    expect_in(text,
              "#       size         count      type   redop    root     time   algbw   busbw #wrong"
              "     time   algbw   busbw #wrong\n"
              "#        (B)    (elements)                              (us)  (GB/s)  (GB/s)       "
              "     (us)  (GB/s)  (GB/s)\n"
              "        1024           256     float     sum      -1      N/A     N/A     N/A    N/A"
              "     0.50    2.05    2.05      0\n"
              "        4096          1024     float     sum      -1     2.00    2.05    2.05      0"
              "     1.00    4.10    4.10      0\n"
              "# Out of bounds values : 0 OK\n"
              "# Avg bus bandwidth    : 2.73067\n");
    /* A parser splits a row at blanks: thirteen fields, the in-place bus bandwidth the second last.
     */
    const char *row = strstr(strstr(text, "process, tandem"), "\n        4096");
    double size, count, apart, apart_bus, here, here_bus;
    int root, wrong[2],
        fields = sscanf(row ? row : "", "%lf %lf float sum %d %lf %*f %lf %d %lf %*f %lf %d", &size,
                        &count, &root, &apart, &apart_bus, &wrong[0], &here, &here_bus, &wrong[1]);
    cr_expect_eq(fields, 9);
    cr_expect(size == 4096 && count == 1024 && apart == 2 && here == 1 && here_bus == 4.1);
    expect_in(text, "# allreduce/tree, p2xt1:process, mpi-openmpi, written, medians");
    td_text_destroy(&out);
}

Test(coll_tables, as_the_osu_benchmarks_print) {
    td_text out = {0};
    char *text = print("osu", &out);
    expect_in(text, "\n# OSU MPI Allreduce Latency Test v7.0\n");
    expect_in(text,
              "# Size       Avg Latency(us)   Min Latency(us)   Max Latency(us)  Iterations\n"
              "1024                    0.50              0.40              0.60           2\n"
              "4096                    1.00              0.90              2.50           5\n");
    td_text_destroy(&out);
}

Test(coll_tables, as_imb_prints) {
    td_text out = {0};
    char *text = print("imb", &out);
    expect_in(text, "# Benchmarking Allreduce \n# #processes = 2 \n#---");
    expect_in(text, "       #bytes #repetitions  t_min[usec]  t_max[usec]  t_avg[usec]\n"
                    "         1024            2         0.40         0.60         0.50\n"
                    "         4096            5         0.90         2.50         1.00\n");
    td_text_destroy(&out);
}

Test(coll_tables, with_every_column) {
    td_text csv = {0}, out = {0};
    char *text = print("csv", &csv);
    expect_in(text,
              "allreduce,tree,tandem,p2xt1:process,f32,written,out-of-place,4096,1024,1,2,2,2,"
              "2,2,2.048,2.048\n");
    expect_in(text, "allreduce,tree,mpi-openmpi,p2xt1:process,f32,written,in-place,4096,");
    json_t *list = json_loads(print("json", &out), 0, NULL);
    cr_assert_eq(json_array_size(list), 4);
    json_t *last = json_array_get(list, 3);
    cr_expect_str_eq(json_string_value(json_object_get(last, "provider")), "tandem");
    cr_expect_eq(json_integer_value(json_object_get(last, "bytes")), 4096);
    cr_expect_eq(json_number_value(json_object_get(last, "p99_us")), 1.8);
    cr_expect(json_is_true(json_object_get(last, "in_place")));
    json_decref(list);
    td_text_destroy(&csv);
    td_text_destroy(&out);
}

Test(coll_tables, other_formats_and_no_records_are_refused) {
    td_facts none = {0};
    td_text out = {0};
    cr_expect_eq(td_coll_tables(&none, "xml", &out), TD_EUSAGE);
    expect_in(td_error(), "nccl|osu|imb|csv|json");
    cr_expect_eq(td_coll_tables(&none, "ncc", &out), TD_EUSAGE);
    cr_expect_eq(td_coll_tables(&none, "osu", &out), TD_EUSAGE);
    expect_in(td_error(), "no collective was measured");
    td_text_destroy(&out);
}
