/* SPDX-License-Identifier: Apache-2.0
 * Training by layout, and the anatomy of a step.
 */
#include <math.h>
#include <string.h>

#include "reports/sections.h"

static bool is_step(const td_fact *fact) {
    return td_fact_is(fact, "step");
}

static void step_label(const td_fact *fact, char label[160]) {
    snprintf(label, 160, "%s %s", fact->part[1], fact->part[2]);
}

static bool same_step(const td_fact *a, const td_fact *b) {
    return strcmp(a->id, b->id) == 0 && strcmp(a->provider, b->provider) == 0;
}

/* The same step with one rank and one worker. */
static const td_fact *find_serial(const td_facts *facts, const td_fact *fact) {
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *other = &facts->rows[i];
        if (other->ok && other->ranks * other->workers == 1 && same_step(other, fact)) {
            return other;
        }
    }
    return NULL;
}

/* A record without a ceiling is f32's. */
static bool has_peak(const td_fact *fact, const char *peak) {
    const char *name = td_fact_ceiling_name(fact);
    return strcmp(name[0] == '\0' ? "fma_f32" : name, peak) == 0;
}

/* The step of the highest FLOP rate among those of one arithmetic, told by its peak. */
static const td_fact *best_of(const td_facts *facts, const char *peak) {
    const td_fact *best = NULL;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (is_step(fact) && fact->ok && fact->own && fact->flops > 0 && has_peak(fact, peak) &&
            (best == NULL || fact->flops / fact->median_ns > best->flops / best->median_ns)) {
            best = fact;
        }
    }
    return best;
}

static const td_fact *best_step(const td_facts *facts) {
    return best_of(facts, "fma_f32");
}

/* Who shares the work of a layout: workers of one rank, or ranks of a kind. */
static const char *sharers(const td_fact *fact) {
    const char *kind = strchr(fact->layout, ':');
    return fact->ranks <= 1                 ? "workers"
           : kind != NULL && kind[1] == 't' ? "thread ranks"
                                            : "process ranks";
}

/* A layout of several workers, and the same step on one. */
static bool scales(const td_facts *facts, const td_fact *fact, const char *model) {
    bool shown = is_step(fact) && fact->ok && strcmp(fact->part[2], model) == 0;
    return shown && fact->ranks * fact->workers > 1 && find_serial(facts, fact) != NULL;
}

static bool any_scales(const td_facts *facts, const char *model) {
    for (int i = 0; i < facts->n_rows; i++) {
        if (scales(facts, &facts->rows[i], model)) {
            return true;
        }
    }
    return false;
}

/* Of one model only: a model that is too small to share would hide what the others do. */
static void scaling_chart(const td_facts *facts, const char *model, td_section *section) {
    char title[128];
    snprintf(title, sizeof title, "Scaling of %s against one worker (times)", model);
    json_t *chart =
        td_chart_add(section, "line", title, "workers in all ranks", false, "speed-up", false);
    json_t *ideal = td_series_add(chart, "ideal", "ceiling");
    int most = 1;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (!scales(facts, fact, model)) {
            continue;
        }
        const td_fact *serial = find_serial(facts, fact);
        int total = fact->ranks * fact->workers;
        char name[128];
        most = total > most ? total : most;
        snprintf(name, sizeof name, "%s, %s", fact->part[1], sharers(fact));
        json_t *series = td_series_find(chart, name, "other");
        if (json_array_size(json_object_get(series, "points")) == 0) {
            td_point_add(series, 1, 1, NAN, NAN, serial->layout);
        }
        td_point_add(series, total, fact->value / serial->value, NAN, NAN, fact->layout);
    }
    for (int workers = 1; workers <= most; workers *= 2) {
        td_point_add(ideal, workers, workers, NAN, NAN, "ideal");
    }
}

static void training_table(const td_facts *facts, td_section *section) {
    td_table *table = td_section_table(
        section, "Training steps by layout",
        (const char *const[]){"case||t", "layout||t", "provider||t", "pairs/s||n", "low||n",
                              "high||n", "speed-up|times|n", "efficiency|%|n", "MFU|%|n", "HFU|%|n",
                              "data wait|%|n", "huge pages|%|n", "weights sha256||t", NULL});
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (!is_step(fact)) {
            continue;
        }
        const td_fact *serial = fact->ok ? find_serial(facts, fact) : NULL;
        double speedup = serial == NULL ? NAN : fact->value / serial->value;
        td_table_text(table, "%s", fact->id);
        td_table_text(table, "%s", fact->layout);
        td_table_text(table, "%s", fact->provider);
        td_table_number(table, fact->value);
        td_table_number(table, fact->low);
        td_table_number(table, fact->high);
        td_table_number(table, speedup);
        td_table_number(table, 100 * speedup / (fact->ranks * fact->workers));
        td_table_number(table, 100 * td_fact_number(fact, "mfu"));
        td_table_number(table, 100 * td_fact_number(fact, "hfu"));
        td_table_number(table, 100 * td_fact_number(fact, "data_wait_share"));
        td_table_number(table, 100 * td_fact_number(fact, "huge_page_share"));
        if (fact->ok) {
            td_table_text(table, "%.12s", fact->sha256);
        } else {
            td_table_text(table, "%s: %s", fact->status, fact->reason);
            td_table_mark_bad(table);
        }
    }
}

