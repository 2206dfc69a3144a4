/* SPDX-License-Identifier: Apache-2.0
 * The experiments again and again, also beside processes that never wait: whether a claim ever
 * fails that holds, and a mutant ever passes.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "bench/load.h"
#include "bench/verb_threads.h"
#include "threads/concepts/lab.h"

/* Of one experiment. */
typedef struct series {
    td_threads_tally tally;
    int runs;
    double *ms; /* of each run of the claim */
} series;

static void add(td_threads_tally *sum, const td_threads_tally *of) {
    sum->passed += of->passed;
    sum->failed += of->failed;
    sum->skipped += of->skipped;
    sum->caught += of->caught;
    sum->missed += of->missed;
}

/* What went wrong is told at once. */
static td_status try_once(const td_concept *concept, bool mutants, int round, series *s) {
    static td_lab_report report;
    td_threads_tally *t = &s->tally;
    int64_t start = td_now_ns();
    TD_TRY(td_concept_run(concept, false, &report));
    s->ms[s->runs++] = (double)(td_now_ns() - start) * 1e-6;
    td_threads_count(t, &report);
    if (report.verdict == TD_VERDICT_FAIL) {
        printf("repeat %d: %s %s FAIL: %s\n", round, concept->id, concept->name, report.reason);
    }
    if (!mutants || report.verdict == TD_VERDICT_NOT_APPLICABLE) {
        return TD_OK;
    }
    TD_TRY(td_concept_run(concept, true, &report));
    if (report.verdict == TD_VERDICT_NOT_APPLICABLE) {
        return TD_OK;
    }
    if (!td_threads_count_mutant(t, &report)) {
        printf("repeat %d: %s %s, mutant NOT CAUGHT: %s: %s\n", round, concept->id, concept->name,
               concept->mutant, report.reason);
    }
    return TD_OK;
}

static void print_table(const td_concept *rows, const series *all, int count, bool mutants) {
    printf("%-5s%-26s%6s%6s%6s%8s%8s%11s%11s\n", "id", "experiment", "PASS", "FAIL", "n. a.",
           mutants ? "caught" : "", mutants ? "missed" : "", "median ms", "longest ms");
    for (int i = 0; i < count; i++) {
        const td_threads_tally *t = &all[i].tally;
        if (all[i].runs == 0) {
            continue;
        }
        double median = td_lab_median(all[i].ms, all[i].runs);
        char with_mutants[24] = "";
        if (mutants) {
            snprintf(with_mutants, sizeof with_mutants, "%8d%8d", t->caught, t->missed);
        }
        printf("%-5s%-26s%6d%6d%6d%16s%11.0f%11.0f\n", rows[i].id, rows[i].name, t->passed,
               t->failed, t->skipped, with_mutants, median,
               all[i].ms[all[i].runs - 1]);
    }
}

static td_status repeat(const td_threads_options *options, const char *word, series *all,
                        td_threads_tally *sum) {
    int count;
    const td_concept *rows = td_concepts(&count);
    for (int round = 1; round <= options->repeat && !td_interrupted(); round++) {
        for (int i = 0; i < count && !td_interrupted(); i++) {
            if (td_threads_chosen(&rows[i], word)) {
                TD_TRY(try_once(&rows[i], options->mutants, round, &all[i]));
            }
        }
        *sum = (td_threads_tally){0};
        for (int i = 0; i < count; i++) {
            add(sum, &all[i].tally);
        }
        fflush(stdout);
        fprintf(stderr, "repeat %d of %d: %d PASS, %d FAIL, %d not applicable so far\n", round,
                (int)options->repeat, sum->passed, sum->failed, sum->skipped);
    }
    return TD_OK;
}

/* Not bound: they go wherever the scheduler sees room. */
static td_status start_hogs(int64_t count, td_hogs *out) {
    int anywhere[TD_MOST_HOGS];
    for (int i = 0; i < count; i++) {
        anywhere[i] = -1;
    }
    return td_hogs_start(&(td_rank){.workers = (int)count, .pu = anywhere}, out);
}

td_status td_threads_repeat(const td_threads_options *options, const char *word) {
    int count;
    const td_concept *rows = td_concepts(&count);
    series *all = td_alloc_zero((size_t)count * sizeof *all);
    double *ms = td_alloc_zero((size_t)(count * options->repeat) * sizeof *ms);
    if (all == NULL || ms == NULL) {
        td_free(all);
        td_free(ms);
        return td_fail(TD_ENOMEM, "the counts of %lld repeats", (long long)options->repeat);
    }
    for (int i = 0; i < count; i++) {
        all[i].ms = ms + i * options->repeat;
    }
    td_threads_tally sum = {0};
    td_hogs hogs = {.count = 0};
    td_status status = options->hogs > 0 ? start_hogs(options->hogs, &hogs) : TD_OK;
    if (status == TD_OK) {
        status = repeat(options, word, all, &sum);
        td_hogs_end(&hogs);
    }
    if (sum.passed + sum.failed + sum.skipped > 0) {
        print_table(rows, all, count, options->mutants);
    }
    td_free(all);
    td_free(ms);
    TD_TRY(status);
    return td_threads_conclude(options, word, &sum);
}
