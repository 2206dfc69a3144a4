/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <math.h>

#include "bench/stats.h"

#define CLOSE(got, want) cr_assert(fabs((got) - (want)) <= 1e-12 * (1 + fabs(want)), "%.17g", (got))

Test(stats, order_statistics_of_known_samples) {
    /* Deliberately unsorted; quantiles interpolate between neighbours at q * (n - 1). */
    const double samples[] = {9, 1, 8, 2, 7, 3, 6, 4, 5, 100};
    td_stats s;
    cr_assert_eq(td_stats_compute(samples, 10, &s), TD_OK);
    CLOSE(s.min, 1.0);
    CLOSE(s.max, 100.0);
    CLOSE(s.p50, 5.5);
    CLOSE(s.p95, 9 + 0.55 * 91);
    CLOSE(s.mad, 2.5);
    cr_assert_eq(samples[0], 9, "the samples stay as they were");
}

Test(stats, median_alone) {
    double even[] = {9, 1, 8, 2}, odd[] = {3, 1, 2};
    CLOSE(td_stats_median(even, 4), 5.0);
    CLOSE(td_stats_median(odd, 3), 2.0);
}

Test(stats, one_sample_is_everything) {
    const double one = 7;
    td_stats s;
    cr_assert_eq(td_stats_compute(&one, 1, &s), TD_OK);
    CLOSE(s.min, 7.0);
    CLOSE(s.p99, 7.0);
    CLOSE(s.mad, 0.0);
    CLOSE(s.low, 7.0);
    CLOSE(s.high, 7.0);
    CLOSE(s.confidence, 0.0);
}

/* From the table of the sign test: the ranks that bracket the median with at least 95 %, 1-based
 * lower rank k, and the exact coverage 1 - 2 * sum_{i<k} C(n, i) / 2^n. */
Test(stats, interval_of_the_median_is_the_binomial_one) {
    static const struct {
        int64_t n, lower_rank;
        double coverage;
    } table[] = {{2, 1, 0.5},
                 {5, 1, 0.9375},
                 {6, 1, 0.96875},
                 {8, 1, 0.9921875},
                 {9, 2, 0.9609375},
                 {10, 2, 0.978515625},
                 {20, 6, 0.9586105346679688},
                 {30, 10, 0.957226054742932}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        int64_t rank;
        double coverage = td_stats_median_interval(table[i].n, &rank);
        cr_assert_eq(rank + 1, table[i].lower_rank, "n = %ld: rank %ld", (long)table[i].n,
                     (long)rank + 1);
        cr_assert(fabs(coverage - table[i].coverage) <= 1e-9, "n = %ld: %.12g", (long)table[i].n,
                  coverage);
    }
}

Test(stats, interval_survives_many_samples) {
    /* 2^-2000 underflows; the normal approximation gives ranks n/2 -+ 0.98 sqrt(n). */
    int64_t rank;
    double coverage = td_stats_median_interval(2000, &rank);
    cr_assert(coverage >= 0.95 && coverage < 0.96, "%.12g", coverage);
    cr_assert(llabs(rank - (int64_t)(1000 - 0.98 * sqrt(2000))) <= 1, "%ld", (long)rank);
}