/* Another program's step of the same case and layout as this one. */
static bool beside(const td_fact *fact, const td_fact *own) {
    return is_step(fact) && fact->ok && !fact->own && strcmp(fact->id, own->id) == 0 &&
           strcmp(fact->layout, own->layout) == 0;
}

static void peer_row(td_table *table, const td_fact *fact, const td_fact *own) {
    double memory = td_fact_number(fact, "max_rss_bytes");
    td_table_text(table, "%s", fact->id);
    td_table_text(table, "%s", fact->layout);
    td_table_text(table, "%s%s%s", fact->provider, fact->own ? "" : " ", fact->provider_version);
    td_table_number(table, fact->value);
    td_table_number(table, fact->low);
    td_table_number(table, fact->high);
    td_table_number(table, 100 * td_fact_number(fact, "mfu"));
    td_table_number(table, fact->own ? NAN : own->value / fact->value);
    td_table_number(table, memory * 1e-9);
    td_table_number(table, fact->own ? NAN : td_fact_number(own, "max_rss_bytes") / memory);
}

/* Tandem's steps that other programs ran too, each with theirs below it; and a sentence on how they
 * compare with the fastest ones. */
static void peers_table(const td_facts *facts, td_section *section) {
    td_table *table = NULL;
    double least = INFINITY, most = 0, logs = 0;
    int steps = 0;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *own = &facts->rows[i];
        double fastest = 0;
        for (int k = 0; k < facts->n_rows && is_step(own) && own->ok && own->own; k++) {
            const td_fact *fact = &facts->rows[k];
            if (!beside(fact, own)) {
                continue;
            }
            if (table == NULL) {
                table = td_section_table(
                    section, "Training steps beside other programs",
                    (const char *const[]){"case||t", "layout||t", "program||t", "pairs/s||n",
                                          "low||n", "high||n", "MFU|%|n", "Tandem is|times|n",
                                          "memory|GB|n", "Tandem needs|of it|n", NULL});
            }
            if (!(fastest > 0)) {
                peer_row(table, own, own);
            }
            peer_row(table, fact, own);
            fastest = fmax(fastest, fact->value);
        }
        if (fastest > 0) {
            double times = own->value / fastest;
            least = fmin(least, times);
            most = fmax(most, times);
            logs += log(times);
            steps++;
        }
    }
    if (steps == 1) {
        td_text_printf(&section->lead, " It runs at %.2f times the fastest other program's speed.",
                       least);
    } else if (steps > 1) {
        td_text_printf(
            &section->lead,
            " %d steps run at %.2f to %.2f times the speed of the fastest other program, "
            "%.2f in the geometric mean.",
            steps, least, most, exp(logs / steps));
    }
}

/* Whether every layout of the same step ended with the same weights. */
static bool one_answer(const td_facts *facts, int *layouts) {
    bool same = true;
    *layouts = 0;
    const td_fact *best = best_step(facts);
    for (int i = 0; best != NULL && i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (is_step(fact) && fact->ok && same_step(fact, best)) {
            ++*layouts;
            same = same && strcmp(fact->sha256, best->sha256) == 0;
        }
    }
    return same;
}

/* The chart of a model's throughput; added when new. Models differ by orders of magnitude. */
static json_t *throughput_chart(td_section *section, const char *model) {
    char title[128];
    snprintf(title, sizeof title, "Training throughput of %s (pairs/s)", model);
    size_t i;
    json_t *chart;
    json_array_foreach(section->charts, i, chart) {
        if (strcmp(td_json_text(chart, "title", ""), title) == 0) {
            return chart;
        }
    }
    return td_chart_add(section, "bar", title, "layout", false, "pairs/s", false);
}

