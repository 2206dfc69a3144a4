/* SPDX-License-Identifier: Apache-2.0
 * Processes and threads: what meeting costs, the experiments with their verdicts, and the pictures
 * that come out of them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "reports/memory_map.h"
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

/* Layouts side by side where only Tandem meets (region/empty, barrier/workers), pools where others
 * do the same (region/all-bound/hot); what is neither a region nor a barrier is in the table. */
static void draw_meeting(td_section *section, const td_fact *fact, json_t **chart) {
    bool beside = fact->n_parts > 3;
    bool meets = strcmp(fact->part[1], "region") == 0 || strcmp(fact->part[1], "barrier") == 0;
    if (!meets || !fact->ok || strcmp(fact->unit, "us") != 0 || fact->n_parts < 3) {
        return;
    }
    char category[224], series[160];
    snprintf(category, sizeof category, "%s %s", fact->part[beside ? 2 : 1],
             fact->part[beside ? 3 : 2]);
    snprintf(series, sizeof series, "%s%s%s", beside ? fact->provider : "", beside ? ", " : "",
             fact->layout);
    if (*chart == NULL) {
        *chart = td_chart_add(section, "bar",
                              beside ? "A region, beside other pools (us, lower is better)"
                                     : "Cost of meeting (us, lower is better)",
                              "case", false, "us", true);
    }
    const char *role = !beside ? "other" : fact->own ? "tandem" : "peer";
    td_bar_add(*chart, td_series_find(*chart, series, role), category, fact->value, fact->low,
               fact->high);
}

static void draw_costs(const td_facts *facts, td_section *section) {
    json_t *meetings = NULL, *pools = NULL;
    td_table *table = td_section_table(
        section, "Regions and barriers",
        (const char *const[]){"case||t", "layout||t", "provider||t", "value||n", "low||n",
                              "high||n", "unit||t", "threads a region||n", "CPUs used||n",
                              "line's round trip|ns|n", "wake-up|us|n", "share beside hogs||n",
                              "times adaptive||n", "longest wait|us|n", NULL});
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
        td_table_number(table, td_fact_number(fact, "line_round_trip_ns"));
        td_table_number(table, td_fact_number(fact, "wake_us"));
        td_table_number(table, td_fact_number(fact, "share_of_idle"));
        td_table_number(table, td_fact_number(fact, "times_adaptive"));
        td_table_number(table, td_fact_number(fact, "longest_wait_us"));
        draw_meeting(section, fact, fact->n_parts > 3 ? &pools : &meetings);
    }
}

/* A number of an experiment, which also goes to the table of what the pictures show. NaN when there
 * is none. */
static double read_figure(td_table *table, const td_fact *fact, const char *name) {
    double value = td_fact_number(fact, name);
    if (isfinite(value)) {
        td_table_text(table, "%s", fact->id);
        td_table_text(table, "%s", name);
        td_table_number(table, value);
    }
    return value;
}

static void draw_fork_law(const td_facts *facts, td_section *section, td_table *table) {
    static const struct {
        const char *label, *prefix, *role;
    } lines[] = {{"fork", "fork", "other"}, {"a thread", "thread", "other"}};
    const td_fact *fact = find_experiment(facts, "fork_law");
    if (fact == NULL || !fact->ok) {
        return;
    }
    json_t *chart =
        td_chart_add(section, "line", "What fork costs by the memory of the parent (us)",
                     "resident MiB", false, "us", false);
    for (int i = 0; i < 2; i++) {
        json_t *series = td_series_add(chart, lines[i].label, lines[i].role);
        for (int mib = 0; mib <= 1024; mib += 32) {
            char name[32];
            snprintf(name, sizeof name, "%s_us_%d_mib", lines[i].prefix, mib);
            td_point_add(series, mib, read_figure(table, fact, name), NAN, NAN, "");
        }
    }
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void draw_wake_ups(const td_facts *facts, td_section *section, td_table *table) {
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
    static const int quantiles[] = {50, 90, 99};
    for (int i = 0; i < 3; i++) {
        td_table_text(table, "%s", fact->id);
        td_table_text(table, "us to run again, %d %%", quantiles[i]);
        td_table_number(table, sorted[count * (size_t)quantiles[i] / 100]);
    }
    read_figure(table, fact, "wake_call_us");
    td_free(sorted);
}

static void draw_false_sharing(const td_facts *facts, td_section *section, td_table *table) {
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
        td_bar_add(chart, series, labels[i], read_figure(table, fact, names[i]), NAN, NAN);
    }
}

