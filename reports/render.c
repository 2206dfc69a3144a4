/* SPDX-License-Identifier: Apache-2.0 */
#include "reports/render.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "reports/assets.h"
#include "reports/sections.h"

static td_section_fn *const sections[] = {
    td_section_training, td_section_anatomy, td_section_recipes,     td_section_inference,
    td_section_kernels,  td_section_losses,  td_section_collectives, td_section_threads,
    td_section_data,     td_section_machine, td_section_noise,
};
enum { N_SECTIONS = sizeof sections / sizeof sections[0] };

/* ---- the first screen ---- */

typedef struct card {
    const char *title;
    const td_fact *fact;
    double value, share; /* share of its ceiling, NaN when unknown */
    double nominal;      /* the share with work that was left out, NaN where there is none */
    const char *unit, *of;
    double peer; /* times the peer, NaN when none ran */
    const char *peer_name;
} card;

/* The proved own record of a family (and name prefix) with the highest score. An operation whose
 * algorithm is chosen is one that has a record by its name too. */
static const td_fact *best_of(const td_facts *facts, const char *family, const char *name,
                              double (*score)(const td_fact *)) {
    const td_fact *best = NULL;
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (td_fact_is(fact, family) && fact->ok && fact->own &&
            strncmp(fact->part[1], name, strlen(name)) == 0 &&
            strcmp(fact->part[2], "chosen") != 0 && (best == NULL || score(fact) > score(best))) {
            best = fact;
        }
    }
    return best;
}

static double by_value(const td_fact *fact) {
    return fact->value;
}
static double by_flops(const td_fact *fact) {
    return fact->flops / fact->median_ns;
}
static double by_busbw(const td_fact *fact) {
    double busbw = td_fact_number(fact, "busbw");
    return isnan(busbw) ? 0 : busbw;
}

static void write_card(td_text *out, const card *c) {
    td_text_puts(out, "<div class=\"card\"><h3>");
    td_html_escape(out, c->title);
    td_text_puts(out, "</h3>");
    if (c->fact == NULL) {
        td_text_puts(out,
                     "<div class=\"value\">\u2013</div><div class=\"where\">nothing was proved "
                     "in this run</div></div>\n");
        return;
    }
    char number[32];
    td_text_printf(out, "<div class=\"value\">%s <small>%s</small></div>",
                   td_significant(c->value, number), c->unit);
    if (isfinite(c->share)) {
        td_text_printf(out,
                       "<div class=\"track\"><i style=\"width:%.1f%%\"></i></div>"
                       "<div class=\"where\">%.0f&nbsp;%% of %s",
                       100 * fmin(1, c->share), 100 * c->share, c->of);
        if (isfinite(c->nominal)) {
            td_text_printf(out, ", %.0f&nbsp;%% MFU", 100 * c->nominal);
        }
        td_text_puts(out, "</div>");
    }
    td_text_puts(out, "<div class=\"where\">");
    td_html_escape(out, c->fact->id + strlen(c->fact->part[0]) + 1);
    td_text_puts(out, ", ");
    td_html_escape(out, c->fact->layout);
    td_text_puts(out, "</div>");
    if (isfinite(c->peer)) {
        td_text_printf(out, "<div class=\"peer\">%.2f times ", c->peer);
        td_html_escape(out, c->peer_name);
        td_text_puts(out, "</div>");
    }
    td_text_puts(out, "</div>\n");
}

static void write_cards(td_text *out, const td_facts *facts) {
    const td_fact *step = best_of(facts, "step", "", by_flops);
    const td_fact *gemm = best_of(facts, "kernel", "gemm_f32", by_value);
    const td_fact *coll = best_of(facts, "coll", "allreduce", by_busbw);
    const td_fact *data = best_of(facts, "data", "tfrecord", by_value);
    card cards[] = {
        {.title = "Training", .fact = step, .unit = "pairs/s", .of = "its peak in executed work"},
        {.title = "GEMM f32", .fact = gemm, .unit = "GFLOP/s", .of = "FMA peak"},
        {.title = "Allreduce bus bandwidth", .fact = coll, .unit = "GB/s", .of = "the memory roof"},
        {.title = "TFRecord, checked", .fact = data, .unit = "GB/s", .of = ""},
    };
    td_text_puts(out, "<div class=\"cards\">\n");
    for (int i = 0; i < 4; i++) {
        card *c = &cards[i];
        if (c->fact != NULL) {
            c->value = i == 2 ? by_busbw(c->fact) : c->fact->value;
            /* Packing and pruning leave out nominal work: MFU may be above 100 %, HFU not. */
            c->share = i == 0 ? td_fact_number(c->fact, "hfu") : td_fact_share(c->fact, NULL);
            c->nominal = i == 0 ? td_fact_number(c->fact, "mfu") : NAN;
            c->of = c->of[0] == '\0' ? td_fact_ceiling_name(c->fact) : c->of;
            const td_fact *peer = td_fact_peer(facts, c->fact);
            c->peer = peer == NULL ? NAN : c->fact->value / peer->value;
            c->peer_name = peer == NULL ? "" : peer->provider;
        }
        write_card(out, c);
    }
    td_text_puts(out, "</div>\n");
}