void td_section_training(const td_facts *facts, td_section *section) {
    *section = (td_section){.id = "training", .title = "Training by layout"};
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (is_step(fact)) {
            json_t *chart = throughput_chart(section, fact->part[2]);
            if (fact->ok) {
                char name[160];
                snprintf(name, sizeof name, "%s %s%s%s%s%s", fact->part[1], fact->part[3],
                         fact->own ? "" : ", ", fact->own ? "" : fact->provider,
                         fact->own ? "" : " ", fact->own ? "" : fact->provider_version);
                td_bar_add(chart, td_series_find(chart, name, "other"), fact->layout, fact->value,
                           fact->low, fact->high);
            }
        }
    }
    if (section->charts == NULL) {
        return;
    }
    const td_fact *best = best_step(facts);
    if (best != NULL && any_scales(facts, best->part[2])) {
        scaling_chart(facts, best->part[2], section);
    }
    training_table(facts, section);
    if (best == NULL) {
        td_text_puts(&section->lead, "No training step was proved in this run.");
        return;
    }
    const td_fact *serial = find_serial(facts, best);
    int layouts;
    bool same = one_answer(facts, &layouts);
    char number[32], label[160];
    step_label(best, label);
    td_text_printf(&section->lead, "%s trains at %s pairs/s on %s", label,
                   td_significant(best->value, number), best->layout);
    if (serial != NULL && serial != best) {
        td_text_printf(&section->lead, ", %.2f times one worker", best->value / serial->value);
    }
    td_text_printf(&section->lead, "; the weights of its %d layout%s are %s.", layouts,
                   layouts == 1 ? "" : "s",
                   same ? "the same, bit for bit"
                        : "NOT the same: the promise of one answer is broken");
    peers_table(facts, section);
    td_text_printf(&section->command, "%s", best->command);
}

/* ---- anatomy ---- */

static double family_ns(const td_fact *fact, const char *family) {
    double sum = 0;
    size_t i;
    json_t *op;
    json_array_foreach(fact->ops, i, op) {
        if (strcmp(td_json_text(op, "family", "other"), family) == 0) {
            sum += td_json_number(op, "ns");
        }
    }
    return sum;
}

/* Whether a family has a colour of its own: one that is nowhere seen would use up a colour. */
static bool family_shows(const td_facts *facts, const td_fact *best, const char *family) {
    static const double LEAST_SHARE = 0.02;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (is_step(fact) && fact->ok && same_step(fact, best) &&
            family_ns(fact, family) >= LEAST_SHARE * fact->median_ns) {
            return true;
        }
    }
    return false;
}

/* The steps shown: every layout of the step whose record has the highest FLOP rate. */
static void anatomy_chart(const td_facts *facts, const td_fact *best, td_section *section) {
    char title[240], label[160];
    step_label(best, label);
    snprintf(title, sizeof title, "Where the time of a step goes: %s (ms)", label);
    json_t *chart = td_chart_add(section, "stack", title, "layout", false, "ms", false);
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (!is_step(fact) || !fact->ok || !same_step(fact, best)) {
            continue;
        }
        double spent = 0;
        size_t j;
        json_t *op;
        json_array_foreach(fact->ops, j, op) {
            const char *family = td_json_text(op, "family", "other");
            double ms = td_json_number(op, "ns") * 1e-6;
            spent += ms;
            family = family_shows(facts, best, family) ? family : "other";
            td_bar_add(chart, td_series_find(chart, family, "other"), fact->layout, ms, NAN, NAN);
        }
        td_bar_add(chart, td_series_find(chart, "wait", "wait"), fact->layout,
                   fmax(0, fact->median_ns * 1e-6 - spent), NAN, NAN);
    }
}

/* What times of operations and parts, which are means over the samples, are shares of. */
static double mean_step_ns(const td_fact *fact) {
    const char *name;
    json_t *value;
    double sum = 0;
    json_object_foreach(json_object_get(fact->json, "parts_ns"), name, value) {
        sum += json_number_value(value);
    }
    return sum > 0 ? sum : fact->median_ns;
}

/* The operations of rank 0, with the work of all ranks: they do the same at the same time. */
static void anatomy_table(const td_fact *fact, td_section *section) {
    td_table *table =
        td_section_table(section, "Operations of a step",
                         (const char *const[]){"operation||t", "family||t", "calls||n", "time|ms|n",
                                               "share|% of step|n", "wait|ms|n", "rate|GFLOP/s|n",
                                               "of FMA peak|%|n", "traffic|GB/s|n", NULL});
    double peak = td_fact_ceiling(fact, "fma_f32"), whole = mean_step_ns(fact);
    size_t j;
    json_t *op;
    json_array_foreach(fact->ops, j, op) {
        double ns = td_json_number(op, "ns");
        double rate = fact->ranks * td_json_number(op, "flops") / ns;
        td_table_text(table, "%s", td_json_text(op, "name", ""));
        td_table_text(table, "%s", td_json_text(op, "family", ""));
        td_table_number(table, td_json_number(op, "count"));
        td_table_number(table, ns * 1e-6);
        td_table_number(table, 100 * ns / whole);
        td_table_number(table, td_json_number(op, "wait_ns") * 1e-6);
        td_table_number(table, rate);
        td_table_number(table, 100 * rate / peak);
        td_table_number(table, fact->ranks * td_json_number(op, "bytes") / ns);
    }
}

