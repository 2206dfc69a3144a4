/* SPDX-License-Identifier: Apache-2.0 */
#include "reports/sections.h"

#include <math.h>
#include <string.h>

#include "reports/coll_choice.h"

void td_section_destroy(td_section *section) {
    td_text_destroy(&section->lead);
    td_text_destroy(&section->command);
    td_text_destroy(&section->drawing);
    json_decref(section->charts);
    for (int i = 0; i < section->n_tables; i++) {
        td_table_destroy(&section->tables[i]);
    }
}

td_table *td_section_table(td_section *section, const char *caption, const char *const *columns) {
    TD_ASSERT(section->n_tables < TD_SECTION_TABLES);
    td_table *table = &section->tables[section->n_tables++];
    td_table_begin(table, caption, columns);
    return table;
}

json_t *td_chart_add(td_section *section, const char *kind, const char *title, const char *x,
                     bool x_log, const char *y, bool y_log) {
    if (section->charts == NULL) {
        section->charts = json_array();
    }
    json_t *chart =
        json_pack("{s:s, s:s, s:s, s:b, s:s, s:b, s:[], s:[]}", "kind", kind, "title", title, "x",
                  x, "xLog", x_log, "y", y, "yLog", y_log, "categories", "series");
    json_array_append_new(section->charts, chart);
    return chart;
}

json_t *td_series_add(json_t *chart, const char *label, const char *role) {
    json_t *series = json_pack("{s:s, s:s, s:[]}", "label", label, "role", role, "points");
    json_array_append_new(json_object_get(chart, "series"), series);
    return series;
}

json_t *td_series_find(json_t *chart, const char *label, const char *role) {
    size_t i;
    json_t *series;
    json_array_foreach(json_object_get(chart, "series"), i, series) {
        if (strcmp(td_json_text(series, "label", ""), label) == 0) {
            return series;
        }
    }
    return td_series_add(chart, label, role);
}

static json_t *number_or_null(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

void td_point_add(json_t *series, double x, double y, double low, double high, const char *note) {
    if (isfinite(x) && isfinite(y)) {
        json_array_append_new(
            json_object_get(series, "points"),
            json_pack("[f, f, o, o, s]", x, y, number_or_null(low), number_or_null(high), note));
    }
}

void td_bar_add(json_t *chart, json_t *series, const char *category, double y, double low,
                double high) {
    json_t *categories = json_object_get(chart, "categories");
    size_t i = 0;
    for (; i < json_array_size(categories); i++) {
        if (strcmp(json_string_value(json_array_get(categories, i)), category) == 0) {
            break;
        }
    }
    if (i == json_array_size(categories)) {
        json_array_append_new(categories, json_string(category));
    }
    td_point_add(series, (double)i, y, low, high, category);
}

static void add_case(td_table *table, const td_fact *fact) {
    td_table_text(table, "%s", fact->id);
    td_table_text(table, "%s", fact->layout);
}

static void add_check(td_table *table, const td_fact *fact) {
    if (fact->ok) {
        td_table_text(table, "%s", fact->check_method[0] != '\0' ? fact->check_method : "none");
    } else {
        td_table_text(table, "%s: %s", fact->status, fact->reason);
        td_table_mark_bad(table);
    }
}

static int count_family(const td_facts *facts, const char *family) {
    int count = 0;
    for (int i = 0; i < facts->n_rows; i++) {
        count += td_fact_is(&facts->rows[i], family);
    }
    return count;
}

static void add_command(td_section *section, const td_facts *facts, const char *glob) {
    const char *suite = td_json_text(facts->run, "suite", "full");
    td_text_printf(&section->command, "tandem bench '%s' --suite %s", glob, suite);
}

/* ---- machine and ceilings ---- */

void td_section_machine(const td_facts *facts, td_section *section) {
    *section = (td_section){.id = "machine", .title = "Machine and ceilings"};
    if (count_family(facts, "ceiling") == 0) {
        return;
    }
    td_table *table = td_section_table(
        section, "Ceilings, measured first in this run",
        (const char *const[]){"ceiling||t", "layout||t", "value||n", "unit||t", "method||t", NULL});
    json_t *chart = td_chart_add(section, "bar", "Memory bandwidth by workers (GB/s)", "layout",
                                 false, "GB/s", false);
    double one = NAN, all = NAN;
    td_layouts_draw(facts, &section->drawing);
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (!td_fact_is(fact, "ceiling")) {
            continue;
        }
        td_table_text(table, "%s", fact->id + strlen("ceiling/"));
        td_table_text(table, "%s", fact->layout);
        td_table_number(table, fact->value);
        td_table_text(table, "%s", fact->unit);
        td_table_text(table, "%s%s%s", fact->check_method, fact->ok ? "" : ": ", fact->reason);
        if (strcmp(fact->unit, "GB/s") == 0) {
            td_bar_add(chart, td_series_find(chart, fact->part[1], "other"), fact->layout,
                       fact->value, fact->low, fact->high);
        }
        if (strcmp(fact->part[1], "fma_f32") == 0) {
            double *slot = fact->workers <= 1 ? &one : &all;
            *slot = fmax(*slot, fact->value); /* fmax drops the NaN it starts from */
        }
    }
    char a[32], b[32];
    if (isfinite(one) && isfinite(all)) {
        td_text_printf(
            &section->lead,
            "One worker reaches %s GFLOP/s of f32 FMA, all together %s (%.2f times); every "
            "share below is of a ceiling measured in this run.",
            td_significant(one, a), td_significant(all, b), all / one);
    } else {
        td_text_puts(&section->lead, "Every share below is of a ceiling measured in this run.");
    }
    add_command(section, facts, "ceiling/*");
}

