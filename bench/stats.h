/* SPDX-License-Identifier: Apache-2.0
 * Robust statistics of samples: order statistics only, nothing that one slow sample can move far.
 */
#ifndef TD_BENCH_STATS_H
#define TD_BENCH_STATS_H

#include <stdint.h>

#include "base/status.h"

typedef struct td_stats {
    int64_t n;
    double min, p50, p95, p99, max;
    double mad;        /* median distance from the median */
    double low, high;  /* order statistics that hold the median with `confidence` */
    double confidence; /* at least 0.95 from six samples on; the widest possible below */
} td_stats;

/* samples: n >= 1, left as they are. */
td_status td_stats_compute(const double *samples, int64_t n, td_stats *out);

/* Of n >= 1 samples, which it sorts. */
double td_stats_median(double *samples, int64_t n);

/* Of n >= 1 samples, left as they are; NaN when memory runs out. */
double td_stats_median_of(const double *samples, int64_t n);

/* The 0-based ranks i and n - 1 - i of the narrowest interval of order statistics that holds the
 * median of any continuous distribution with probability at least 0.95, from the binomial
 * distribution; i = 0 when none does. Returns the probability. */
double td_stats_median_interval(int64_t n, int64_t *i);

#endif
