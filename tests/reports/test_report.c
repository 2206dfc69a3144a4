/* SPDX-License-Identifier: Apache-2.0
 * Renders the golden records; opens the page in headless Chromium when one is installed.
 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/memory.h"
#include "base/text.h"
#include "reports/render.h"

static char directory[] = "/tmp/tandem-report-XXXXXX";

static char *read_output(const char *name) {
    char path[96], *data;
    size_t size;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    cr_assert_eq(td_file_read(path, &data, &size), TD_OK, "%s", td_error());
    return data;
}

static void write_records(const char *data, size_t size) {
    char path[96];
    snprintf(path, sizeof path, "%s/records.jsonl", directory);
    cr_assert_eq(td_file_write(path, data, size), TD_OK);
}

static const char drawing[] = "<svg>ring</svg>";

static void render_golden(void) {
    char *data;
    size_t size;
    cr_assert_not_null(mkdtemp(directory));
    cr_assert_eq(td_file_read(TD_GOLDEN "/report.jsonl", &data, &size), TD_OK);
    write_records(data, size);
    td_free(data);
    cr_assert_eq(td_report_render(directory, NULL, drawing), TD_OK, "%s", td_error());
}

static int count(const char *text, const char *word) {
    int found = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) {
        found++;
    }
    return found;
}

Test(report, page_answers_in_its_first_screen, .init = render_golden) {
    char *html = read_output("report.html");
    cr_assert_neq(strstr(html, "<h1>AMD EPYC (family 26, model 2)"), NULL);
    cr_assert_eq(count(html, "<div class=\"card\">"), 4);
    cr_assert_neq(strstr(html, "83&nbsp;% of its peak in executed work, 114&nbsp;% MFU"), NULL);
    cr_assert_neq(strstr(html, "times openblas"), NULL);
    cr_assert_neq(strstr(html, "libopenblas is not installed"), NULL);
    cr_assert_neq(strstr(html, "the same, bit for bit"), NULL);
    const char *collectives = strstr(html, "<h2>Collectives</h2>");
    cr_assert_not_null(collectives);
    cr_assert_not_null(strstr(collectives, "<div class=\"grids\"><svg>ring</svg></div>"));
    td_free(html);
}

Test(report, every_chart_has_its_data_and_a_table, .init = render_golden) {
    char *html = read_output("report.html");
    int charts = count(html, "<canvas data-chart=");
    cr_assert_geq(charts, 9);
    cr_assert_eq(count(html, "<script type=\"application/json\""), charts);
    static const char *const ids[] = {"training", "anatomy", "kernels", "collectives",
                                      "threads",  "data",    "machine", "noise"};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        char mark[64];
        snprintf(mark, sizeof mark, "<section id=\"%s\">", ids[i]);
        const char *section = strstr(html, mark);
        cr_assert_not_null(section, "%s", mark);
        const char *end = strstr(section, "</section>"), *table = strstr(section, "<table>");
        cr_assert(table != NULL && table < end, "%s has no table", ids[i]);
    }
    td_free(html);
}

Test(report, nothing_is_fetched, .init = render_golden) {
    char *html = read_output("report.html");
    cr_assert_neq(strstr(html, "default-src 'none'"), NULL);
    cr_assert_eq(count(html, "<link"), 0);
    cr_assert_eq(count(html, "<img"), 0);
    cr_assert_eq(count(html, " src="), 0);
    td_free(html);
}

Test(report, same_records_same_bytes, .init = render_golden) {
    char *first = read_output("report.html");
    cr_assert_eq(td_report_render(directory, NULL, drawing), TD_OK);
    char *second = read_output("report.html");
    cr_assert_str_eq(first, second);
    td_free(first);
    td_free(second);
}

Test(report, text_from_records_cannot_end_an_element, .init = render_golden) {
    static const char records[] =
        "{\"schema\":1,\"machine\":{\"title\":\"</title><script>alert(1)</script>\"},\"run\":{}}\n"
        "{\"schema\":1,\"case\":\"kernel/gemm_f32/x/</script><b>\",\"layout\":\"p1xt1\",\"status\":"
        "\"ok\",\"value\":1,\"unit\":\"GFLOP/s\",\"check\":{\"ok\":true}}\n";
    write_records(records, sizeof records - 1);
    cr_assert_eq(td_report_render(directory, NULL, NULL), TD_OK);
    char *html = read_output("report.html");
    cr_assert_eq(strstr(html, "<script>alert(1)"), NULL);
    cr_assert_eq(strstr(html, "</script><b>"), NULL);
    td_free(html);
}

Test(report, rows_that_this_host_cannot_run_are_counted_on_the_first_page, .init = render_golden) {
    static const char records[] =
        "{\"schema\":1,\"machine\":{\"kernel_rows\":\"Kernel rows native on this host: 2 of 3 "
        "(avx512 0 of "
        "1)\"},\"run\":{}}\n"
        "{\"schema\":1,\"case\":\"kernel/gelu_f32/x/n1\",\"layout\":\"p1xt1\",\"status\":\"ok\","
        "\"value\":1,\"unit\":\"GFLOP/s\",\"check\":{\"ok\":true}}\n";
    write_records(records, sizeof records - 1);
    cr_assert_eq(td_report_render(directory, NULL, NULL), TD_OK);
    static const char *const names[] = {"report.html", "report.md"};
    for (int i = 0; i < 2; i++) {
        char *page = read_output(names[i]);
        const char *line = strstr(page, "Kernel rows native on this host: 2 of 3 (avx512 0 of 1).");
        cr_expect(line != NULL && line < strstr(page, i == 0 ? "</header>" : "proved"), "%s",
                  names[i]);
        td_free(page);
    }
}

/* A way of 6 units beside the tiled one, of 3 at twice the speed, on the same layout only. */
Test(report, losses_stand_against_the_tiled_way, .init = render_golden) {
    static const char records[] =
        "{\"schema\":1,\"machine\":{},\"run\":{}}\n"
        "{\"schema\":1,\"case\":\"loss/sigmoid/full/"
        "b64-e8\",\"layout\":\"p1xt1\",\"status\":\"ok\","
        "\"value\":9,\"unit\":\"pairs/s\",\"time_ns\":{\"p50\":5e6},\"gemm_units\":6,"
        "\"loss_bytes\":4e6,\"check\":{\"ok\":true}}\n"
        "{\"schema\":1,\"case\":\"loss/sigmoid/fused-tiled/b64-e8\",\"layout\":\"p1xt1\","
        "\"status\":\"ok\",\"value\":9,\"unit\":\"pairs/s\",\"time_ns\":{\"p50\":2e6},"
        "\"gemm_units\":3,\"loss_bytes\":1e6,\"check\":{\"ok\":true}}\n"
        "{\"schema\":1,\"case\":\"loss/sigmoid/full/"
        "b64-e8\",\"layout\":\"p1xt2\",\"status\":\"skipped\","
        "\"reason\":\"too much\",\"check\":{\"ok\":false}}\n";
    write_records(records, sizeof records - 1);
    cr_assert_eq(td_report_render(directory, NULL, NULL), TD_OK);
    char *html = read_output("report.html");
    cr_assert_neq(strstr(html, "<section id=\"losses\">"), NULL);
    cr_assert_neq(strstr(html, "up to 2.50 times as long"), NULL);
    cr_assert_neq(strstr(html, "loss/sigmoid/fused-tiled/b64-e8 takes least memory"), NULL);
    cr_assert_neq(strstr(html, "skipped: too much"), NULL);
    td_free(html);
}