/* ---- kernels ---- */

static void kernel_roofline(const td_facts *facts, td_section *section) {
    json_t *chart = td_chart_add(section, "scatter", "Roofline (GFLOP/s against FLOP per byte)",
                                 "FLOP per byte (log)", true, "GFLOP/s (log)", true);
    td_roofs_add(facts, chart, "p1xt1");
    td_roofs_add(facts, chart, "p1xt2");
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (td_fact_is(fact, "kernel") && fact->ok && fact->flops > 0 && fact->bytes > 0 &&
            fact->median_ns > 0) {
            char label[96];
            snprintf(label, sizeof label, "%s, %s", fact->provider, fact->layout);
            td_point_add(td_series_find(chart, label, fact->own ? "tandem" : "peer"),
                         fact->flops / fact->bytes, fact->flops / fact->median_ns, NAN, NAN,
                         fact->id);
        }
    }
}

static void gemm_bars(const td_facts *facts, td_section *section) {
    json_t *chart = td_chart_add(section, "bar", "GEMM f32, one worker (GFLOP/s)", "shape", false,
                                 "GFLOP/s", false);
    double peak = td_facts_ceiling(facts, "fma_f32", "p1xt1");
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (td_fact_is(fact, "kernel") && strcmp(fact->part[1], "gemm_f32") == 0 && fact->ok &&
            strcmp(fact->layout, "p1xt1") == 0) {
            char label[128];
            snprintf(label, sizeof label, "%s%s%s", fact->provider, fact->own ? " " : "",
                     fact->own ? fact->part[2] : "");
            td_bar_add(chart, td_series_find(chart, label, fact->own ? "tandem" : "peer"),
                       fact->part[fact->n_parts - 1], fact->value, fact->low, fact->high);
        }
    }
    if (isfinite(peak)) {
        json_object_set_new(chart, "line", json_pack("{s:f, s:s}", "y", peak, "label", "FMA peak"));
    }
}

void td_section_kernels(const td_facts *facts, td_section *section) {
    *section = (td_section){.id = "kernels", .title = "Kernels"};
    if (count_family(facts, "kernel") == 0) {
        return;
    }
    gemm_bars(facts, section);
    kernel_roofline(facts, section);
    td_table *table = td_section_table(
        section, "Kernels against their ceiling and the peer",
        (const char *const[]){"case||t", "layout||t", "provider||t", "value||n", "unit||t",
                              "share|% of roof|n", "roof||t", "of peer|times|n", "check||t", NULL});
    const td_fact *best = NULL;
    double ratio_log = 0;
    int ratios = 0;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (!td_fact_is(fact, "kernel")) {
            continue;
        }
        const td_fact *peer = fact->own && fact->ok ? td_fact_peer(facts, fact) : NULL;
        double ratio = peer == NULL ? NAN : fact->value / peer->value;
        bool is_gemm = strcmp(fact->part[1], "gemm_f32") == 0;
        if (is_gemm && ratio > 0) {
            ratio_log += log(ratio);
            ratios++;
        }
        if (fact->own && fact->ok && is_gemm && (best == NULL || fact->value > best->value)) {
            best = fact;
        }
        add_case(table, fact);
        td_table_text(table, "%s%s%s", fact->provider, fact->provider_version[0] != '\0' ? " " : "",
                      fact->provider_version);
        td_table_number(table, fact->value);
        td_table_text(table, "%s", fact->unit);
        td_table_number(table, 100 * td_fact_share(fact, NULL));
        td_table_text(table, "%s%s", td_fact_ceiling_name(fact),
                      td_fact_ceiling_is_disturbed(fact) ? ", disturbed" : "");
        td_table_number(table, ratio);
        add_check(table, fact);
    }
    char number[32];
    if (best != NULL) {
        td_text_printf(&section->lead, "GEMM peaks at %s GFLOP/s (%.0f %% of the FMA peak, %s, %s)",
                       td_significant(best->value, number), 100 * td_fact_share(best, NULL),
                       best->part[best->n_parts - 1], best->layout);
        if (ratios > 0) {
            td_text_printf(&section->lead,
                           "; over %d shared case%s it runs at %.2f times the fastest library "
                           "(geometric mean)",
                           ratios, ratios == 1 ? "" : "s", exp(ratio_log / ratios));
        }
        td_text_puts(&section->lead, ".");
    } else {
        td_text_puts(&section->lead, "No GEMM case was proved in this run.");
    }
    add_command(section, facts, "kernel/*");
}

