/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/training_run.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "bench/run_layout.h"

td_training_result *td_training_result_of(td_rank *rank) {
    return (td_training_result *)(void *)rank->segment;
}

td_status td_training_keep_check(td_training_result *result, td_status status) {
    if (status != TD_ECHECK) {
        return status;
    }
    result->check = status;
    snprintf(result->message, sizeof(result->message), "%s", td_error());
    return TD_OK;
}

static td_status report(const td_training_result *result, const char *save) {
    if (result->check != TD_OK) {
        return td_fail(result->check, "%s", result->message);
    }
    if (result->saved) {
        printf("saved %s after %" PRId64 " steps\n", save, result->steps_done);
    }
    printf("weights_sha256 %s\n", result->sha256);
    fflush(stdout);
    if (!result->interrupted) {
        return TD_OK;
    }
    if (!result->saved) {
        return td_fail(TD_EINTERRUPTED,
                       "interrupted after %" PRId64 " steps; nothing was saved (no --save)",
                       result->steps_done);
    }
    return td_fail(TD_EINTERRUPTED,
                   "interrupted after %" PRId64
                   " steps; repeat the command with --resume %s to go on",
                   result->steps_done, save);
}

td_status td_training_run(const td_layout *layout, int64_t segment_bytes, td_rank_fn *fn, void *arg,
                          const char *save) {
    td_interrupt_install();
    (void)td_tsc_hz(); /* calibrated once here, not in every rank */
    fflush(stdout);
    /* Two minutes: writing a large checkpoint, or reading a large table, keeps other ranks waiting.
     */
    td_group_options group = {.layout = *layout,
                              .segment_bytes = (size_t)segment_bytes,
                              .deadline_ns = INT64_C(120000000000)};
    td_training_result result = {0};
    TD_TRY(td_group_run_result(&group, fn, arg, &result, sizeof(result)));
    return report(&result, save);
}
