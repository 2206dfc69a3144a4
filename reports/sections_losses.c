/* SPDX-License-Identifier: Apache-2.0
 * The ways to compute a loss, against the tiled one: time, products, memory, bytes moved.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "reports/sections.h"

/* loss/softmax/local/b1024-e512 */
enum { PART_LOSS = 1, PART_WAY, PART_SHAPE };

static bool is_loss(const td_fact *fact) {
    return td_fact_is(fact, "loss") && fact->n_parts > PART_SHAPE;
}

static bool is_tiled(const td_fact *fact) {
    const char *end = strstr(fact->part[PART_WAY], "-tiled");
    return end != NULL && strlen(end) == strlen("-tiled");
}

/* Times the tiled way of the same loss, shape and layout; NaN where that was not measured. */
static double over_tiled(const td_facts *facts, const td_fact *fact) {
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *other = &facts->rows[i];
        if (is_loss(other) && other->ok && is_tiled(other) &&
            strcmp(other->part[PART_LOSS], fact->part[PART_LOSS]) == 0 &&
            strcmp(other->part[PART_SHAPE], fact->part[PART_SHAPE]) == 0 &&
            strcmp(other->layout, fact->layout) == 0) {
            return fact->median_ns / other->median_ns;
        }
    }
    return NAN;
}

static void loss_row(const td_facts *facts, td_table *table, const td_fact *fact) {
    td_table_text(table, "%s", fact->id);
    td_table_text(table, "%s", fact->layout);
    td_table_number(table, fact->median_ns * 1e-6);
    td_table_number(table, over_tiled(facts, fact));
    td_table_number(table, td_fact_number(fact, "gemm_units"));
    td_table_number(table, 100 * td_fact_number(fact, "hfu"));
    td_table_number(table, td_fact_number(fact, "loss_bytes") * 1e-6);
    td_table_number(table, td_fact_number(fact, "feature_bytes") * 1e-6);
    td_table_number(table, td_fact_number(fact, "exchanged_bytes") * 1e-6);
    td_table_text(table, "%s", td_json_text(fact->json, "check.answer_class", ""));
    if (fact->ok) {
        td_table_text(table, "%s", fact->check_method);
    } else {
        td_table_text(table, "%s: %s", fact->status, fact->reason);
        td_table_mark_bad(table);
    }
}

static void loss_lead(const td_facts *facts, td_section *section) {
    const td_fact *least = NULL;
    double most = 0;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (is_loss(fact) && fact->ok) {
            double ratio = over_tiled(facts, fact);
            most = ratio > most ? ratio : most;
            bool smaller = least == NULL ||
                           td_fact_number(fact, "loss_bytes") < td_fact_number(least, "loss_bytes");
            least = smaller ? fact : least;
        }
    }
    if (least == NULL) {
        td_text_puts(&section->lead, "No loss was proved in this run.");
        return;
    }
    char number[2][32];
    td_text_printf(&section->lead,
                   "The same loss takes up to %s times as long as the tiled way, by how it is "
                   "computed; %s takes least memory beside the features, %s MB.",
                   td_significant(most, number[0]), least->id,
                   td_significant(td_fact_number(least, "loss_bytes") * 1e-6, number[1]));
}

void td_section_losses(const td_facts *facts, td_section *section) {
    *section = (td_section){.id = "losses", .title = "Losses"};
    td_table *table = NULL;
    json_t *chart = NULL;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (!is_loss(fact)) {
            continue;
        }
        if (table == NULL) {
            chart = td_chart_add(section, "bar", "Time over the tiled way (times, lower is better)",
                                 "case", false, "times", false);
            table = td_section_table(section, "Ways to compute a loss",
                                     (const char *const[]){"case||t", "layout||t", "time|ms|n",
                                                           "over tiled|times|n", "GEMM units||n",
                                                           "of peak|%|n", "loss memory|MB|n",
                                                           "features|MB|n", "exchanged|MB|n",
                                                           "answer||t", "check||t", NULL});
        }
        loss_row(facts, table, fact);
        double ratio = over_tiled(facts, fact);
        if (fact->ok && isfinite(ratio)) {
            char category[200];
            snprintf(category, sizeof category, "%s %s %s", fact->part[PART_LOSS],
                     fact->part[PART_WAY], fact->part[PART_SHAPE]);
            td_bar_add(chart, td_series_find(chart, fact->layout, "other"), category, ratio, NAN,
                       NAN);
        }
    }
    if (table != NULL) {
        loss_lead(facts, section);
        td_text_printf(&section->command, "tandem bench 'loss/*' --suite %s",
                       td_json_text(facts->run, "suite", "full"));
    }
}
