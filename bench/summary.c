/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/summary.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/kernel.h"

static const double SLOWER = 0.92;

static td_summary *summary_of(td_summaries *sums, const td_layout *layout) {
    char text[TD_LAYOUT_TEXT];
    td_layout_print(layout, text);
    for (int i = 0; i < sums->count; i++) {
        if (strcmp(sums->at[i].layout, text) == 0) {
            return &sums->at[i];
        }
    }
    if (sums->count == TD_MAX_SUMMARIES) {
        return NULL;
    }
    td_summary *fresh = &sums->at[sums->count++];
    *fresh = (td_summary){.least_times = INFINITY, .least_share = INFINITY};
    snprintf(fresh->layout, sizeof fresh->layout, "%s", text);
    return fresh;
}

void td_summaries_add(td_summaries *sums, const td_layout *layout, const td_outcome *outcome) {
    td_summary *sum = summary_of(sums, layout);
    double times = td_outcome_number_of(outcome, "times_best");
    double share = td_outcome_number_of(outcome, "share_beside");
    if (sum != NULL && times > 0) {
        sum->compared++;
        sum->slower += times < SLOWER;
        sum->log_times += log(times);
        sum->least_times = fmin(sum->least_times, times);
    }
    if (sum != NULL && share > 0) {
        sum->shapes++;
        sum->log_share += log(share);
        sum->least_share = fmin(sum->least_share, share);
    }
}

static double mean_times(const td_summary *sum) {
    return exp(sum->log_times / (double)sum->compared);
}

static double mean_share(const td_summary *sum) {
    return exp(sum->log_share / (double)sum->shapes);
}

static td_status write_one(const td_summary *sum, td_record_writer *writer) {
    td_isa isa = TD_ISA_PORTABLE;
    TD_TRY(td_isa_active(&isa));
    char command[96 + TD_LAYOUT_TEXT], id[TD_CASE_ID];
    snprintf(id, sizeof id, "kernel/gemm_f32/%s/all-layers",
             td_kernel_selected(TD_OP_gemm_f32)->name);
    snprintf(command, sizeof command, "tandem bench 'kernel/gemm_f32/*' --suite full --layouts %s",
             sum->layout);
    json_t *extra = json_pack("{s:I, s:f, s:I}", "shapes", (json_int_t)sum->compared, "least",
                              sum->least_times, "below_0_92", (json_int_t)sum->slower);
    if (sum->shapes > 0) {
        json_object_set_new(extra, "shapes_of_roof", json_integer(sum->shapes));
        json_object_set_new(extra, "of_roof", json_real(mean_share(sum)));
        json_object_set_new(extra, "of_roof_least", json_real(sum->least_share));
    }
    td_record record = {.case_id = id,
                        .layout = sum->layout,
                        .isa = td_isa_name(isa),
                        .provider = "tandem",
                        .status = "ok",
                        .value = mean_times(sum),
                        .unit = "times",
                        .check_ok = true,
                        .check_method = "geometric mean of the records above",
                        .max_ulp = -1,
                        .extra = extra,
                        .command = command};
    td_status status = td_record_write(writer, &record);
    json_decref(extra);
    return status;
}

td_status td_summaries_write(const td_summaries *sums, td_record_writer *writer) {
    for (int i = 0; i < sums->count; i++) {
        if (sums->at[i].compared > 0) {
            TD_TRY(write_one(&sums->at[i], writer));
        }
    }
    return TD_OK;
}

void td_summaries_print(const td_summaries *sums) {
    for (int i = 0; i < sums->count; i++) {
        const td_summary *sum = &sums->at[i];
        printf("\nlinear layers %s: ", sum->layout);
        if (sum->compared > 0) {
            printf("%" PRId64 " shapes, geometric mean %.3f times the best library of each, least "
                   "%.3f, %" PRId64 " below %.2f; ",
                   sum->compared, mean_times(sum), sum->least_times, sum->slower, SLOWER);
        }
        if (sum->shapes > 0) {
            printf("%" PRId64 " shapes, geometric mean %.1f %% of the peak beside, least %.1f %%",
                   sum->shapes, 100 * mean_share(sum), 100 * sum->least_share);
        }
    }
    printf(sums->count > 0 ? "\n" : "");
}
