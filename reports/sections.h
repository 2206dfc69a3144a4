/* SPDX-License-Identifier: Apache-2.0
 * The sections of the report. Each reads facts and leaves a sentence, charts as data, tables and
 * the command that repeats it; a section without facts leaves an empty sentence and is not shown.
 */
#ifndef TD_REPORTS_SECTIONS_H
#define TD_REPORTS_SECTIONS_H

#include "reports/facts.h"
#include "reports/table.h"

enum { TD_SECTION_TABLES = 4 };

typedef struct td_section {
    const char *id, *title;
    td_text lead, command;
    td_text drawing; /* HTML, shown after the sentence */
    json_t *charts; /* array of chart objects as page.js reads them */
    td_table tables[TD_SECTION_TABLES];
    int n_tables;
} td_section;

typedef void td_section_fn(const td_facts *facts, td_section *section);

td_section_fn td_section_machine, td_section_training, td_section_anatomy, td_section_kernels;
td_section_fn td_section_collectives, td_section_threads, td_section_data, td_section_noise;
td_section_fn td_section_losses, td_section_recipes, td_section_inference;

void td_section_destroy(td_section *section);

td_table *td_section_table(td_section *section, const char *caption, const char *const *columns);

/* kind: "bar", "stack" (categories on x), "line" or "scatter". A log axis says so in its label. */
json_t *td_chart_add(td_section *section, const char *kind, const char *title, const char *x,
                     bool x_log, const char *y, bool y_log);

/* role: "tandem", "peer", "ceiling", or "other" (colours by position). */
json_t *td_series_add(json_t *chart, const char *label, const char *role);
json_t *td_series_find(json_t *chart, const char *label, const char *role); /* adds when new */

/* x: category text for bars. low, high: interval, NaN for none. note is shown with the point. */
void td_point_add(json_t *series, double x, double y, double low, double high, const char *note);

/* The highest of the named ceilings on a layout: of FMA peaks, the best ISA's. NaN without. */
double td_facts_ceiling(const td_facts *facts, const char *name, const char *layout);

/* The roofs of a layout as lines: y = min(bandwidth * x, peak) from 1/16 to 512 FLOP per byte, for
 * every peak of arithmetic that the run has. */
void td_roofs_add(const td_facts *facts, json_t *chart, const char *layout);

/* The machine of the run once for each layout that was measured, with its ranks and workers on the
 * CPUs where they were found; nothing without a machine's tree. */
void td_layouts_draw(const td_facts *facts, td_text *out);

/* A sentence that names the hosts of the ranks of MPI and the ranks of each; nothing when there was
 * one host. */
void td_hosts_tell(const td_facts *facts, td_text *out);

void td_bar_add(json_t *chart, json_t *series, const char *category, double y, double low,
                double high);

#endif
