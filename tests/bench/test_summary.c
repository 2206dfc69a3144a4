/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "bench/summary.h"
#include "kernels/kernel.h"

static void add(td_summaries *sums, const char *text, double times, double share) {
    td_outcome *o = td_alloc_zero(sizeof *o);
    td_layout layout;
    cr_assert_not_null(o);
    td_outcome_number(o, "times_best", times);
    td_outcome_number(o, "times_best_low", 0.96 * times);
    td_outcome_number(o, "share_beside", share);
    td_outcome_number(o, "share_beside_low", 0.9 * share);
    cr_assert_eq(td_layout_parse(text, &layout), TD_OK);
    td_summaries_add(sums, &layout, o);
    td_free(o);
}

Test(summary, layouts_have_their_own_geometric_means) {
    td_summaries sums = {0};
    add(&sums, "p1xt1", 2.0, 0.8);
    add(&sums, "p1xt1", 0.5, 0.2);
    add(&sums, "p1xt2", 0.93, 0.9);
    add(&sums, "p1xt2", 0, 0); /* no library there, no peak */
    cr_assert_eq(sums.count, 2);
    const td_summary *one = &sums.at[0], *two = &sums.at[1];
    cr_assert_str_eq(one->layout, "p1xt1");
    cr_assert(one->times.n == 2 && one->slower == 1 && one->share.n == 2);
    cr_assert_float_eq(one->times.logs, 0, 1e-15, "2 and a half");
    cr_assert_float_eq(one->times.squares, 2 * log(0.96) * log(0.96), 1e-15);
    cr_assert_float_eq(one->share.squares, 2 * log(0.9) * log(0.9), 1e-15);
    cr_assert_eq(one->times.least, 0.5);
    cr_assert_eq(one->share.least, 0.2);
    cr_assert_eq(one->perhaps_slower, 1);
    cr_assert_str_eq(two->layout, "p1xt2");
    cr_assert(two->times.n == 1 && two->share.n == 1);
    cr_assert(two->slower == 0 && two->perhaps_slower == 1, "0.93 is not slower, its bound is");
}

Test(summary, a_record_of_each_layout_that_was_compared) {
    char path[] = "/tmp/tandem-summary-XXXXXX";
    td_summaries sums = {0};
    add(&sums, "p1xt1", 2.0, 0); /* no share of a peak: the record says nothing of it */
    add(&sums, "p1xt1", 0.5, 0);
    add(&sums, "p1xt2", 0, 0.7);
    cr_assert_eq(td_kernels_select(TD_ISA_PORTABLE), TD_OK);
    int file = mkstemp(path);
    cr_assert_geq(file, 0);
    close(file);
    td_record_writer *writer;
    json_t *machine = json_object(), *run = json_object();
    cr_assert_eq(td_record_open(path, machine, run, &writer), TD_OK, "%s", td_error());
    cr_assert_eq(td_summaries_write(&sums, writer), TD_OK, "%s", td_error());
    cr_assert_eq(td_record_close(writer), TD_OK);
    char *text;
    size_t size;
    cr_assert_eq(td_file_read(path, &text, &size), TD_OK);
    unlink(path);
    char *record = strchr(text, '\n') + 1;
    *strchr(record, '\n') = '\0';
    json_t *json = json_loads(record, 0, NULL);
    cr_assert_not_null(json);
    cr_assert_str_eq(json_string_value(json_object_get(json, "layout")), "p1xt1");
    cr_assert_float_eq(json_number_value(json_object_get(json, "value")), 1, 1e-9);
    cr_assert_float_eq(json_number_value(json_object_get(json, "low")), pow(0.96, sqrt(2) / 2),
                       1e-9);
    cr_assert_eq(json_integer_value(json_object_get(json, "below_0_92")), 1);
    cr_assert_eq(json_integer_value(json_object_get(json, "low_below_0_92")), 1);
    cr_assert_null(json_object_get(json, "of_roof"));
    cr_assert_eq(record[strlen(record) + 1], '\0', "p1xt2 had nothing to compare");
    json_decref(json);
    json_decref(machine);
    json_decref(run);
    td_free(text);
}
