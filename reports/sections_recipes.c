/* SPDX-License-Identifier: Apache-2.0
 * Recipes against the whole step, and inference of the towers.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "reports/sections.h"

/* recipe/lit/vit-b-16/b8-f32, embed/image/vit-b-16/b8-f32 */
enum { PART_NAME = 1, PART_MODEL, PART_SHAPE };

static bool is_recipe(const td_fact *fact) {
    return td_fact_is(fact, "recipe") && fact->n_parts > PART_SHAPE;
}

static bool is_inference(const td_fact *fact) {
    return td_fact_is(fact, "embed") && fact->n_parts > PART_SHAPE;
}

/* The weights' or features' hash; of a case that is not good, why. */
static void end_row(td_table *table, const td_fact *fact) {
    if (fact->ok) {
        td_table_text(table, "%.12s", fact->sha256);
    } else {
        td_table_text(table, "%s: %s", fact->status, fact->reason);
        td_table_mark_bad(table);
    }
}

static void recipe_row(td_table *table, const td_fact *fact) {
    td_table_text(table, "%s", fact->id);
    td_table_text(table, "%s", fact->layout);
    td_table_number(table, fact->value);
    td_table_number(table, td_fact_number(fact, "speedup"));
    td_table_number(table, td_fact_number(fact, "predicted_speedup"));
    td_table_number(table, 100 * td_fact_number(fact, "speedup_share"));
    td_table_number(table, 100 * td_fact_number(fact, "hfu"));
    end_row(table, fact);
}

static void recipe_bars(json_t *chart, const td_fact *fact) {
    char category[200];
    snprintf(category, sizeof category, "%s %s %s", fact->part[PART_NAME], fact->part[PART_MODEL],
             fact->layout);
    td_bar_add(chart, td_series_find(chart, "measured", "tandem"), category,
               td_fact_number(fact, "speedup"), NAN, NAN);
    td_bar_add(chart, td_series_find(chart, "predicted", "ceiling"), category,
               td_fact_number(fact, "predicted_speedup"), NAN, NAN);
}

void td_section_recipes(const td_facts *facts, td_section *section) {
    *section = (td_section){.id = "recipes", .title = "Recipes: less than the whole step"};
    td_table *table = NULL;
    json_t *chart = NULL;
    const td_fact *least = NULL;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (!is_recipe(fact)) {
            continue;
        }
        if (table == NULL) {
            chart = td_chart_add(section, "bar", "Speed-up over the whole step (times)", "case",
                                 false, "times", false);
            table = td_section_table(section, "FLIP drops patches, LiT freezes the image tower",
                                     (const char *const[]){"case||t", "layout||t", "pairs/s||n",
                                                           "speed-up|times|n", "predicted|times|n",
                                                           "of predicted|%|n", "HFU|%|n",
                                                           "weights sha256||t", NULL});
        }
        recipe_row(table, fact);
        double share = td_fact_number(fact, "speedup_share");
        if (fact->ok && isfinite(share)) {
            recipe_bars(chart, fact);
            least = least == NULL || share < td_fact_number(least, "speedup_share") ? fact : least;
        }
    }
    if (table == NULL) {
        return;
    }
    if (least == NULL) {
        td_text_puts(&section->lead, "No recipe was compared with the whole step in this run.");
    } else {
        char number[2][32];
        td_text_printf(&section->lead,
                       "Every recipe reaches at least %.0f %% of the speed-up that counting "
                       "operations predicts; least %s on %s, %s times of %s.",
                       100 * td_fact_number(least, "speedup_share"), least->id, least->layout,
                       td_significant(td_fact_number(least, "speedup"), number[0]),
                       td_significant(td_fact_number(least, "predicted_speedup"), number[1]));
    }
    td_text_printf(&section->command, "tandem bench 'recipe/*' --suite %s",
                   td_json_text(facts->run, "suite", "full"));
}

void td_section_inference(const td_facts *facts, td_section *section) {
    *section = (td_section){.id = "inference", .title = "Inference"};
    td_table *table = NULL;
    json_t *chart = NULL;
    const td_fact *best = NULL;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (!is_inference(fact)) {
            continue;
        }
        if (table == NULL) {
            chart = td_chart_add(section, "bar", "Share of peak of executed operations (%)", "case",
                                 false, "%", false);
            table = td_section_table(
                section, "Images and captions to features",
                (const char *const[]){"case||t", "layout||t", "rate||n", "unit||t", "low||n",
                                      "high||n", "MFU|%|n", "HFU|%|n", "features sha256||t", NULL});
        }
        double hfu = td_fact_number(fact, "hfu");
        td_table_text(table, "%s", fact->id);
        td_table_text(table, "%s", fact->layout);
        td_table_number(table, fact->value);
        td_table_text(table, "%s", fact->unit);
        td_table_number(table, fact->low);
        td_table_number(table, fact->high);
        td_table_number(table, 100 * td_fact_number(fact, "mfu"));
        td_table_number(table, 100 * hfu);
        end_row(table, fact);
        if (fact->ok) {
            char category[200];
            snprintf(category, sizeof category, "%s %s %s", fact->part[PART_NAME],
                     fact->part[PART_MODEL], fact->part[PART_SHAPE]);
            td_bar_add(chart, td_series_find(chart, fact->layout, "other"), category, 100 * hfu,
                       NAN, NAN);
            best = best == NULL || hfu > td_fact_number(best, "hfu") ? fact : best;
        }
    }
    if (table == NULL) {
        return;
    }
    char number[32];
    if (best == NULL) {
        td_text_puts(&section->lead, "No inference was proved in this run.");
    } else {
        td_text_printf(
            &section->lead,
            "%s runs at %s %s on %s, %.0f %% of the peak. MFU counts padded captions, "
            "of which packing leaves out what nothing sees; HFU counts what is executed.",
            best->id, td_significant(best->value, number), best->unit, best->layout,
            100 * td_fact_number(best, "hfu"));
    }
    td_text_printf(&section->command, "tandem bench 'embed/*' --suite %s",
                   td_json_text(facts->run, "suite", "full"));
}
