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
    *fresh = (td_summary){.times.least = INFINITY, .share.least = INFINITY};
    snprintf(fresh->layout, sizeof fresh->layout, "%s", text);
    return fresh;
}

static void add_figure(td_figures *all, double median, double low) {
    double distance = log(median) - log(low);
    all->n++;
    all->logs += log(median);
    all->squares += distance * distance;
    all->least = fmin(all->least, median);
}

void td_summaries_add(td_summaries *sums, const td_layout *layout, const td_outcome *outcome) {
    td_summary *sum = summary_of(sums, layout);
    double times = td_outcome_number_of(outcome, "times_best");
    double times_low = td_outcome_number_of(outcome, "times_best_low");
    double share = td_outcome_number_of(outcome, "share_beside");
    if (sum != NULL && times > 0) {
        add_figure(&sum->times, times, times_low);
        sum->slower += times < SLOWER;
        sum->perhaps_slower += times_low < SLOWER;
    }
    if (sum != NULL && share > 0) {
        add_figure(&sum->share, share, td_outcome_number_of(outcome, "share_beside_low"));
    }
}

static double mean(const td_figures *all) {
    return exp(all->logs / (double)all->n);
}

static double mean_low(const td_figures *all) {
    return exp((all->logs - sqrt(all->squares)) / (double)all->n);
}

static td_status write_one(const td_summary *sum, td_record_writer *writer) {
    td_isa isa = TD_ISA_PORTABLE;
    TD_TRY(td_isa_active(&isa));
    char command[96 + TD_LAYOUT_TEXT], id[TD_CASE_ID];
    snprintf(id, sizeof id, "kernel/gemm_f32/%s/all-layers",
             td_kernel_selected(TD_OP_gemm_f32)->name);
    snprintf(command, sizeof command, "tandem bench 'kernel/gemm_f32/*' --suite full --layouts %s",
             sum->layout);
    json_t *extra =
        json_pack("{s:I, s:f, s:f, s:I, s:I}", "shapes", (json_int_t)sum->times.n, "low",
                  mean_low(&sum->times), "least", sum->times.least, "below_0_92",
                  (json_int_t)sum->slower, "low_below_0_92", (json_int_t)sum->perhaps_slower);
    if (sum->share.n > 0) {
        json_object_set_new(extra, "shapes_of_roof", json_integer(sum->share.n));
        json_object_set_new(extra, "of_roof", json_real(mean(&sum->share)));
        json_object_set_new(extra, "of_roof_low", json_real(mean_low(&sum->share)));
        json_object_set_new(extra, "of_roof_least", json_real(sum->share.least));
    }
    td_record record = {.case_id = id,
                        .layout = sum->layout,
                        .isa = td_isa_name(isa),
                        .provider = "tandem",
                        .status = "ok",
                        .value = mean(&sum->times),
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
        if (sums->at[i].times.n > 0) {
            TD_TRY(write_one(&sums->at[i], writer));
        }
    }
    return TD_OK;
}

void td_summaries_print(const td_summaries *sums) {
    for (int i = 0; i < sums->count; i++) {
        const td_summary *sum = &sums->at[i];
        printf("\nlinear layers %s: ", sum->layout);
        if (sum->times.n > 0) {
            printf("%" PRId64 " shapes, geometric mean %.3f (at least %.3f) times the best library "
                   "of each, least %.3f, %" PRId64 " below %.2f, the lower bound of %" PRId64 "; ",
                   sum->times.n, mean(&sum->times), mean_low(&sum->times), sum->times.least,
                   sum->slower, SLOWER, sum->perhaps_slower);
        }
        if (sum->share.n > 0) {
            printf("%" PRId64 " shapes, geometric mean %.1f %% (at least %.1f) of the peak beside, "
                   "least %.1f %%",
                   sum->share.n, 100 * mean(&sum->share), 100 * mean_low(&sum->share),
                   100 * sum->share.least);
        }
    }
    printf(sums->count > 0 ? "\n" : "");
}
