/* SPDX-License-Identifier: Apache-2.0
 * What a step is made of: a table of its operations against their roofs, a timeline of every
 * worker, and the time that a step should take by this run's ceilings alone.
 */
#ifndef TD_BENCH_PROFILE_H
#define TD_BENCH_PROFILE_H

#include <stdio.h>

#include "bench/case.h"
#include "bench/ceiling.h"

/* What a prediction is made of beside the rates in the outcome. */
typedef struct td_profile_rates {
    double products[TD_PRECISION_COUNT]; /* GFLOP/s of all workers: peaks of arithmetic */
    double bandwidth;                    /* GB/s of memory, all workers */
    int workers, ranks;
} td_profile_rates;

/* The model, in nanoseconds: products and attention at the rate that each reaches alone, everything
 * else at the bandwidth of memory, and a barrier a phase. It holds no constant; waiting, the loader
 * and what ops do to each other's caches are not in it. */
double td_profile_model(const td_outcome *outcome, const td_profile_rates *rates);

/* The model with the ceilings of this run. */
td_status td_profile_predict(const td_outcome *outcome, const td_layout *layout, double *ns);

/* One line an operation, the longest first: time of the slowest worker, wait, rates, and the share
 * of the roof that binds it, of arithmetic or of memory at the size of its traffic. Then the parts
 * of a step. */
td_status td_profile_print(FILE *out, const td_case *subject, const td_layout *layout,
                           const td_outcome *outcome);

/* DIRECTORY/<case>-<layout>.trace.json, slashes and colons as dashes: Chrome's trace events, a
 * process a rank, a thread a worker, microseconds from the first op of the last step. */
td_status td_profile_write_trace(const char *directory, const td_case *subject,
                                 const td_layout *layout, const td_outcome *outcome);

#endif