static int count_status(const td_facts *facts, const char *status) {
    int count = 0;
    for (int i = 0; i < facts->n_rows; i++) {
        count += strcmp(facts->rows[i].status, status) == 0;
    }
    return count;
}

static void write_rows_with(td_text *out, const td_facts *facts, const char *status) {
    td_text_puts(out, "<ul>\n");
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        if (strcmp(fact->status, status) == 0) {
            td_text_puts(out, "<li>");
            td_html_escape(out, fact->id);
            td_text_puts(out, fact->layout[0] != '\0' ? ", " : "");
            td_html_escape(out, fact->layout);
            td_text_puts(out, ": ");
            td_html_escape(out, fact->reason);
            td_text_puts(out, "</li>\n");
        }
    }
    td_text_puts(out, "</ul>\n");
}

static void write_verdicts(td_text *out, const td_facts *facts) {
    int failed = count_status(facts, "failed"), skipped = count_status(facts, "skipped");
    int proved = count_status(facts, "ok"), disturbed = count_status(facts, "disturbed");
    if (failed > 0) {
        td_text_printf(out, "<div class=\"failures\"><b>%d failed</b>\n", failed);
        write_rows_with(out, facts, "failed");
        td_text_puts(out, "</div>\n");
    }
    td_text_printf(out,
                   "<div class=\"strip\"><span><b>%d</b> rows</span><span class=\"good\"><b>%d</b> "
                   "proved</span><span><b>%d</b> skipped</span><span%s><b>%d</b> failed</span>",
                   facts->n_rows, proved, skipped, failed > 0 ? " class=\"bad\"" : "", failed);
    if (json_is_true(json_object_get(facts->run, "interrupted"))) {
        td_text_puts(out, "<span class=\"bad\">interrupted: what was measured until then</span>");
    }
    td_text_puts(out, "</div>\n");
    if (disturbed > 0) {
        td_text_printf(out, "<details><summary>%d ceiling%s disturbed, and how</summary>\n",
                       disturbed, disturbed == 1 ? "" : "s");
        write_rows_with(out, facts, "disturbed");
        td_text_puts(out, "</details>\n");
    }
    if (skipped > 0) {
        td_text_puts(out, "<details><summary>Skipped, and why</summary>\n");
        write_rows_with(out, facts, "skipped");
        td_text_puts(out, "</details>\n");
    }
}

/* A paragraph; nothing when there was one host. */
static void write_hosts(td_text *out, const td_facts *facts, bool html) {
    td_text told = {0};
    td_hosts_tell(facts, &told);
    if (told.size > 0 && html) {
        td_text_puts(out, "<p class=\"facts\">");
        td_html_escape(out, told.data);
        td_text_puts(out, "</p>\n");
    } else if (told.size > 0) {
        td_text_printf(out, "%s\n\n", told.data);
    }
    out->failed |= told.failed;
    td_text_destroy(&told);
}

