/* SPDX-License-Identifier: Apache-2.0
 * Ways to come to the same result: chains of operations, each run by the whole team, a barrier
 * between them. A case runs one way; others are timed in alternation with it, and their ratios are
 * numbers of its record.
 */
#ifndef TD_BENCH_WAYS_H
#define TD_BENCH_WAYS_H

#include "bench/case.h"
#include "bench/ceiling.h"
#include "kernels/kernel.h"

typedef struct td_way_op {
    td_op_id op;
    const void *args;
} td_way_op;

typedef struct td_way {
    const char *name;
    int64_t n;
    const td_way_op *ops;
} td_way;

/* Scratch that one worker needs for any operation of the way. */
int64_t td_way_scratch(const td_way *way);
double td_way_flops(const td_way *way);
double td_way_bytes(const td_way *way);

/* By every worker of a team: one operation by `run`, a row of it; workers take over tiles. */
void td_op_region(td_op_id op, td_kernel_fn *run, const void *args, td_worker *worker);

/* By every worker of a team: the whole way, without a barrier behind it. */
void td_way_region(const td_way *way, td_worker *worker);

/* Nanoseconds of one of `repeat` runs. */
double td_way_time(td_team *team, const td_way *way, int64_t repeat);

/* Nanoseconds of so many operations at a peak of arithmetic, all workers of the team at it. */
double td_roof_time(td_team *team, td_peak_kind kind, td_isa isa, int workers, double flops);

/* Numbers of the record: the median of n >= 1 samples, which it sorts, and `name`_low and _high,
 * which hold it with a confidence of 95 %. */
void td_outcome_median(td_outcome *out, const char *name, double *samples, int64_t n);

/* share_beside of the record, with its bounds: the median share of the FMA peak, a
 * companion, over the samples beside which nothing disturbed it: before and behind within 5 % of
 * its fastest; over all samples where those are fewer than five. share_kept: of all samples,
 * these. */
void td_roof_compare(td_outcome *out, int companion);

/* A companion that is another way: the name of its numbers. */
int td_way_beside(td_bench *bench, const td_way *way);

/* The median, with its bounds, from a companion's samples and ours beside them. over: ours / its
 * - 1, the share that we cost more; else its / ours, how many times faster we are. Without samples:
 * none. */
void td_way_compare(td_outcome *out, int companion, bool over, const char *name);

/* times_<library> of each companion in [first, end) that was timed: its time over ours, median over
 * the samples; and times_best, with its bounds, of the one that this leaves the fastest. */
void td_libraries_compare(td_outcome *out, int first, int end);

#endif