/* ---- collectives ---- */

static void collective_chart(const td_facts *facts, td_section *section, const char *operation,
                             bool time) {
    char title[96];
    snprintf(title, sizeof title, time ? "%s: time (us)" : "%s: bus bandwidth (GB/s)", operation);
    json_t *chart = td_chart_add(section, "line", title, "message (bytes, log)", true,
                                 time ? "us (log)" : "GB/s (log)", true);
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        double busbw = td_fact_number(fact, "busbw");
        if (!td_fact_is(fact, "coll") || !fact->ok || strcmp(fact->part[1], operation) != 0) {
            continue;
        }
        char label[96];
        snprintf(label, sizeof label, "%s, %s", fact->part[2], fact->layout);
        td_point_add(td_series_find(chart, label, "other"), td_fact_message_bytes(fact),
                     time ? fact->median_ns * 1e-3 : busbw, NAN, NAN, fact->id);
        double roof = td_fact_number(fact, "busbw_roof");
        if (!time && isfinite(roof)) {
            snprintf(label, sizeof label, "memory roof, p%d", fact->ranks);
            td_point_add(td_series_find(chart, label, "ceiling"), td_fact_message_bytes(fact), roof,
                         NAN, NAN, "2pn traffic at measured bandwidth");
        }
    }
}

void td_section_collectives(const td_facts *facts, td_section *section) {
    *section = (td_section){.id = "collectives", .title = "Collectives"};
    if (count_family(facts, "coll") == 0) {
        return;
    }
    if (facts->ring != NULL) {
        td_text_puts(&section->drawing,
                     "<p>A ring allreduce is a reduce-scatter, which leaves every rank one summed "
                     "chunk, and an allgather, which spreads them. Four ranks with four chunks "
                     "each; 0+3 is the sum of what ranks 0 and 3 brought:</p>\n"
                     "<div class=\"grids\">");
        td_text_puts(&section->drawing, facts->ring);
        td_text_puts(&section->drawing, "</div>\n");
    }
    collective_chart(facts, section, "allreduce", true);
    collective_chart(facts, section, "allreduce", false);
    td_table *table = td_section_table(
        section, "Collectives by algorithm, layout and size",
        (const char *const[]){"case||t", "layout||t", "message|bytes|n", "time|us|n",
                              "busbw|GB/s|n", "share|% of roof|n", "check||t", NULL});
    const td_fact *best = NULL;
    double best_busbw = 0;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (!td_fact_is(fact, "coll")) {
            continue;
        }
        double busbw = td_fact_number(fact, "busbw");
        if (fact->ok && strcmp(fact->part[1], "allreduce") == 0 && busbw > best_busbw) {
            best = fact;
            best_busbw = busbw;
        }
        add_case(table, fact);
        td_table_number(table, td_fact_message_bytes(fact));
        td_table_number(table, fact->median_ns * 1e-3);
        td_table_number(table, busbw);
        td_table_number(table, 100 * td_fact_share(fact, NULL));
        add_check(table, fact);
    }
    char number[32];
    if (best != NULL) {
        td_text_printf(&section->lead,
                       "Allreduce reaches a bus bandwidth of %s GB/s (%s, %s, %s), checked bit for "
                       "bit against exactly representable sums.",
                       td_significant(best_busbw, number), best->part[2],
                       best->part[best->n_parts - 1], best->layout);
    } else {
        td_text_puts(&section->lead, "No allreduce case was proved in this run.");
    }
    int violated = td_coll_choice(facts, section);
    if (violated > 0) {
        td_text_printf(&section->lead, " %d performance guideline%s violated.", violated,
                       violated == 1 ? " is" : "s are");
    }
    add_command(section, facts, "coll/*");
}