static void draw_switches(const td_facts *facts, td_section *section, td_table *table) {
    static const struct {
        const char *label, *prefix, *role;
    } kinds[] = {{"between threads", "thread", "other"}, {"between processes", "process", "other"}};
    static const int pages[] = {0, 64, 1024, 2048};
    static const char *const labels[] = {"nothing", "256 KiB", "4 MiB", "8 MiB"};
    const td_fact *fact = find_experiment(facts, "working_set");
    if (fact == NULL || !fact->ok) {
        return;
    }
    json_t *chart =
        td_chart_add(section, "bar", "A switch on one CPU by what both sides touch (us)",
                     "touched in each turn", false, "us", false);
    for (int kind = 0; kind < 2; kind++) {
        json_t *series = td_series_add(chart, kinds[kind].label, kinds[kind].role);
        for (int i = 0; i < 4; i++) {
            char name[32];
            snprintf(name, sizeof name, "%s_us_%d_pages", kinds[kind].prefix, pages[i]);
            td_bar_add(chart, series, labels[i], read_figure(table, fact, name), NAN, NAN);
        }
    }
}

static void draw_streams(const td_facts *facts, td_section *section, td_table *table) {
    enum { WAYS = 6 };
    static const char *const names[WAYS] = {
        "pipe_gbps",          "unix_stream_gbps", "process_vm_readv_gbps",
        "huge_vm_readv_gbps", "ring_gbps",        "big_ring_gbps"};
    static const char *const labels[WAYS] = {"pipe",
                                             "Unix socket",
                                             "process_vm_readv",
                                             "between huge pages",
                                             "ring in shared memory",
                                             "ring of 2 MiB"};
    const td_fact *fact = find_experiment(facts, "streams");
    if (fact == NULL || !fact->ok) {
        return;
    }
    json_t *chart = td_chart_add(section, "bar", "64 KiB from one process to another (GB/s)", "way",
                                 false, "GB/s", false);
    json_t *series = td_series_add(chart, fact->layout, "tandem");
    for (int i = 0; i < WAYS; i++) {
        td_bar_add(chart, series, labels[i], read_figure(table, fact, names[i]), NAN, NAN);
    }
}

/* ---- laws of scaling ---- */

enum { MOST_WORKERS = 8 };

/* Amdahl's law for each serial share, and Gustafson's for one, with what was counted. */
static void draw_speed_ups(const td_facts *facts, td_section *section, td_table *table) {
    static const int shares_pct[] = {0, 5, 20, 50};
    const td_fact *amdahl = find_experiment(facts, "amdahl");
    const td_fact *gustafson = find_experiment(facts, "gustafson");
    if (amdahl == NULL || !amdahl->ok || gustafson == NULL || !gustafson->ok) {
        return;
    }
    json_t *chart = td_chart_add(section, "scatter", "Speed-up that was counted, and by the laws",
                                 "workers", false, "times one worker", false);
    json_t *counted = td_series_add(chart, "counted, work fixed", "other");
    json_t *scaled = td_series_add(chart, "counted, work grows with the workers", "other");
    char name[48];
    for (int i = 0; i < 4; i++) {
        double s = shares_pct[i] / 100.0;
        snprintf(name, sizeof name, "Amdahl, %d %% serial", shares_pct[i]);
        json_t *law = td_series_add(chart, name, "ceiling");
        for (int p = 1; p <= MOST_WORKERS; p++) {
            td_point_add(law, p, 1 / (s + (1 - s) / p), NAN, NAN, "");
            snprintf(name, sizeof name, "speed_up_%d_pct_%d", shares_pct[i], p);
            td_point_add(counted, p, read_figure(table, amdahl, name), NAN, NAN, "");
        }
    }
    json_t *law = td_series_add(chart, "Gustafson, 10 % serial", "ceiling");
    for (int p = 1; p <= MOST_WORKERS; p++) {
        td_point_add(law, p, p - 0.1 * (p - 1), NAN, NAN, "");
        snprintf(name, sizeof name, "scaled_10_pct_%d", p);
        td_point_add(scaled, p, read_figure(table, gustafson, name), NAN, NAN, "");
    }
}

