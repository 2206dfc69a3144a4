/* SPDX-License-Identifier: Apache-2.0
 * The experiments of threads/concepts as cases: one that fails is a failed check, and so is one
 * whose mutant cannot be told from it.
 */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "bench/case.h"
#include "threads/bind.h"
#include "threads/concepts/lab.h"

/* The CPUs of this program before any rank was bound to its own. */
static td_cpu_mask all_cpus;

static td_status list_concepts(const td_workload *self, td_case_list *list) {
    int count;
    const td_concept *rows = td_concepts(&count);
    td_bind_get(&all_cpus);
    for (int i = 0; i < count; i++) {
        td_case *added = td_case_add(list, self, "threads/%s/%s", rows[i].group, rows[i].name);
        added->param[0] = i;
        added->quick = true;
        added->seconds = 0.3;
    }
    return TD_OK;
}

static bool fits_one(const td_case *subject, const td_layout *layout) {
    (void)subject;
    return layout->ranks == 1 && layout->workers == 1;
}

static td_status setup_concept(td_bench *bench) {
    bench->state = td_alloc_zero(sizeof(td_lab_report));
    return bench->state != NULL ? TD_OK : td_fail(TD_ENOMEM, "the account of an experiment");
}

static void teardown_concept(td_bench *bench) {
    td_free(bench->state);
}

static void copy_report(const td_lab_report *report, td_outcome *out) {
    out->n_samples = report->n_samples;
    out->repeat = 1;
    memcpy(out->samples_ns, report->samples_ns, (size_t)report->n_samples * sizeof(double));
    size_t used = 0;
    for (int i = 0; i < report->n_lines && used < sizeof out->account; i++) {
        used += (size_t)snprintf(out->account + used, sizeof out->account - used, "%c %s\n",
                                 report->lines[i].mark, report->lines[i].text);
    }
    for (int i = 0; i < report->n_numbers; i++) {
        td_outcome_number(out, report->numbers[i].name, report->numbers[i].value);
    }
}

static td_status verify_concept(td_bench *bench) {
    td_lab_report *report = bench->state;
    int count;
    const td_concept *concept = &td_concepts(&count)[bench->subject->param[0]];
    if (td_bind_set(&all_cpus) != 0) {
        return td_fail(TD_ESYS, "give the experiment all CPUs of the program");
    }
    TD_TRY(td_concept_run(concept, true, report));
    if (report->verdict != TD_VERDICT_NOT_APPLICABLE && !td_lab_caught(report)) {
        return td_fail(TD_ECHECK, "not told from its mutant: %s", concept->mutant);
    }
    TD_TRY(td_concept_run(concept, false, report));
    copy_report(report, bench->outcome);
    switch (report->verdict) {
    case TD_VERDICT_NOT_APPLICABLE:
        return td_fail(TD_ESKIP, "%s", report->reason);
    case TD_VERDICT_FAIL:
        return td_fail(TD_ECHECK, "%s", report->reason);
    case TD_VERDICT_PASS:
        break;
    }
    snprintf(bench->outcome->method, sizeof bench->outcome->method, "%d checks, mutant caught",
             report->checks);
    return TD_OK;
}

static void cost_concept(const td_bench *bench, td_cost *out) {
    (void)bench;
    *out = (td_cost){.value = TD_VALUE_TIME};
}

const td_workload td_workload_concept = {
    .name = "concept",
    .own_team = true,
    .observes = true,
    .list = list_concepts,
    .fits = fits_one,
    .setup = setup_concept,
    .verify = verify_concept,
    .cost = cost_concept,
    .teardown = teardown_concept,
};
