/* SPDX-License-Identifier: Apache-2.0 */
#include "reports/table.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void td_table_begin(td_table *table, const char *caption, const char *const *columns) {
    *table = (td_table){.caption = caption};
    for (; columns[table->n_columns] != NULL; table->n_columns++) {
        TD_ASSERT(table->n_columns < TD_TABLE_COLUMNS);
        td_column *column = &table->columns[table->n_columns];
        /* The strings are literals: a column keeps pointers into a copy that lives as long. */
        char *copy = td_strdup(columns[table->n_columns]);
        if (copy == NULL) {
            table->failed = true;
            return;
        }
        char *unit = strchr(copy, '|'), *kind = unit == NULL ? NULL : strchr(unit + 1, '|');
        TD_ASSERT(unit != NULL && kind != NULL);
        *unit = '\0';
        *kind = '\0';
        *column = (td_column){copy, unit + 1, kind[1] == 'n'};
    }
}

static td_cell *next_cell(td_table *table) {
    if (table->filled == table->capacity) {
        int capacity = table->capacity == 0 ? 64 : table->capacity * 2;
        td_cell *cells = td_realloc(table->cells, (size_t)capacity * sizeof *cells);
        if (cells == NULL) {
            table->failed = true;
            return NULL;
        }
        table->cells = cells;
        table->capacity = capacity;
    }
    td_cell *cell = &table->cells[table->filled++];
    table->n_rows = table->filled / table->n_columns;
    *cell = (td_cell){.value = NAN};
    return cell;
}

void td_table_text(td_table *table, const char *format, ...) {
    td_cell *cell = next_cell(table);
    if (cell != NULL) {
        char text[1024];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        cell->text = td_strdup(text);
        table->failed |= cell->text == NULL;
    }
}

const char *td_significant(double value, char out[32]) {
    if (!isfinite(value)) {
        snprintf(out, 32, "%s", isnan(value) ? "\u2013" : value > 0 ? "inf" : "-inf");
        return out;
    }
    if (value == 0) {
        snprintf(out, 32, "0");
        return out;
    }
    /* The printed exponent is the one after rounding: 9.996 is 10.0, not 10.00. */
    char rounded[32];
    snprintf(rounded, sizeof rounded, "%.2e", value);
    int exponent = (int)strtol(strchr(rounded, 'e') + 1, NULL, 10);
    int decimals = exponent >= 2 ? 0 : 2 - exponent;
    double kept = strtod(rounded, NULL);
    snprintf(out, 32, "%.*f", decimals > 12 ? 12 : decimals, kept);
    return out;
}

void td_table_number(td_table *table, double value) {
    char text[32];
    td_table_text(table, "%s", td_significant(value, text));
    if (!table->failed) {
        table->cells[table->filled - 1].value = value;
    }
}

void td_table_mark_bad(td_table *table) {
    if (table->filled > 0) {
        table->cells[table->filled - 1].bad = true;
    }
}

void td_table_destroy(td_table *table) {
    for (int i = 0; i < table->filled; i++) {
        td_free(table->cells[i].text);
    }
    for (int i = 0; i < table->n_columns; i++) {
        td_free((char *)(uintptr_t)table->columns[i].name);
    }
    td_free(table->cells);
    *table = (td_table){0};
}

void td_html_escape(td_text *out, const char *text) {
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            td_text_puts(out, "&amp;");
            break;
        case '<':
            td_text_puts(out, "&lt;");
            break;
        case '>':
            td_text_puts(out, "&gt;");
            break;
        case '"':
            td_text_puts(out, "&quot;");
            break;
        default:
            td_text_append(out, text, 1);
        }
    }
}

/* Long tables start folded; a reader who wants rows opens them. */
enum { OPEN_ROWS = 12 };

static void html_head(td_text *out, const td_table *table) {
    td_text_printf(out, "<details%s><summary>", table->n_rows <= OPEN_ROWS ? " open" : "");
    td_html_escape(out, table->caption);
    td_text_printf(out,
                   " <span class=\"count\">%d row%s</span></summary>\n<div class=\"scroll\">"
                   "<table><caption>",
                   table->n_rows, table->n_rows == 1 ? "" : "s");
    td_html_escape(out, table->caption);
    td_text_puts(out, "</caption><thead><tr>");
    for (int c = 0; c < table->n_columns; c++) {
        const td_column *column = &table->columns[c];
        td_text_printf(out, "<th scope=\"col\"%s>", column->number ? " class=\"n\"" : "");
        td_html_escape(out, column->name);
        if (column->unit[0] != '\0') {
            td_text_puts(out, " <small>");
            td_html_escape(out, column->unit);
            td_text_puts(out, "</small>");
        }
        td_text_puts(out, "</th>");
    }
    td_text_puts(out, "</tr></thead><tbody>\n");
}

void td_table_html(td_text *out, const td_table *table) {
    html_head(out, table);
    for (int r = 0; r < table->n_rows; r++) {
        td_text_puts(out, "<tr>");
        for (int c = 0; c < table->n_columns; c++) {
            const td_cell *cell = &table->cells[r * table->n_columns + c];
            td_text_puts(out, "<td");
            if (table->columns[c].number || cell->bad) {
                td_text_printf(out, " class=\"%s%s\"", table->columns[c].number ? "n" : "",
                               cell->bad ? " bad" : "");
            }
            if (table->columns[c].number && isfinite(cell->value)) {
                td_text_printf(out, " data-v=\"%.9g\"", cell->value);
            }
            td_text_puts(out, ">");
            td_html_escape(out, cell->text);
            td_text_puts(out, "</td>");
        }
        td_text_puts(out, "</tr>\n");
    }
    td_text_puts(out, "</tbody></table></div></details>\n");
    out->failed |= table->failed;
}

static void markdown_cell(td_text *out, const char *text) {
    for (; *text != '\0'; text++) {
        td_text_append(out, *text == '|' ? "\\|" : text, *text == '|' ? 2 : 1);
    }
}

void td_table_markdown(td_text *out, const td_table *table) {
    td_text_puts(out, "|");
    for (int c = 0; c < table->n_columns; c++) {
        const td_column *column = &table->columns[c];
        td_text_printf(out, " %s%s%s |", column->name, column->unit[0] != '\0' ? ", " : "",
                       column->unit);
    }
    td_text_puts(out, "\n|");
    for (int c = 0; c < table->n_columns; c++) {
        td_text_puts(out, table->columns[c].number ? "---:|" : "---|");
    }
    td_text_puts(out, "\n");
    for (int r = 0; r < table->n_rows; r++) {
        td_text_puts(out, "|");
        for (int c = 0; c < table->n_columns; c++) {
            td_text_puts(out, " ");
            markdown_cell(out, table->cells[r * table->n_columns + c].text);
            td_text_puts(out, " |");
        }
        td_text_puts(out, "\n");
    }
    td_text_puts(out, "\n");
    out->failed |= table->failed;
}

void td_csv_field(td_text *out, const char *text) {
    if (strpbrk(text, ",\"\n\r") == NULL) {
        td_text_puts(out, text);
        return;
    }
    td_text_puts(out, "\"");
    for (; *text != '\0'; text++) {
        td_text_append(out, *text == '"' ? "\"\"" : text, *text == '"' ? 2 : 1);
    }
    td_text_puts(out, "\"");
}
