/* SPDX-License-Identifier: Apache-2.0
 * Processes and threads: what meeting costs, the experiments with their verdicts, and the pictures
 * that come out of them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "reports/sections.h"

/* An experiment keeps its account; everything else of the family is a cost. */
static const json_t *account_of(const td_fact *fact) {
    return td_fact_is(fact, "threads") ? json_object_get(fact->json, "account") : NULL;
}

static const td_fact *find_experiment(const td_facts *facts, const char *name) {
    for (int i = 0; i < facts->n_rows; i++) {
        if (account_of(&facts->rows[i]) != NULL && strcmp(facts->rows[i].part[2], name) == 0) {
            return &facts->rows[i];
        }
    }
    return NULL;
}

static void draw_costs(const td_facts *facts, td_section *section) {
    json_t *chart = NULL;
    td_table *table = td_section_table(
        section, "Regions and barriers",
        (const char *const[]){"case||t", "layout||t", "provider||t", "value||n", "low||n",
                              "high||n", "unit||t", "threads a region||n", "CPUs used||n", NULL});
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (!td_fact_is(fact, "threads") || account_of(fact) != NULL) {
            continue;
        }
        td_table_text(table, "%s", fact->id);
        td_table_text(table, "%s", fact->layout);
        td_table_text(table, "%s", fact->provider);
        td_table_number(table, fact->value);
        td_table_number(table, fact->low);
        td_table_number(table, fact->high);
        td_table_text(table, "%s", fact->unit);
        td_table_number(table, td_fact_number(fact, "threads_per_region"));
        td_table_number(table, td_fact_number(fact, "cpus_used"));
        if (fact->ok && strcmp(fact->unit, "us") == 0) {
            char category[224], series[160];
            snprintf(category, sizeof category, "%s %s %s", fact->part[1],
                     fact->n_parts > 2 ? fact->part[2] : "",
                     fact->n_parts > 3 ? fact->part[3] : "");
            snprintf(series, sizeof series, "%s, %s", fact->provider, fact->layout);
            if (chart == NULL) {
                chart = td_chart_add(section, "bar", "Cost of meeting (us, lower is better)",
                                     "case", false, "us", true);
            }
            td_bar_add(chart, td_series_find(chart, series, fact->own ? "tandem" : "peer"),
                       category, fact->value, fact->low, fact->high);
        }
    }
}

static void draw_fork_law(const td_facts *facts, td_section *section) {
    const td_fact *fact = find_experiment(facts, "fork_law");
    if (fact == NULL || !fact->ok) {
        return;
    }
    json_t *chart = td_chart_add(section, "line", "What fork costs by the memory of the parent",
                                 "resident MiB", false, "us", false);
    json_t *series = td_series_add(chart, "fork", "tandem");
    for (int mib = 0; mib <= 1024; mib += 32) {
        char name[32];
        snprintf(name, sizeof name, "fork_us_%d_mib", mib);
        double us = td_fact_number(fact, name);
        if (isfinite(us)) {
            td_point_add(series, mib, us, NAN, NAN, "");
        }
    }
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void draw_wake_ups(const td_facts *facts, td_section *section) {
    const td_fact *fact = find_experiment(facts, "wake_up");
    const json_t *samples = fact != NULL ? json_object_get(fact->json, "samples_ns") : NULL;
    size_t count = json_array_size(samples);
    double *sorted = count > 1 ? td_alloc(count * sizeof *sorted) : NULL;
    if (sorted == NULL) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        sorted[i] = json_number_value(json_array_get(samples, i)) * 1e-3;
    }
    qsort(sorted, count, sizeof *sorted, by_size);
    json_t *chart = td_chart_add(section, "line", "How long a sleeper takes to run again",
                                 "share of wake-ups (%)", false, "us, log", true);
    json_t *series = td_series_add(chart, "woken by a futex", "tandem");
    for (size_t i = 0; i < count; i++) {
        td_point_add(series, 100 * ((double)i + 0.5) / (double)count, sorted[i], NAN, NAN, "");
    }
    td_free(sorted);
}