static void draw_universal_law(const td_facts *facts, td_section *section, td_table *table) {
    const td_fact *fact = find_experiment(facts, "usl_fit");
    if (fact == NULL || !fact->ok) {
        return;
    }
    double alpha = read_figure(table, fact, "alpha"), beta = read_figure(table, fact, "beta");
    double gamma = read_figure(table, fact, "gamma");
    json_t *chart = td_chart_add(section, "scatter",
                                 "The universal law fitted to throughput with noise (items a unit "
                                 "of time)",
                                 "workers, log", true, "items", false);
    json_t *points = td_series_add(chart, "throughput", "tandem");
    char name[64];
    snprintf(name, sizeof name, "fit: contention %.4f, coherence %.5f", alpha, beta);
    json_t *fit = td_series_add(chart, name, "ceiling");
    for (int k = 0; k <= 28; k++) {
        double n = exp2(k / 4.0);
        td_point_add(fit, n, gamma * n / (1 + alpha * (n - 1) + beta * n * (n - 1)), NAN, NAN, "");
        if (k % 4 == 0) {
            snprintf(name, sizeof name, "throughput_%.0f", n);
            td_point_add(points, n, read_figure(table, fact, name), NAN, NAN, "");
        }
    }
}

static void draw_serial_shares(const td_facts *facts, td_section *section, td_table *table) {
    static const int shares_pct[] = {0, 5, 20, 50};
    const td_fact *fact = find_experiment(facts, "serial_share");
    if (fact == NULL || !fact->ok) {
        return;
    }
    json_t *chart = td_chart_add(section, "scatter",
                                 "The serial share that Karp and Flatt find on two CPUs (%)",
                                 "programmed (%)", false, "found (%)", false);
    json_t *found = td_series_add(chart, "found from the times", "tandem");
    json_t *truth = td_series_add(chart, "as programmed", "ceiling");
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "found_pct_at_%d", shares_pct[i]);
        td_point_add(found, shares_pct[i], read_figure(table, fact, name), NAN, NAN, "");
        td_point_add(truth, shares_pct[i], shares_pct[i], NAN, NAN, "");
    }
}

static void draw_pictures(const td_facts *facts, td_section *section) {
    int experiments = 0;
    for (int i = 0; i < facts->n_rows; i++) {
        experiments += account_of(&facts->rows[i]) != NULL;
    }
    if (experiments == 0) {
        return;
    }
    td_table *table =
        td_section_table(section, "Figures of the experiments",
                         (const char *const[]){"case||t", "figure||t", "value||n", NULL});
    const td_fact *atlas = find_experiment(facts, "atlas");
    if (atlas != NULL) {
        td_memory_map_html(&section->drawing, account_of(atlas));
    }
    draw_fork_law(facts, section, table);
    draw_wake_ups(facts, section, table);
    draw_false_sharing(facts, section, table);
    draw_switches(facts, section, table);
    draw_streams(facts, section, table);
    draw_speed_ups(facts, section, table);
    draw_universal_law(facts, section, table);
    draw_serial_shares(facts, section, table);
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
    draw_pictures(facts, section);
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
