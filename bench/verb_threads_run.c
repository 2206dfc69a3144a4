/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "bench/case.h"
#include "bench/verb_threads.h"
#include "threads/concepts/lab.h"

/* By id, name, or group/name. */
bool td_threads_chosen(const td_concept *concept, const char *glob) {
    char path[96];
    snprintf(path, sizeof path, "%s/%s", concept->group, concept->name);
    return glob == NULL || td_case_matches(glob, concept->id) ||
           td_case_matches(glob, concept->name) || td_case_matches(glob, path);
}

static void print_labelled(const char *label, const char *text) {
    enum { INDENT = 9 };
    printf("  %-*s", INDENT - 2, label);
    td_print_wrapped(stdout, INDENT, text);
}

td_status td_threads_list(const td_threads_options *options, const char *word) {
    (void)options;
    int count, shown = 0;
    const td_concept *rows = td_concepts(&count);
    const char *group = "";
    for (int i = 0; i < count; i++) {
        if (!td_threads_chosen(&rows[i], word)) {
            continue;
        }
        if (strcmp(group, rows[i].group) != 0) {
            group = rows[i].group;
            printf("%s%s\n", shown > 0 ? "\n" : "", group);
        }
        printf("  %-4s%s\n", rows[i].id, rows[i].name);
        print_labelled("", rows[i].claim);
        shown++;
    }
    return shown > 0 ? TD_OK
                     : td_fail(TD_EUSAGE,
                               "no experiment matches \"%s\"; `tandem threads list` "
                               "shows them",
                               word);
}

static const char *verdict_text(td_verdict verdict) {
    static const char *const texts[] = {[TD_VERDICT_PASS] = "PASS",
                                        [TD_VERDICT_FAIL] = "FAIL",
                                        [TD_VERDICT_NOT_APPLICABLE] = "not applicable"};
    return texts[verdict];
}

static void print_samples(const td_lab_report *report) {
    if (report->sampled[0] == '\0' || report->n_samples == 0) {
        return;
    }
    static double sorted[TD_LAB_SAMPLES];
    memcpy(sorted, report->samples_ns, (size_t)report->n_samples * sizeof sorted[0]);
    double median = td_lab_median(sorted, report->n_samples);
    if (report->n_samples == 1) {
        printf("    time of %s: %.3g us\n", report->sampled, sorted[0] * 1e-3);
        return;
    }
    printf("    time of %s: median %.3g us, fastest %.3g us, slowest %.3g us (%d samples)\n",
           report->sampled, median * 1e-3, sorted[0] * 1e-3, sorted[report->n_samples - 1] * 1e-3,
           report->n_samples);
}

/* As they stand in records, for those who look them up there. */
static void print_numbers(const td_lab_report *report) {
    char text[TD_LAB_NUMBERS * 48];
    size_t used = 0;
    for (int i = 0; i < report->n_numbers; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s %.4g", i > 0 ? ", " : "",
                                 report->numbers[i].name, report->numbers[i].value);
    }
    if (used > 0) {
        print_labelled("record", text);
    }
}

static void print_account(const td_concept *concept, const td_lab_report *report) {
    printf("%s %s/%s\n", concept->id, concept->group, concept->name);
    print_labelled("claim", concept->claim);
    print_labelled("done", concept->method);
    for (int i = 0; i < report->n_lines; i++) {
        char mark = report->lines[i].mark;
        printf("    %s%s\n",
               mark == '+'   ? "ok      "
               : mark == '-' ? "BROKEN  "
               : mark == '|' ? ""
                             : "        ",
               report->lines[i].text);
    }
    print_numbers(report);
    print_samples(report);
}

void td_threads_count(td_threads_tally *sum, const td_lab_report *report) {
    sum->passed += report->verdict == TD_VERDICT_PASS;
    sum->failed += report->verdict == TD_VERDICT_FAIL;
    sum->skipped += report->verdict == TD_VERDICT_NOT_APPLICABLE;
}

bool td_threads_count_mutant(td_threads_tally *sum, const td_lab_report *report) {
    bool caught = td_lab_caught(report);
    sum->caught += caught;
    sum->missed += !caught;
    return caught;
}

static td_status run_mutant(const td_concept *concept, const td_threads_options *options,
                            td_threads_tally *sum) {
    static td_lab_report report;
    TD_TRY(td_concept_run(concept, true, &report));
    if (report.verdict == TD_VERDICT_NOT_APPLICABLE) {
        printf("%s mutant not tried: %s\n", options->brief ? concept->id : " ", report.reason);
        return TD_OK;
    }
    bool caught = td_threads_count_mutant(sum, &report);
    if (!options->brief || !caught) {
        printf("%s mutant %s: %s\n         %s: %s\n", options->brief ? concept->id : " ",
               caught ? "caught" : "NOT CAUGHT", concept->mutant, verdict_text(report.verdict),
               report.reason);
    }
    return TD_OK;
}

static td_status run_one(const td_concept *concept, const td_threads_options *options,
                         td_threads_tally *sum) {
    static td_lab_report report;
    int64_t start = td_now_ns();
    TD_TRY(td_concept_run(concept, false, &report));
    td_threads_count(sum, &report);
    if (options->brief) {
        printf("%-4s %-24s %6.0f ms  %s%s%s\n", concept->id, concept->name,
               (double)(td_now_ns() - start) * 1e-6, verdict_text(report.verdict),
               report.reason[0] ? ": " : "", report.reason);
    } else {
        print_account(concept, &report);
        printf("  %s%s%s  (%d checks, %.0f ms)\n", verdict_text(report.verdict),
               report.reason[0] ? ": " : "", report.reason, report.checks,
               (double)(td_now_ns() - start) * 1e-6);
    }
    if (options->mutants && report.verdict != TD_VERDICT_NOT_APPLICABLE) {
        TD_TRY(run_mutant(concept, options, sum));
    }
    if (!options->brief) {
        printf("\n");
    }
    fflush(stdout);
    return TD_OK;
}

td_status td_threads_conclude(const td_threads_options *options, const char *word,
                              const td_threads_tally *sum) {
    if (sum->passed + sum->failed + sum->skipped == 0) {
        return td_interrupted()
                   ? td_fail(TD_EINTERRUPTED, "interrupted")
                   : td_fail(TD_EUSAGE,
                             "no experiment matches \"%s\"; `tandem threads list` shows them",
                             word);
    }
    printf("%d PASS, %d FAIL, %d not applicable", sum->passed, sum->failed, sum->skipped);
    if (options->mutants) {
        printf("; %d of %d mutants caught", sum->caught, sum->caught + sum->missed);
    }
    printf("\n");
    if (sum->failed + sum->missed > 0) {
        return td_fail(TD_ECHECK, "%d claims failed, %d mutants were not caught", sum->failed,
                       sum->missed);
    }
    return sum->passed > 0 ? TD_OK : td_fail(TD_ESKIP, "no experiment is applicable here");
}

td_status td_threads_run(const td_threads_options *options, const char *word) {
    int count;
    const td_concept *rows = td_concepts(&count);
    td_threads_tally sum = {0};
    td_interrupt_install();
    if (options->repeat > 1 || options->hogs > 0) {
        return td_threads_repeat(options, word);
    }
    for (int i = 0; i < count && !td_interrupted(); i++) {
        if (td_threads_chosen(&rows[i], word)) {
            TD_TRY(run_one(&rows[i], options, &sum));
        }
    }
    return td_threads_conclude(options, word, &sum);
}
