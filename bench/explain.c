/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/explain.h"

#include "base/text.h"
#include "bench/case.h"
#include "collectives/comm.h"
#include "collectives/schedule.h"

static const char legend[] =
    "Every rank has a vector of chunks, in place, root 0. After each round, a line a rank says "
    "what\nlies in each of its chunks: 0+3 is the sum of what ranks 0 and 3 brought for this "
    "chunk, 1@2 what\nrank 1 brought for chunk 2, . nothing. t0 and t1 are scratch vectors.\n";

static bool is_selected(const td_collective *row, const td_case_list *cases, const char *glob) {
    char id[TD_CASE_ID];
    snprintf(id, sizeof id, "coll/%s/%s", row->operation, row->algorithm);
    for (int64_t i = 0; i < cases->count; i++) {
        if (td_case_matches(id, cases->at[i].id) &&
            (glob == NULL || td_case_matches(glob, cases->at[i].id))) {
            return true;
        }
    }
    return false;
}

static td_status explain_selected(const td_case_list *cases, const char *glob, int ranks,
                                  td_text *text) {
    int n, selected = 0;
    const td_collective *rows = td_collectives(&n);
    td_text_puts(text, legend);
    for (int i = 0; i < n; i++) {
        if (is_selected(&rows[i], cases, glob)) {
            td_text_puts(text, "\n");
            TD_TRY(td_schedule_explain(&rows[i], ranks, text));
            selected++;
        }
    }
    if (selected == 0) {
        return td_fail(TD_EUSAGE,
                       "--explain: \"%s\" matches no collective; expected coll/OPERATION/ALGORITHM "
                       "as tandem list has them",
                       glob);
    }
    return td_text_status(text);
}

td_status td_explain(const char *glob, int ranks, FILE *out) {
    td_case_list cases = {0};
    td_text text = {0};
    td_status status = td_workload_coll.list(&td_workload_coll, &cases);
    if (status == TD_OK && cases.failed) {
        status = td_fail(TD_ENOMEM, "the list of cases");
    }
    if (status == TD_OK) {
        status = explain_selected(&cases, glob, ranks, &text);
    }
    if (status == TD_OK && fwrite(text.data, 1, text.size, out) != text.size) {
        status = td_fail(TD_EIO, "writing the schedules");
    }
    td_text_destroy(&text);
    td_case_list_destroy(&cases);
    return status;
}