/* Two libraries: the faster one is the peer; peers of other kernels say nothing about GEMM. */
Test(report, gemm_stands_against_the_fastest_library, .init = render_golden) {
#define ROW(kernel, provider, value)                                                               \
    "{\"schema\":1,\"case\":\"kernel/" kernel "\",\"layout\":\"p1xt1\",\"status\":\"ok\","         \
    "\"provider\":\"" provider "\",\"value\":" value                                               \
    ",\"unit\":\"GFLOP/s\",\"check\":{\"ok\":true}}\n"
    static const char records[] =
        "{\"schema\":1,\"machine\":{},\"run\":{}}\n" ROW("gemm_f32/x/m1", "tandem", "9")
            ROW("gemm_f32/x/m1", "slow", "3") ROW("gemm_f32/x/m1", "quick", "12")
                ROW("gemm_f32/x/m1", "middle", "6") ROW("attention_f32/x/n1", "tandem", "100")
                    ROW("attention_f32/x/n1", "slow", "1");
#undef ROW
    write_records(records, sizeof records - 1);
    cr_assert_eq(td_report_render(directory, NULL, NULL), TD_OK);
    char *html = read_output("report.html");
    cr_assert_neq(strstr(html, "over 1 shared case it runs at 0.75 times the fastest library"),
                  NULL);
    cr_assert_neq(strstr(html, "0.75 times quick"), NULL);
    td_free(html);
}

