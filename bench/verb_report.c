/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/options.h"
#include "bench/page.h"
#include "bench/verbs.h"
#include "reports/coll_tables.h"

typedef struct report_options {
    const char *title, *format;
} report_options;

static const td_option options[] = {
    {"title", TD_OPTION_TEXT, offsetof(report_options, title), 0, 0, NULL, "TEXT",
     "heading of the page; default: the machine's name"},
    {"format", TD_OPTION_CHOICE, offsetof(report_options, format), 0, 0, TD_COLL_FORMATS, "NAME",
     "instead of rendering, print the collectives as that benchmark would"},
};
enum { N_OPTIONS = sizeof options / sizeof options[0] };

static const td_verb_help help_text = {
    "tandem report DIR [--options]",
    "Renders DIR/records.jsonl as DIR/report.html (one self-contained page), DIR/report.md and\n"
    "DIR/records.csv. The same records give the same bytes.",
    "  tandem report out/20260101-120000\n"
    "  tandem report out/20260101-120000 --format nccl\n",
};

td_status td_print_collectives(const char *directory, const char *format) {
    td_text text = {0};
    td_status status = td_coll_tables_of(directory, format, &text);
    if (status == TD_OK) {
        fputs(text.data, stdout);
    }
    td_text_destroy(&text);
    return status;
}

td_status td_verb_report(int argc, char **argv) {
    report_options chosen = {0};
    const char *directory = NULL;
    size_t n_words = 0;
    int help = 0;
    TD_TRY(
        td_options_parse(options, N_OPTIONS, argc, argv, &chosen, &directory, 1, &n_words, &help));
    if (help) {
        td_options_help(stdout, &help_text, options, N_OPTIONS, &chosen);
        return TD_OK;
    }
    if (n_words != 1) {
        return td_fail(TD_EUSAGE, "report: expected a directory that holds records.jsonl");
    }
    if (chosen.format) {
        return td_print_collectives(directory, chosen.format);
    }
    TD_TRY(td_page_write(directory, chosen.title));
    printf("%s/report.html\n", directory);
    return TD_OK;
}