/* Parts of the mean step, of every layout of the step shown: of rank 0, mean over its workers. */
static void parts_table(const td_facts *facts, const td_fact *best, td_section *section) {
    td_table *table = NULL;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        const json_t *parts = json_object_get(fact->json, "parts_ns");
        if (!is_step(fact) || !fact->ok || !same_step(fact, best) || parts == NULL) {
            continue;
        }
        if (table == NULL) {
            table = td_section_table(section, "Parts of a step",
                                     (const char *const[]){"layout||t", "part||t", "time|ms|n",
                                                           "share|% of step|n", NULL});
        }
        const char *name;
        json_t *value;
        double whole = mean_step_ns(fact);
        json_object_foreach((json_t *)parts, name, value) {
            td_table_text(table, "%s", fact->layout);
            td_table_text(table, "%s", name);
            td_table_number(table, json_number_value(value) * 1e-6);
            td_table_number(table, 100 * json_number_value(value) / whole);
        }
    }
}

/* Every operation of a step as a point, coloured by family, under the roofs of its layout. Ranks do
 * the same at the same time. */
static void step_roofline(const td_facts *facts, const td_fact *fact, td_section *section) {
    char title[320], label[160], layout[32];
    step_label(fact, label);
    snprintf(title, sizeof title, "Roofline of a step: %s %s, %s (GFLOP/s against FLOP per byte)",
             label, fact->part[3], fact->layout);
    json_t *chart =
        td_chart_add(section, "scatter", title, "FLOP per byte (log)", true, "GFLOP/s (log)", true);
    snprintf(layout, sizeof layout, "p1xt%d", fact->ranks * fact->workers);
    td_roofs_add(facts, chart, layout);
    size_t j;
    json_t *op;
    json_array_foreach(fact->ops, j, op) {
        double ns = td_json_number(op, "ns"), flops = td_json_number(op, "flops");
        double bytes = td_json_number(op, "bytes");
        if (ns > 0 && flops > 0 && bytes > 0) {
            td_point_add(td_series_find(chart, td_json_text(op, "family", "other"), "other"),
                         flops / bytes, fact->ranks * flops / ns, NAN, NAN,
                         td_json_text(op, "name", ""));
        }
    }
}

void td_section_anatomy(const td_facts *facts, td_section *section) {
    *section = (td_section){.id = "anatomy", .title = "Anatomy of a step"};
    const td_fact *best = best_step(facts);
    if (best == NULL || json_array_size(best->ops) == 0) {
        return;
    }
    anatomy_chart(facts, best, section);
    static const char *const peaks[] = {"fma_f32", "dot_bf16", "dot_bf16_amx"};
    for (size_t i = 0; i < sizeof peaks / sizeof peaks[0]; i++) {
        const td_fact *fastest = best_of(facts, peaks[i]);
        if (fastest != NULL && json_array_size(fastest->ops) > 0) {
            step_roofline(facts, fastest, section);
        }
    }
    anatomy_table(best, section);
    parts_table(facts, best, section);
    double gemm_ns = 0, gemm_flops = 0, spent = 0;
    size_t j;
    json_t *op;
    json_array_foreach(best->ops, j, op) {
        double ns = td_json_number(op, "ns");
        spent += ns;
        if (strcmp(td_json_text(op, "family", ""), "gemm") == 0) {
            gemm_ns += ns;
            gemm_flops += best->ranks * td_json_number(op, "flops");
        }
    }
    double wait = td_fact_number(best, "phase_wait_ns"), whole = mean_step_ns(best);
    td_text_printf(
        &section->lead,
        "On %s, %.0f %% of the step is GEMM at %.0f %% of the FMA peak; %.1f %% is waiting "
        "between phases",
        best->layout, 100 * gemm_ns / whole,
        100 * gemm_flops / gemm_ns / td_fact_ceiling(best, "fma_f32"),
        100 * (wait > 0 ? wait : fmax(0, whole - spent)) / whole);
    double predicted = td_fact_number(best, "predicted_ns");
    if (predicted > 0) {
        td_text_printf(&section->lead,
                       "; by the rates of its operations alone it should take %.2f of its time",
                       predicted / best->median_ns);
    }
    td_text_puts(&section->lead, ".");
    td_text_printf(&section->command, "%s", best->command);
}