Test(report, disturbed_ceilings_are_named, .init = render_golden) {
    static const char records[] =
        "{\"schema\":1,\"machine\":{},\"run\":{}}\n"
        "{\"schema\":1,\"case\":\"ceiling/fma_f32/avx2\",\"layout\":\"p1xt1\",\"status\":"
        "\"disturbed\",\"reason\":\"by a neighbour\",\"value\":9,\"unit\":\"GFLOP/s\"}\n"
        "{\"schema\":1,\"case\":\"kernel/gelu_f32/avx2/n1\",\"layout\":\"p1xt1\",\"status\":"
        "\"ok\",\"value\":8,\"unit\":\"GFLOP/s\",\"time_ns\":{\"p50\":3},\"ceilings\":[{"
        "\"name\":\"fma_f32\",\"value\":9,\"unit\":\"GFLOP/s\",\"share\":0.9,"
        "\"disturbed\":\"by a neighbour\"}]}\n";
    write_records(records, sizeof records - 1);
    cr_assert_eq(td_report_render(directory, NULL, NULL), TD_OK);
    char *html = read_output("report.html");
    cr_assert_neq(strstr(html, "1 ceiling disturbed, and how"), NULL);
    cr_assert_neq(strstr(html, "p1xt1: by a neighbour"), NULL);
    cr_assert_neq(strstr(html, "fma_f32, disturbed"), NULL);
    td_free(html);
}

Test(report, failures_stand_first_and_differing_answers_are_named, .init = render_golden) {
    static const char records[] =
        "{\"schema\":1,\"machine\":{},\"run\":{\"interrupted\":true}}\n"
        "{\"schema\":1,\"case\":\"step/clip/mu/"
        "b16\",\"layout\":\"p1xt1\",\"status\":\"ok\",\"value\":9,"
        "\"unit\":\"pairs/"
        "s\",\"flops\":5,\"time_ns\":{\"p50\":3},\"check\":{\"answer_sha256\":\"aa\"}}\n"
        "{\"schema\":1,\"case\":\"step/clip/mu/"
        "b16\",\"layout\":\"p1xt2\",\"status\":\"ok\",\"value\":9,"
        "\"unit\":\"pairs/"
        "s\",\"flops\":5,\"time_ns\":{\"p50\":3},\"check\":{\"answer_sha256\":\"bb\"}}\n"
        "{\"schema\":1,\"case\":\"kernel/gelu_f32/x/"
        "n1\",\"layout\":\"p1xt1\",\"status\":\"failed\","
        "\"reason\":\"3 elements differ\",\"check\":{\"ok\":false}}\n";
    write_records(records, sizeof records - 1);
    cr_assert_eq(td_report_render(directory, NULL, NULL), TD_OK);
    char *html = read_output("report.html");
    const char *failures = strstr(html, "class=\"failures\"");
    cr_assert(failures != NULL && failures < strstr(html, "class=\"strip\""));
    cr_assert_neq(strstr(html, "3 elements differ"), NULL);
    cr_assert_neq(strstr(html, "NOT the same"), NULL);
    cr_assert_neq(strstr(html, "interrupted"), NULL);
    td_free(html);
}

#define STEP(layout, rank_ns)                                                                      \
    "{\"schema\":1,\"case\":\"step/clip/mu/b16\",\"layout\":\"" layout "\",\"status\":\"ok\","     \
    "\"value\":9,\"unit\":\"pairs/s\",\"flops\":5,\"time_ns\":{\"p50\":1000},\"ops\":["            \
    "{\"name\":\"fc1\",\"family\":\"gemm\",\"ns\":900},{\"name\":\"x\",\"family\":\"pool\","       \
    "\"ns\":9},"                                                                                   \
    "{\"name\":\"sum\",\"family\":\"collective\",\"ns\":" rank_ns "}]}\n"

