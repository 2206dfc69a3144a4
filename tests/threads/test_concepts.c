/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "threads/concepts/lab.h"
#include "threads/procfs.h"

static struct criterion_test_params each_concept(void) {
    static int rows[256];
    int count;
    td_concepts(&count);
    cr_assert_leq(count, 256);
    for (int i = 0; i < count; i++) {
        rows[i] = i;
    }
    return cr_make_param_array(int, rows, (size_t)count);
}

static const char *account(const td_lab_report *report) {
    static char text[TD_LAB_LINES * (TD_LAB_LINE + 4)];
    text[0] = '\0';
    for (int i = 0; i < report->n_lines; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "\n  %c %s", report->lines[i].mark,
                 report->lines[i].text);
    }
    return text;
}

ParameterizedTestParameters(concepts, the_claim_holds) {
    return each_concept();
}

ParameterizedTest(int *row, concepts, the_claim_holds) {
    int count;
    const td_concept *concept = &td_concepts(&count)[*row];
    td_lab_report report;
    cr_assert_eq(td_concept_run(concept, false, &report), TD_OK, "%s", td_error());
    if (report.verdict == TD_VERDICT_NOT_APPLICABLE) {
        cr_assert(report.reason[0] != '\0', "%s does not say why it is not applicable",
                  concept->name);
        cr_skip("%s: %s", concept->name, report.reason);
    }
    cr_assert_eq(report.verdict, TD_VERDICT_PASS, "%s: %s%s", concept->name, report.reason,
                 account(&report));
    cr_assert(report.checks > 0 && report.n_samples > 0);
}

ParameterizedTestParameters(concepts, the_mutant_is_caught) {
    return each_concept();
}

ParameterizedTest(int *row, concepts, the_mutant_is_caught) {
    int count;
    const td_concept *concept = &td_concepts(&count)[*row];
    td_lab_report report;
    cr_assert_eq(td_concept_run(concept, true, &report), TD_OK, "%s", td_error());
    if (report.verdict == TD_VERDICT_NOT_APPLICABLE) {
        cr_skip("%s: %s", concept->name, report.reason);
    }
    cr_assert(td_lab_caught(&report),
              "%s with %s is not told from the truth: %s%s", concept->name, concept->mutant,
              report.reason, account(&report));
}

/* One mutant a shape: the check of each must break, not of one among them. */
Test(concepts, each_shape_of_litmus_is_told_from_its_mutant) {
    int count, row = 0;
    const td_concept *rows = td_concepts(&count);
    while (strcmp(rows[row].name, "litmus") != 0) {
        row++;
        cr_assert_lt(row, count);
    }
    td_lab_report report;
    cr_assert_eq(td_concept_run(&rows[row], true, &report), TD_OK, "%s", td_error());
    if (report.verdict == TD_VERDICT_NOT_APPLICABLE) {
        cr_skip("%s", report.reason);
    }
    cr_assert_geq(report.checks, 7);
    cr_assert_eq(report.broken, report.checks, "%d of %d%s", report.broken, report.checks,
                 account(&report));
}

Test(concepts, ids_and_names_are_unique) {
    int count;
    const td_concept *rows = td_concepts(&count);
    for (int i = 0; i < count; i++) {
        cr_assert(strlen(rows[i].claim) > 20 && strlen(rows[i].method) > 20 &&
                      strlen(rows[i].mutant) > 5,
                  "%s", rows[i].name);
        for (int k = i + 1; k < count; k++) {
            cr_assert(strcmp(rows[i].id, rows[k].id) != 0 &&
                          strcmp(rows[i].name, rows[k].name) != 0,
                      "%s and %s", rows[i].name, rows[k].name);
        }
    }
}

static void die(td_lab *lab) {
    td_lab_check(lab, true, "alive");
    raise(SIGKILL);
}

static void break_and_die(td_lab *lab) {
    td_lab_check(lab, false, "broken");
    raise(SIGKILL);
}

static void break_a_check(td_lab *lab) {
    td_lab_check(lab, false, "broken");
}

static void check_nothing(td_lab *lab) {
    (void)lab;
}

static void skip(td_lab *lab) {
    td_lab_skip(lab, "no %s here", "unicorn");
}

static td_verdict verdict_of(td_experiment_fn *run, char reason[TD_LAB_LINE]) {
    td_concept concept = {.id = "Z", .name = "z", .run = run};
    td_lab_report report;
    cr_assert_eq(td_concept_run(&concept, false, &report), TD_OK);
    strcpy(reason, report.reason);
    return report.verdict;
}

Test(concepts, a_dead_or_idle_experiment_fails) {
    char reason[TD_LAB_LINE];
    cr_assert_eq(verdict_of(die, reason), TD_VERDICT_FAIL);
    cr_assert(strstr(reason, "Killed"), "%s", reason);
    cr_assert_eq(verdict_of(check_nothing, reason), TD_VERDICT_FAIL);
    cr_assert_eq(verdict_of(skip, reason), TD_VERDICT_NOT_APPLICABLE);
    cr_assert_str_eq(reason, "no unicorn here");
}

Test(concepts, a_mutant_that_dies_is_not_caught) {
    td_concept concept = {.id = "Z", .name = "z", .run = break_a_check};
    td_lab_report report;
    cr_assert_eq(td_concept_run(&concept, true, &report), TD_OK);
    cr_assert(td_lab_caught(&report));
    concept.run = break_and_die;
    cr_assert_eq(td_concept_run(&concept, true, &report), TD_OK);
    cr_assert(report.verdict == TD_VERDICT_FAIL && !td_lab_caught(&report));
}

Test(procfs, a_status_file_is_read_by_key) {
    const char *text = "Name:\tVmRSS: x\nVmRSS:\t  12 kB\nThreads:\t3";
    cr_assert_eq(td_proc_field(text, "VmRSS"), 12);
    cr_assert_eq(td_proc_field(text, "Threads"), 3);
    cr_assert_eq(td_proc_field(text, "Vm"), -1);
    cr_assert_eq(td_proc_field(text, "Missing"), -1);
}

Test(procfs, this_task_is_described) {
    td_proc_stat stat;
    int tid[8], count = td_proc_tasks(getpid(), tid, 8);
    cr_assert(count >= 1 && tid[0] == getpid());
    cr_assert(td_proc_stat_read(getpid(), getpid(), &stat));
    cr_assert(stat.state == 'R' && stat.ppid == getppid() && stat.threads == count);
    cr_assert_not(td_proc_stat_read(getpid(), 1 << 30, &stat));
}