static void write_heading(td_text *out, const td_facts *facts, const char *title) {
    const json_t *machine = facts->machine;
    td_text_puts(out, "<header>\n<h1>");
    td_html_escape(out, title);
    td_text_puts(out, "</h1>\n<p class=\"facts\">");
    td_html_escape(out, td_json_text(machine, "summary", ""));
    td_text_puts(out, "</p>\n<p class=\"facts\">");
    char line[512];
    double seconds = td_json_number(facts->run, "seconds");
    snprintf(line, sizeof line, "%s; commit %s; suite %s",
             td_json_text(facts->run, "date", "no date"),
             td_json_text(facts->run, "commit", "unknown"),
             td_json_text(facts->run, "suite", "unknown"));
    td_html_escape(out, line);
    if (isfinite(seconds)) {
        td_text_printf(out, "; %.0f s in all", seconds);
    }
    td_text_puts(out, "</p>\n");
    write_hosts(out, facts, true);
    const char *rows = td_json_text(machine, "kernel_rows", "");
    if (rows[0] != '\0') {
        td_text_puts(out, "<p class=\"facts\">");
        td_html_escape(out, rows);
        td_text_puts(out, ".</p>\n");
    }
    const char *odd = td_json_text(machine, "odd", "");
    if (odd[0] != '\0') {
        td_text_puts(out, "<p class=\"odd\">Odd here: ");
        td_html_escape(out, odd);
        td_text_puts(out, "</p>\n");
    }
    td_text_puts(out, "</header>\n");
}

/* ---- sections ---- */

/* JSON inside a script element: "<" is written as its escape so that no content can end the
 * element. */
static void write_json(td_text *out, const json_t *json) {
    char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(7));
    if (text == NULL) {
        out->failed = true;
        return;
    }
    for (const char *at = text; *at != '\0'; at++) {
        td_text_append(out, *at == '<' ? "\\u003c" : at, *at == '<' ? 6 : 1);
    }
    td_free(text);
}

static void write_charts(td_text *out, const td_section *section) {
    size_t i;
    json_t *chart;
    json_array_foreach(section->charts, i, chart) {
        const char *title = td_json_text(chart, "title", "");
        td_text_puts(out, "<figure><figcaption>");
        td_html_escape(out, title);
        td_text_printf(
            out,
            "</figcaption><div class=\"plot\"><canvas data-chart=\"%s-%zu\" role=\"img\" "
            "aria-label=\"",
            section->id, i);
        td_html_escape(out, title);
        td_text_printf(out,
                       ". The table below holds the same figures.\"></canvas></div>"
                       "<script type=\"application/json\" id=\"%s-%zu\">",
                       section->id, i);
        write_json(out, chart);
        td_text_puts(out, "</script></figure>\n");
    }
}

static void write_section(td_text *out, const td_section *section) {
    td_text_printf(out, "<section id=\"%s\"><h2>%s</h2>\n<p class=\"lead\">", section->id,
                   section->title);
    td_html_escape(out, section->lead.data);
    td_text_puts(out, "</p>\n");
    if (section->drawing.size > 0) {
        td_text_append(out, section->drawing.data, section->drawing.size);
    }
    write_charts(out, section);
    for (int t = 0; t < section->n_tables; t++) {
        td_table_html(out, &section->tables[t]);
    }
    if (section->command.size > 0) {
        td_text_puts(out, "<p>Repeat it:</p><pre><code>");
        td_html_escape(out, section->command.data);
        td_text_puts(out, "</code></pre>\n");
    }
    td_text_puts(out, "</section>\n");
    out->failed |= section->lead.failed || section->command.failed || section->drawing.failed;
}

