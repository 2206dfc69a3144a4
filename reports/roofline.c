/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "reports/sections.h"

static void add_roof(json_t *chart, const char *name, double peak, double bandwidth) {
    if (!(peak > 0 && bandwidth > 0)) {
        return;
    }
    char label[128], number[32];
    snprintf(label, sizeof label, "roof %s: %s GFLOP/s", name, td_significant(peak, number));
    json_t *series = td_series_add(chart, label, "ceiling");
    double ridge = peak / bandwidth;
    td_point_add(series, 1.0 / 16, bandwidth / 16, NAN, NAN, "memory bandwidth");
    td_point_add(series, ridge, peak, NAN, NAN, "ridge");
    td_point_add(series, 512, peak, NAN, NAN, "peak of arithmetic");
}

double td_facts_ceiling(const td_facts *facts, const char *name, const char *layout) {
    double best = NAN;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (td_fact_is(fact, "ceiling") && strcmp(fact->part[1], name) == 0 &&
            strcmp(fact->layout, layout) == 0) {
            best = fmax(best, fact->value);
        }
    }
    return best;
}

/* Of the fastest mix of loads and stores: an operation has a mix of its own. */
static double bandwidth_of(const td_facts *facts, const char *layout) {
    static const char *const mixes[] = {"read", "copy", "add", "swap"};
    double best = NAN;
    for (size_t i = 0; i < sizeof mixes / sizeof mixes[0]; i++) {
        best = fmax(best, td_facts_ceiling(facts, mixes[i], layout));
    }
    return best;
}

void td_roofs_add(const td_facts *facts, json_t *chart, const char *layout) {
    static const char *const peaks[][2] = {
        {"fma_f32", ""}, {"dot_bf16", ", bf16"}, {"dot_bf16_amx", ", bf16 tiles"}};
    for (size_t i = 0; i < sizeof peaks / sizeof peaks[0]; i++) {
        char label[96];
        snprintf(label, sizeof label, "%s%s", layout, peaks[i][1]);
        add_roof(chart, label, td_facts_ceiling(facts, peaks[i][0], layout),
                 bandwidth_of(facts, layout));
    }
}
