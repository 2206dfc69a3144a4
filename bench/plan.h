/* SPDX-License-Identifier: Apache-2.0
 * What a run will measure: cases times layouts, chosen by suite, pattern and Google Benchmark's
 * filter.
 */
#ifndef TD_BENCH_PLAN_H
#define TD_BENCH_PLAN_H

#include "bench/case.h"

typedef struct td_item {
    const td_case *subject;
    td_layout layout;
    char name[TD_CASE_ID + TD_LAYOUT_TEXT + TD_CASE_PROVIDER]; /* case, layout, library */
    bool selected;                                             /* by Google Benchmark's filter */
} td_item;

typedef struct td_run_plan {
    td_case_list cases;
    td_item *items;
    int64_t n_items;
} td_run_plan;

/* glob: NULL for all. suite: "quick", "full", or NULL: quick for patterns with wildcards, any case
 * for one that names it. layouts: comma-separated, or NULL: one worker, all workers, and as many
 * ranks as threads and as processes. Nothing that matches is TD_EUSAGE. Kernels must have been
 * selected. */
td_status td_run_plan_create(const char *glob, const char *suite, const char *layouts,
                             const td_topology *topology, td_run_plan *out);
void td_run_plan_destroy(td_run_plan *plan);

/* The default layouts of a machine, comma-separated. */
void td_default_layouts(const td_topology *topology, char *text, size_t bytes);

#endif
