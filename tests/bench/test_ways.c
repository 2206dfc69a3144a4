/* SPDX-License-Identifier: Apache-2.0
 * Ratios of companions in a record: medians of what was timed side by side, and their bounds.
 */
#include <criterion/criterion.h>

#include <stdio.h>

#include "base/memory.h"
#include "bench/stats.h"
#include "bench/ways.h"

enum { SAMPLES = 9 };

/* Samples of 2 ns but for the last, in which all are disturbed: ten times as long. */
static td_outcome *outcome(void) {
    td_outcome *o = td_alloc_zero(sizeof *o);
    cr_assert_not_null(o);
    for (o->n_samples = 0; o->n_samples < SAMPLES; o->n_samples++) {
        o->samples_ns[o->n_samples] = o->n_samples == SAMPLES - 1 ? 20 : 2;
    }
    return o;
}

/* Its time over ours, sample by sample: `times` and i % of it more in sample i, backwards. */
static void add(td_outcome *o, const char *name, double times, int64_t n) {
    td_companion *c = &o->companions[o->n_companions++];
    snprintf(c->name, sizeof c->name, "%s", name);
    c->n = n;
    for (int64_t i = 0; i < n; i++) {
        c->samples_ns[i] = o->samples_ns[i] * times * (1 + 0.01 * (double)(n - 1 - i));
    }
}

static double number(const td_outcome *o, const char *name) {
    return td_outcome_number_of(o, name);
}

Test(ways, the_fastest_library_has_bounds) {
    td_outcome *o = outcome();
    int64_t rank;
    add(o, "peak", 0.5, SAMPLES);
    add(o, "fast", 1.5, SAMPLES);
    add(o, "slow", 3, SAMPLES);
    add(o, "none", 1, 0);
    add(o, "another way", 1, SAMPLES);
    td_libraries_compare(o, 1, 4);
    cr_assert_float_eq(number(o, "times_slow"), 3 * 1.04, 1e-12);
    cr_assert_float_eq(number(o, "times_fast"), 1.5 * 1.04, 1e-12);
    cr_assert_float_eq(number(o, "times_best"), 1.5 * 1.04, 1e-12);
    cr_assert_geq(td_stats_median_interval(SAMPLES, &rank), 0.95);
    cr_assert_float_eq(number(o, "times_best_low"), 1.5 * (1 + 0.01 * (double)rank), 1e-12);
    cr_assert_float_eq(number(o, "times_best_high"),
                       1.5 * (1 + 0.01 * (double)(SAMPLES - 1 - rank)), 1e-12);
    cr_assert_eq(o->n_numbers, 5, "nothing of what is no library, nor of one without samples");
    td_free(o);
}

Test(ways, without_a_library_there_is_no_best) {
    td_outcome *o = outcome();
    add(o, "none", 1, 0);
    td_libraries_compare(o, 0, 1);
    cr_assert_eq(o->n_numbers, 0);
    td_free(o);
}

Test(ways, a_cost_is_the_share_that_ours_takes_more) {
    td_outcome *o = outcome();
    add(o, "plain", 0.5, SAMPLES);
    td_way_compare(o, 0, true, "over");
    cr_assert_float_eq(number(o, "over"), 2 / 1.04 - 1, 1e-12);
    cr_assert(number(o, "over_low") < number(o, "over") &&
              number(o, "over") < number(o, "over_high"));
    td_free(o);
}

Test(ways, disturbed_samples_of_the_peak_do_not_count) {
    td_outcome *o = outcome();
    add(o, "roof", 0.5, SAMPLES);
    td_roof_compare(o, 0);
    /* Of nine, the first has none before it, the last was disturbed; the fastest is the last but
     * one, and those within 5 % of it are six. */
    cr_assert_float_eq(number(o, "share_kept"), 5 / 9.0, 1e-12);
    cr_assert_float_eq(number(o, "share_beside"), 0.5 * 1.035, 1e-12);
    cr_assert(number(o, "share_beside_low") < number(o, "share_beside"));
    td_free(o);
}
