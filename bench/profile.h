/* SPDX-License-Identifier: Apache-2.0
 * What a step is made of: a table of its operations against their roofs, a timeline of every
 * worker, and the time that a step should take by this run's ceilings alone.
 */
#ifndef TD_BENCH_PROFILE_H
#define TD_BENCH_PROFILE_H

#include <stdio.h>

#include "bench/case.h"
#include "bench/ceiling.h"

/* Rates of this machine that a prediction is made of. */
typedef struct td_profile_rates {
    double products[TD_PRECISION_COUNT]; /* GFLOP/s of all workers: peaks of arithmetic */
    double bandwidth;                    /* GB/s of memory, all workers */
    double clock_ghz;
    int workers, ranks;
} td_profile_rates;

/* The model, in nanoseconds: products at 92 % of the f32 peak or 86 % of a bf16 one, attention at
 * 55 % of the f32 peak, activations at 1.7 cycles an element, everything else at the bandwidth of
 * memory. Its constants are of no machine; waiting and the loader are not in it. */
double td_profile_model(const td_outcome *outcome, const td_profile_rates *rates);

/* The model with the ceilings of this run. */
td_status td_profile_predict(const td_outcome *outcome, const td_layout *layout, double *ns);

/* One line an operation, the longest first: time of the slowest worker, wait, rates, and the share
 * of the roof that binds it, of arithmetic or of memory at the size of its traffic. */
td_status td_profile_print(FILE *out, const td_case *subject, const td_layout *layout,
                           const td_outcome *outcome);

/* DIRECTORY/<case>-<layout>.trace.json, slashes and colons as dashes: Chrome's trace events, a
 * process a rank, a thread a worker, microseconds from the first op of the last step. */
td_status td_profile_write_trace(const char *directory, const td_case *subject,
                                 const td_layout *layout, const td_outcome *outcome);

#endif
