/* SPDX-License-Identifier: Apache-2.0
 * A table that is written as HTML, Markdown or CSV from one content.
 */
#ifndef TD_REPORTS_TABLE_H
#define TD_REPORTS_TABLE_H

#include <stdbool.h>

#include "base/text.h"

enum { TD_TABLE_COLUMNS = 14 };

typedef struct td_column {
    const char *name, *unit; /* unit "" when there is none */
    bool number;             /* right-aligned, sorted by value */
} td_column;

typedef struct td_cell {
    char *text;
    double value; /* what a number column sorts by; NaN sorts last */
    bool bad;     /* shown as a failure */
} td_cell;

typedef struct td_table {
    const char *caption;
    td_column columns[TD_TABLE_COLUMNS];
    int n_columns;
    td_cell *cells; /* n_rows * n_columns */
    int n_rows, capacity, filled;
    bool failed; /* out of memory: reported by the text it is written to */
} td_table;

/* Columns are given as "name|unit|n" (n: number) strings, ended by NULL. */
void td_table_begin(td_table *table, const char *caption, const char *const *columns);

/* Cells fill rows from left to right. A number is shown with three significant digits; NaN as a
 * dash. */
void td_table_text(td_table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void td_table_number(td_table *table, double value);
void td_table_mark_bad(td_table *table); /* the last cell written */
void td_table_destroy(td_table *table);

/* Three significant digits, never an exponent: "171", "17.1", "0.00171", "12300". */
const char *td_significant(double value, char out[32]);

void td_html_escape(td_text *out, const char *text);
void td_table_html(td_text *out, const td_table *table);
void td_table_markdown(td_text *out, const td_table *table);

/* One field of CSV, quoted where it must be. */
void td_csv_field(td_text *out, const char *text);

#endif