static void write_html(td_text *out, const td_facts *facts, const char *title,
                       const td_section *shown) {
    td_text_puts(
        out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
             "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
             "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    td_html_escape(out, title);
    td_text_puts(out, "</title>\n<style>\n");
    td_asset_append(out, TD_ASSET_PAGE_CSS);
    td_text_puts(out, "</style></head>\n<body>\n");
    write_heading(out, facts, title);
    write_cards(out, facts);
    write_verdicts(out, facts);
    td_text_puts(out, "<nav aria-label=\"Sections\">");
    for (int i = 0; i < N_SECTIONS; i++) {
        if (shown[i].lead.size > 0) {
            td_text_printf(out, "<a href=\"#%s\">%s</a> ", shown[i].id, shown[i].title);
        }
    }
    td_text_puts(out, "<a href=\"#raw\">Raw files</a></nav>\n");
    for (int i = 0; i < N_SECTIONS; i++) {
        if (shown[i].lead.size > 0) {
            write_section(out, &shown[i]);
        }
    }
    td_text_puts(
        out,
        "<section id=\"raw\"><h2>Raw files</h2>\n<p class=\"lead\">Beside this page: "
        "<code>records.jsonl</code> (every record with its raw samples and the machine), "
        "<code>records.csv</code> and <code>report.md</code> (the same tables).</p></section>\n"
        "<script>\n");
    td_asset_append(out, TD_ASSET_CHART_JS);
    td_text_puts(out, "\n</script>\n<script>\n");
    td_asset_append(out, TD_ASSET_PAGE_JS);
    td_text_puts(out, "</script>\n</body></html>\n");
}

static void write_markdown(td_text *out, const td_facts *facts, const char *title,
                           const td_section *shown) {
    td_text_printf(out, "# %s\n\n%s\n\n", title, td_json_text(facts->machine, "summary", ""));
    write_hosts(out, facts, false);
    const char *rows = td_json_text(facts->machine, "kernel_rows", "");
    if (rows[0] != '\0') {
        td_text_printf(out, "%s.\n\n", rows);
    }
    td_text_printf(out, "%d rows, %d proved, %d skipped, %d failed.\n\n", facts->n_rows,
                   count_status(facts, "ok"), count_status(facts, "skipped"),
                   count_status(facts, "failed"));
    for (int i = 0; i < N_SECTIONS; i++) {
        if (shown[i].lead.size > 0) {
            td_text_printf(out, "## %s\n\n%s\n\n", shown[i].title, shown[i].lead.data);
            for (int t = 0; t < shown[i].n_tables; t++) {
                td_table_markdown(out, &shown[i].tables[t]);
            }
        }
    }
}

static void csv_number(td_text *out, double value) {
    if (isfinite(value)) {
        td_text_printf(out, ",%.9g", value);
    } else {
        td_text_puts(out, ",");
    }
}

static void write_csv(td_text *out, const td_facts *facts) {
    td_text_puts(out,
                 "case,layout,isa,provider,provider_version,status,reason,value,unit,median_ns,"
                 "mad_ns,samples,flops,bytes,share,check,answer_sha256,command\n");
    for (int i = 0; i < facts->n_rows; i++) {
        const td_fact *fact = &facts->rows[i];
        const char *const texts[] = {fact->id,       fact->layout,           fact->isa,
                                     fact->provider, fact->provider_version, fact->status,
                                     fact->reason};
        for (int t = 0; t < 7; t++) {
            td_text_puts(out, t > 0 ? "," : "");
            td_csv_field(out, texts[t]);
        }
        csv_number(out, fact->value);
        td_text_puts(out, ",");
        td_csv_field(out, fact->unit);
        const double numbers[] = {fact->median_ns, fact->mad_ns, fact->samples,
                                  fact->flops,     fact->bytes,  td_fact_share(fact, NULL)};
        for (int n = 0; n < 6; n++) {
            csv_number(out, numbers[n]);
        }
        const char *const tail[] = {fact->check_method, fact->sha256, fact->command};
        for (int t = 0; t < 3; t++) {
            td_text_puts(out, ",");
            td_csv_field(out, tail[t]);
        }
        td_text_puts(out, "\n");
    }
}

/* ---- files ---- */

static td_status save(const char *directory, const char *name, td_text *text) {
    td_text path = {0};
    td_text_printf(&path, "%s/%s", directory, name);
    td_status status = td_text_status(text);
    if (status == TD_OK) {
        status = td_text_status(&path);
    }
    if (status == TD_OK) {
        status = td_file_write(path.data, text->data, text->size);
    }
    td_text_destroy(&path);
    td_text_destroy(text);
    return status;
}

static td_status render(const td_facts *facts, const char *directory, const char *title) {
    td_section shown[N_SECTIONS];
    for (int i = 0; i < N_SECTIONS; i++) {
        sections[i](facts, &shown[i]);
    }
    const char *name =
        title != NULL ? title : td_json_text(facts->machine, "title", "Tandem report");
    td_text html = {0}, markdown = {0}, csv = {0};
    write_html(&html, facts, name, shown);
    write_markdown(&markdown, facts, name, shown);
    write_csv(&csv, facts);
    for (int i = 0; i < N_SECTIONS; i++) {
        td_section_destroy(&shown[i]);
    }
    td_status status = save(directory, "report.html", &html);
    td_status second = save(directory, "report.md", &markdown);
    td_status third = save(directory, "records.csv", &csv);
    return status != TD_OK ? status : second != TD_OK ? second : third;
}

td_status td_report_render(const char *directory, const char *title, const char *ring) {
    td_record_set set;
    td_facts facts;
    TD_TRY(td_facts_read(directory, &set, &facts));
    facts.ring = ring;
    td_status status = render(&facts, directory, title);
    td_facts_destroy(&facts);
    td_record_set_free(&set);
    return status;
}