Test(report, a_family_that_shows_nowhere_is_one_of_the_others, .init = render_golden) {
    static const char records[] =
        "{\"schema\":1,\"machine\":{},\"run\":{}}\n" STEP("p1xt1", "1") STEP("p2xt1:thread", "20");
    write_records(records, sizeof records - 1);
    cr_assert_eq(td_report_render(directory, NULL, NULL), TD_OK);
    char *html = read_output("report.html"), *chart = strstr(html, "Where the time of a step goes");
    cr_assert_not_null(chart);
    chart = strstr(chart, "<script type=\"application/json\"");
    cr_assert_not_null(chart);
    *strstr(chart, "</script>") = '\0';
    cr_assert_not_null(strstr(chart, "\"gemm\""));
    cr_assert_not_null(strstr(chart, "\"collective\""), "2 %% of one layout");
    cr_assert_not_null(strstr(chart, "\"other\""));
    cr_assert_null(strstr(chart, "\"pool\""), "0.9 %% everywhere");
    td_free(html);
}

Test(report, recipes_stand_beside_their_predictions, .init = render_golden) {
    char *markdown = read_output("report.md");
    const char *recipes = strstr(markdown, "## Recipes"), *inference;
    cr_assert_not_null(recipes);
    inference = strstr(recipes, "## Inference");
    cr_assert_not_null(inference);
    /* 6.67 times of 7.38 is 90.4 %. */
    cr_assert_not_null(strstr(recipes, "reaches at least 90 % of the speed-up"));
    cr_assert_not_null(strstr(recipes, "| recipe/flip50/ti-32/b32-f32 | p1xt1 | 120 | 1.75 |"));
    cr_assert_not_null(strstr(inference, "| embed/text/vit-s-32-alt/b64-f32 | p1xt1 | 653 |"));
    cr_assert_not_null(strstr(inference, "74 % of the peak"));
    td_free(markdown);
}

Test(report, markdown_and_csv_stand_beside_it, .init = render_golden) {
    char *markdown = read_output("report.md"), *csv = read_output("records.csv");
    cr_assert_neq(strstr(markdown, "## Kernels"), NULL);
    int lines = count(csv, "\n");
    char *records = read_output("records.jsonl");
    cr_assert_eq(lines, count(records, "\n"), "one CSV line a record, and a heading");
    td_free(markdown);
    td_free(csv);
    td_free(records);
}

/* Runs Chromium on the page and returns the document after its scripts ran, or NULL without
 * Chromium. log gets what the page wrote to the console and every network request that was refused.
 */
static char *dump_page(char **log) {
    if (system("command -v chromium >/dev/null 2>&1") != 0) {
        return NULL;
    }
    char command[640];
    snprintf(command, sizeof command,
             "chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage "
             "--user-data-dir=%s/profile --enable-logging=stderr --v=0 --virtual-time-budget=8000 "
             "--host-resolver-rules='MAP * 0.0.0.0:1' --dump-dom file://%s/report.html "
             ">%s/dom.html 2>%s/console.txt",
             directory, directory, directory, directory);
    int status = system(command);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "chromium ended with %d", status);
    *log = read_output("console.txt");
    return read_output("dom.html");
}

Test(report, chromium_draws_every_chart_without_an_error, .init = render_golden) {
    char *log = NULL, *html = read_output("report.html"), *dom = dump_page(&log);
    if (dom == NULL) {
        cr_skip_test("chromium is not installed");
    }
    int charts = count(html, "<canvas data-chart=");
    cr_assert_gt(charts, 0);
    cr_assert_eq(count(dom, "data-drawn=\"1\""), charts);
    cr_assert_eq(count(log, "CONSOLE"), 0, "%s", log);
    cr_assert_eq(count(dom, "class=\"scripts\""), 1);
    cr_assert_gt(count(dom, "<button type=\"button\">"), 20, "tables became sortable");
    td_free(log);
    td_free(html);
    td_free(dom);
}

/* The instrument of the test above: a page with a script error must be seen as one. */
Test(report, the_browser_check_sees_errors, .init = render_golden) {
    char path[96], *log = NULL;
    snprintf(path, sizeof path, "%s/report.html", directory);
    static const char page[] = "<html><script>undefinedFunction()</script></html>";
    cr_assert_eq(td_file_write(path, page, sizeof page - 1), TD_OK);
    char *dom = dump_page(&log);
    if (dom == NULL) {
        cr_skip_test("chromium is not installed");
    }
    cr_assert_gt(count(log, "CONSOLE"), 0, "%s", log);
    td_free(log);
    td_free(dom);
}
