/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear interpolation between order statistics. */
static double quantile(const double *sorted, int64_t n, double q) {
    double at = q * (double)(n - 1);
    int64_t below = (int64_t)at;
    double weight = at - (double)below;
    return weight == 0 ? sorted[below] : sorted[below] * (1 - weight) + sorted[below + 1] * weight;
}

double td_stats_median(double *samples, int64_t n) {
    qsort(samples, (size_t)n, sizeof *samples, compare_doubles);
    return quantile(samples, n, 0.5);
}

double td_stats_median_of(const double *samples, int64_t n) {
    double *copy = td_alloc((size_t)n * sizeof *copy), median = NAN;
    if (copy != NULL) {
        memcpy(copy, samples, (size_t)n * sizeof *copy);
        median = td_stats_median(copy, n);
    }
    td_free(copy);
    return median;
}

double td_stats_median_interval(int64_t n, int64_t *i) {
    /* The median lies outside [x(i), x(n-1-i)] when at most i samples are below it, or at most i
     * above: twice the lower tail of a fair binomial. Terms by their logarithm: 2^-n underflows. */
    double tail = 0, outside = 0;
    *i = 0;
    for (int64_t k = 0; 2 * k < n - 1; k++) {
        double term = lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma((double)(n - k) + 1) -
                      (double)n * log(2);
        tail += exp(term);
        if (k > 0 && 2 * tail > 0.05) {
            break;
        }
        outside = 2 * tail;
        *i = k;
    }
    return 1 - outside;
}

td_status td_stats_compute(const double *samples, int64_t n, td_stats *out) {
    TD_ASSERT(n >= 1);
    double *sorted = td_alloc((size_t)n * sizeof *sorted);
    if (!sorted) {
        return td_fail(TD_ENOMEM, "statistics of %lld samples", (long long)n);
    }
    memcpy(sorted, samples, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_doubles);
    td_stats stats = {.n = n,
                      .min = sorted[0],
                      .p50 = quantile(sorted, n, 0.50),
                      .p95 = quantile(sorted, n, 0.95),
                      .p99 = quantile(sorted, n, 0.99),
                      .max = sorted[n - 1]};
    int64_t i;
    stats.confidence = n > 1 ? td_stats_median_interval(n, &i) : 0;
    stats.low = n > 1 ? sorted[i] : sorted[0];
    stats.high = n > 1 ? sorted[n - 1 - i] : sorted[0];
    for (int64_t s = 0; s < n; s++) {
        sorted[s] = fabs(samples[s] - stats.p50);
    }
    qsort(sorted, (size_t)n, sizeof *sorted, compare_doubles);
    stats.mad = quantile(sorted, n, 0.5);
    td_free(sorted);
    *out = stats;
    return TD_OK;
}