/* ---- data path: one table of values ---- */

static void plain_section(const td_facts *facts, td_section *section, const char *family,
                          const char *caption) {
    td_table *table = td_section_table(
        section, caption,
        (const char *const[]){"case||t", "layout||t", "provider||t", "value||n", "low||n",
                              "high||n", "unit||t", "share|% of roof|n", "check||t", NULL});
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (td_fact_is(fact, family)) {
            add_case(table, fact);
            td_table_text(table, "%s", fact->provider);
            td_table_number(table, fact->value);
            td_table_number(table, fact->low);
            td_table_number(table, fact->high);
            td_table_text(table, "%s", fact->unit);
            td_table_number(table, 100 * td_fact_share(fact, NULL));
            add_check(table, fact);
        }
    }
}

static void family_bars(const td_facts *facts, td_section *section, const char *family,
                        const char *unit, const char *title) {
    json_t *chart = td_chart_add(section, "bar", title, "case", false, unit, false);
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (td_fact_is(fact, family) && fact->ok && strcmp(fact->unit, unit) == 0) {
            char category[160];
            snprintf(category, sizeof category, "%s %s", fact->part[1],
                     fact->n_parts > 2 ? fact->part[2] : "");
            td_bar_add(
                chart,
                td_series_find(chart, fact->layout[0] != '\0' ? fact->layout : "all", "other"),
                category, fact->value, fact->low, fact->high);
        }
    }
    json_t *charts = section->charts;
    if (json_array_size(json_object_get(chart, "series")) == 0) {
        json_array_remove(charts, json_array_size(charts) - 1);
    }
}

static const td_fact *find_named(const td_facts *facts, const char *family, const char *name) {
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (td_fact_is(fact, family) && fact->ok &&
            strncmp(fact->part[1], name, strlen(name)) == 0) {
            return fact;
        }
    }
    return NULL;
}

void td_section_data(const td_facts *facts, td_section *section) {
    *section = (td_section){.id = "data", .title = "Data path"};
    int count = count_family(facts, "data");
    if (count == 0) {
        return;
    }
    family_bars(facts, section, "data", "GB/s", "Records and checksums (GB/s)");
    plain_section(facts, section, "data", "Data path");
    const td_fact *read = find_named(facts, "data", "tfrecord");
    char number[32];
    if (read != NULL) {
        td_text_printf(&section->lead,
                       "Checked TFRecord reading runs at %s %s, %.0f %% of %s as measured in this "
                       "run.",
                       td_significant(read->value, number), read->unit,
                       100 * td_fact_share(read, NULL), td_fact_ceiling_name(read));
    } else {
        td_text_printf(&section->lead, "%d cases of the data path were measured.", count);
    }
    add_command(section, facts, "data/*");
}

/* ---- noise and method ---- */

void td_section_noise(const td_facts *facts, td_section *section) {
    *section = (td_section){.id = "noise", .title = "Noise and method"};
    if (facts->n_rows == 0) {
        return;
    }
    td_table *table =
        td_section_table(section, "Noise, the widest spread first in mind: sort by any column",
                         (const char *const[]){"case||t", "layout||t", "samples||n", "median|us|n",
                                               "MAD|%|n", "steal|%|n", "switches||n", NULL});
    double worst = 0, steal = 0;
    const td_fact *widest = NULL;
    int timed = 0;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (!fact->ok || !(fact->samples > 1)) {
            continue;
        }
        timed++;
        double spread = 100 * fact->mad_ns / fact->median_ns;
        if (spread > worst) {
            worst = spread;
            widest = fact;
        }
        steal = fmax(steal, isfinite(fact->steal_pct) ? fact->steal_pct : 0);
        add_case(table, fact);
        td_table_number(table, fact->samples);
        td_table_number(table, fact->median_ns * 1e-3);
        td_table_number(table, spread);
        td_table_number(table, fact->steal_pct);
        td_table_number(table, fact->switches);
    }
    char a[32], b[32];
    td_text_printf(
        &section->lead,
        "%d cases were timed after their check passed: values are medians, intervals are "
        "distribution-free 95 %% intervals of the median; most stolen time in a case: %s %%",
        timed, td_significant(steal, a));
    if (widest != NULL) {
        td_text_printf(&section->lead, "; widest spread: %s on %s (MAD %s %% of the median)",
                       widest->id, widest->layout, td_significant(worst, b));
    }
    td_text_puts(&section->lead, ".");
}