static void draw_false_sharing(const td_facts *facts, td_section *section) {
    static const char *const names[] = {"same_line_ns", "apart_64_ns", "apart_128_ns"};
    static const char *const labels[] = {"on one line", "64 bytes apart", "128 bytes apart"};
    const td_fact *fact = find_experiment(facts, "false_sharing");
    if (fact == NULL || !fact->ok) {
        return;
    }
    json_t *chart = td_chart_add(section, "bar", "An addition by each of two threads (ns)",
                                 "their counters", false, "ns", false);
    json_t *series = td_series_add(chart, fact->layout, "tandem");
    for (int i = 0; i < 3; i++) {
        td_bar_add(chart, series, labels[i], td_fact_number(fact, names[i]), NAN, NAN);
    }
}

static void list_memory(const td_facts *facts, td_section *section) {
    const td_fact *fact = find_experiment(facts, "atlas");
    const json_t *account = fact != NULL ? account_of(fact) : NULL;
    td_table *table = NULL;
    for (size_t i = 0; i < json_array_size(account); i++) {
        const char *line = json_string_value(json_array_get(account, i));
        if (line == NULL || line[0] != '|' || strlen(line) < 2) {
            continue;
        }
        if (table == NULL) {
            table = td_section_table(section, "The memory of a process and three threads",
                                     (const char *const[]){"address, size, rights, file: what "
                                                           "lies there||t",
                                                           NULL});
        }
        td_table_text(table, "%s", line + 2);
    }
}

static void list_experiments(const td_facts *facts, td_section *section, int *held, int *all) {
    td_table *table = td_section_table(
        section, "Experiments",
        (const char *const[]){"case||t", "verdict||t", "checks||t", "seen||t", NULL});
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        const json_t *account = account_of(fact);
        if (account == NULL) {
            continue;
        }
        const char *seen = "";
        for (size_t k = 0; k < json_array_size(account); k++) {
            const char *line = json_string_value(json_array_get(account, k));
            bool shown = line != NULL && strlen(line) > 2 && line[0] == (fact->ok ? '+' : '-');
            seen = shown ? line + 2 : seen;
        }
        td_table_text(table, "%s", fact->id);
        td_table_text(table, "%s", fact->ok ? "PASS" : "FAIL");
        if (!fact->ok) {
            td_table_mark_bad(table);
        }
        td_table_text(table, "%s", fact->check_method != NULL ? fact->check_method : "");
        td_table_text(table, "%s", seen);
        *held += fact->ok;
        ++*all;
    }
}

void td_section_threads(const td_facts *facts, td_section *section) {
    *section = (td_section){.id = "threads", .title = "Processes and threads"};
    int count = 0, held = 0, all = 0;
    const td_fact *region = NULL;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        count += td_fact_is(fact, "threads");
        if (region == NULL && td_fact_is(fact, "threads") && strcmp(fact->part[1], "region") == 0 &&
            fact->own && fact->ok) {
            region = fact;
        }
    }
    if (count == 0) {
        return;
    }
    draw_costs(facts, section);
    draw_fork_law(facts, section);
    draw_wake_ups(facts, section);
    draw_false_sharing(facts, section);
    list_memory(facts, section);
    list_experiments(facts, section, &held, &all);
    char number[32];
    if (region != NULL) {
        td_text_printf(&section->lead, "An empty parallel region costs %s %s (%s). ",
                       td_significant(region->value, number), region->unit, region->layout);
    }
    if (all > 0) {
        td_text_printf(&section->lead,
                       "%d of %d experiments about processes and threads hold, each told from a "
                       "version that is broken on purpose.",
                       held, all);
    } else if (region == NULL) {
        td_text_printf(&section->lead, "%d cases of processes and threads were measured.", count);
    }
    td_text_printf(&section->command, "tandem bench 'threads/*'");
}
