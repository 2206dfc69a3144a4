/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/verbs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/options.h"
#include "bench/case.h"
#include "bench/selection_file.h"
#include "collectives/comm.h"

typedef struct tune_cli {
    const char *layouts, *from, *out, *min_time;
} tune_cli;

#define AT(field) offsetof(tune_cli, field)
static const td_option options_table[] = {
    {"layouts", TD_OPTION_TEXT, AT(layouts), 0, 0, NULL, "LIST", "layouts to measure"},
    {"from", TD_OPTION_TEXT, AT(from), 0, 0, NULL, "DIR",
     "take the records of this run instead of measuring"},
    {"min-time-ms", TD_OPTION_TEXT, AT(min_time), 0, 0, NULL, "N",
     "all samples of a case together"},
    {"out", TD_OPTION_TEXT, AT(out), 0, 0, NULL, "FILE",
     "the table; records go to FILE.records when they are measured. Both replace earlier ones"},
};
enum { N_OPTIONS = sizeof(options_table) / sizeof(options_table[0]), PATH = 4096 };

static const td_verb_help verb_help = {
    "tandem tune [GLOB] [--options]",
    "Measures the algorithms of collectives by size and writes which is fastest, by operation, "
    "layout and size; beside it, what the default, which the cost model chooses, would have cost. "
    "GLOB chooses operation/algorithm. tandem bench --select FILE uses the table in the cases "
    "coll/OPERATION/chosen.",
    "  tandem tune --layouts p2xt1:process --out selection.json\n"
    "  tandem tune 'allreduce/*' --layouts p2xt1:process,p2xt1:thread --out selection.json\n"
    "  tandem tune --from out/last --out selection.json\n"};

/* Whether glob names an algorithm that a table may choose, which is one that has sizes. */
static td_status check_glob(const char *glob) {
    int n;
    bool any = false;
    const td_collective *rows = td_collectives(&n);
    for (int i = 0; i < n; i++) {
        char name[TD_CASE_ID];
        snprintf(name, sizeof name, "%s/%s", rows[i].operation, rows[i].algorithm);
        if (td_case_matches(glob, name)) {
            if (rows[i].id != TD_COLL_barrier) {
                return TD_OK;
            }
            any = true;
        }
    }
    return any ? td_fail(TD_EUSAGE,
                         "tune %s: a barrier has no sizes to choose by, and is always "
                         "barrier/%s; expected another operation",
                         glob, td_barrier_row()->algorithm)
               : td_fail(TD_EUSAGE,
                         "tune %s: no algorithm has such a name; expected OPERATION/ALGORITHM as "
                         "`tandem list collectives` shows them, or OPERATION",
                         glob);
}

/* Hot buffers, streaming: the ids that end in the size. */
static td_status measure(const char *glob, const tune_cli *cli, const char *directory) {
    char cases[PATH];
    bool all = strpbrk(glob, "/*?") == NULL; /* of an operation */
    snprintf(cases, sizeof cases, "coll/%s%s/f32-*B", glob, all ? "/*" : "");
    const char *arguments[] = {"bench",         cases,         "--suite",    "full",
                               "--layouts",     cli->layouts,  "--out",      directory,
                               "--min-time-ms", cli->min_time, "--no-report"};
    enum { N = sizeof arguments / sizeof arguments[0] };
    char *copies[N];
    for (int i = 0; i < N; i++) {
        copies[i] = (char *)(uintptr_t)arguments[i];
    }
    return td_verb_bench(N, copies);
}

/* The records of an earlier run make way for the new ones, and come back when there are none. */
static td_status measure_anew(const char *glob, const tune_cli *cli, const char *directory) {
    char records[PATH + 32], earlier[PATH + 32];
    snprintf(records, sizeof records, "%s/records.jsonl", directory);
    snprintf(earlier, sizeof earlier, "%s/earlier.jsonl", directory);
    bool any = rename(records, earlier) == 0;
    td_status status = measure(glob, cli, directory);
    if (any && (status == TD_OK || access(records, F_OK) == 0)) {
        unlink(earlier);
    } else if (any) {
        rename(earlier, records);
    }
    return status;
}

static td_status run(const char *glob, const tune_cli *cli) {
    char directory[PATH];
    const char *from = cli->from;
    if (from == NULL) {
        TD_TRY(check_glob(glob));
        snprintf(directory, sizeof directory, "%s.records", cli->out);
        from = directory;
        TD_TRY(measure_anew(glob, cli, from));
    }
    td_coll_records records;
    TD_TRY(td_coll_records_read(from, &records));
    td_status status = td_selection_write(cli->out, &records, stdout);
    td_coll_records_destroy(&records);
    if (status == TD_OK) {
        printf("\nselection: %s\n", cli->out);
    }
    return status;
}

td_status td_verb_tune(int argc, char **argv) {
    tune_cli cli = {.layouts = "p2xt1:process", .out = "selection.json", .min_time = "200"};
    const char *words[1];
    size_t n_words;
    int help = 0;
    TD_TRY(td_options_parse(options_table, N_OPTIONS, argc, argv, &cli, words, 1, &n_words, &help));
    if (help) {
        td_options_help(stdout, &verb_help, options_table, N_OPTIONS, &cli);
        return TD_OK;
    }
    return run(n_words > 0 ? words[0] : "*/*", &cli);
}
