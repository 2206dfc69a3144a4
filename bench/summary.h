/* SPDX-License-Identifier: Apache-2.0
 * What the shapes of the linear layers came to on each layout: against the fastest library for
 * each, and against the peak. A geometric mean has a lower bound of its own: the distances of the
 * medians from theirs, as logarithms, are added as independent ones are, in squares.
 */
#ifndef TD_BENCH_SUMMARY_H
#define TD_BENCH_SUMMARY_H

#include "bench/case.h"
#include "reports/record.h"
#include "threads/layout.h"

typedef struct td_figures {
    int64_t n;
    double logs,
        squares; /* sums: of logarithms, and of squares of their distances from the bounds */
    double least;
} td_figures;

typedef struct td_summary {
    char layout[TD_LAYOUT_TEXT];
    td_figures times, share;
    int64_t slower, perhaps_slower; /* below 0.92 of the library: the median; its lower bound */
} td_summary;

enum { TD_MAX_SUMMARIES = 16 };
typedef struct td_summaries {
    td_summary at[TD_MAX_SUMMARIES]; /* layouts past these are not summed up */
    int count;
} td_summaries;

/* Adds the outcome of a shape. */
void td_summaries_add(td_summaries *sums, const td_layout *layout, const td_outcome *outcome);

/* A record of each layout with a shape that was compared. */
td_status td_summaries_write(const td_summaries *sums, td_record_writer *writer);

void td_summaries_print(const td_summaries *sums);

#endif
