/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "threads/layout_foreign.h"
#include "threads/mpi_ranks.h"

enum { MAX_LAYOUTS = 64, LAYOUTS_BYTES = 1024 };

void td_default_layouts(const td_topology *topology, char *text, size_t bytes) {
    int rank, launched;
    if (td_mpi_launched(&rank, &launched)) {
        snprintf(text, bytes, "p%dxt1:mpi", launched);
        return;
    }
    int n = td_topology_get_info(topology)->effective_cpus;
    int cores = td_topology_get_info(topology)->cores;
    n = cores > 0 && cores < n ? cores : n;
    int ranks = n < TD_MAX_RANKS ? n : TD_MAX_RANKS;
    if (n <= 1) {
        snprintf(text, bytes, "p1xt1");
    } else {
        snprintf(text, bytes, "p1xt1,p1xt%d,p%dxt1:thread,p%dxt1:process", n, ranks, ranks);
    }
}

/* As strsep at commas, those within braces apart. */
static char *next_layout(char **rest) {
    char *word = *rest, *at = word;
    for (bool inside = false; at && *at && (inside || *at != ','); at++) {
        inside = *at == '{' || (inside && *at != '}');
    }
    *rest = at && *at ? at + 1 : NULL;
    if (*rest) {
        *at = '\0';
    }
    return word;
}

/* Whether `layout` is one of these, however it was spelled. */
static bool is_among(const td_layout *layout, const td_layout *others, int count) {
    char text[TD_LAYOUT_TEXT], other[TD_LAYOUT_TEXT];
    td_layout_print(layout, text);
    for (int i = 0; i < count; i++) {
        td_layout_print(&others[i], other);
        if (strcmp(text, other) == 0) {
            return true;
        }
    }
    return false;
}

static td_status parse_layouts(const char *list, const td_topology *topology, td_layout *out,
                               int *count) {
    char text[LAYOUTS_BYTES];
    if (list && strlen(list) >= sizeof text) {
        return td_fail(TD_EUSAGE, "--layouts: longer than %d characters", LAYOUTS_BYTES - 1);
    }
    if (list) {
        snprintf(text, sizeof text, "%s", list);
    } else {
        td_default_layouts(topology, text, sizeof text);
    }
    int pu[TD_MAX_WORKERS];
    *count = 0;
    char *rest = text;
    for (char *word; (word = next_layout(&rest));) {
        if (*count == MAX_LAYOUTS) {
            return td_fail(TD_EUSAGE, "--layouts: more than %d", MAX_LAYOUTS);
        }
        TD_TRY(td_layout_read(word, topology, &out[*count]));
        /* Only to refuse what does not fit before anything is measured. Under MPI a rank sees its
         * own machine only, and the CPUs it was bound to. */
        TD_TRY(out[*count].kind == TD_RANK_MPI ? td_mpi_fits(out[*count].ranks)
                                               : td_layout_resolve(&out[*count], topology, pu));
        *count += !is_among(&out[*count], out, *count);
    }
    return TD_OK;
}

static void name_item(td_item *item) {
    char layout[TD_LAYOUT_TEXT];
    const td_case *subject = item->subject;
    bool own = strcmp(subject->provider, "tandem") == 0;
    td_layout_print(&item->layout, layout);
    snprintf(item->name, sizeof item->name, "%s/%s%s%s", subject->id, layout, own ? "" : "/",
             own ? "" : subject->provider);
}

static bool wanted(const td_case *subject, const char *glob, const char *suite) {
    if (glob && !td_case_matches(glob, subject->id)) {
        return false;
    }
    bool exact = glob && !strpbrk(glob, "*?");
    bool any = suite ? strcmp(suite, "full") == 0 : exact;
    return any || subject->quick;
}

static td_status choose(const char *glob, const char *suite, const td_layout *layouts,
                        int n_layouts, td_run_plan *plan) {
    for (int64_t c = 0; c < plan->cases.count; c++) {
        const td_case *subject = &plan->cases.at[c];
        if (!wanted(subject, glob, suite)) {
            continue;
        }
        for (int l = 0; l < n_layouts; l++) {
            if (subject->workload->fits(subject, &layouts[l])) {
                td_item *item = &plan->items[plan->n_items++];
                *item = (td_item){.subject = subject, .layout = layouts[l]};
                name_item(item);
            }
        }
    }
    if (plan->n_items == 0) {
        return td_fail(TD_EUSAGE,
                       "no case matches \"%s\" in the %s suite on these layouts; `tandem list` "
                       "shows the cases",
                       glob ? glob : "*", suite ? suite : "quick");
    }
    return TD_OK;
}

td_status td_run_plan_create(const char *glob, const char *suite, const char *layouts,
                             const td_topology *topology, td_run_plan *out) {
    td_layout parsed[MAX_LAYOUTS];
    int n_layouts;
    td_run_plan plan = {0};
    TD_TRY(parse_layouts(layouts, topology, parsed, &n_layouts));
    TD_TRY(td_case_list_all(&plan.cases));
    plan.items = td_alloc((size_t)plan.cases.count * (size_t)n_layouts * sizeof *plan.items);
    td_status status = plan.items ? choose(glob, suite, parsed, n_layouts, &plan)
                                  : td_fail(TD_ENOMEM, "the plan of a run");
    if (status != TD_OK) {
        td_run_plan_destroy(&plan);
        return status;
    }
    *out = plan;
    return TD_OK;
}

void td_run_plan_destroy(td_run_plan *plan) {
    td_case_list_destroy(&plan->cases);
    td_free(plan->items);
    *plan = (td_run_plan){0};
}
