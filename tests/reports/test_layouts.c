/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "reports/sections.h"

#define RECORD(layout, binding)                                                                    \
    "{\"schema\":1,\"case\":\"x/y\",\"provider\":\"tandem\",\"status\":\"ok\"," \
    "\"layout\":\"" layout "\",\"binding\":\"" binding "\"}\n"

/* Two packages of two cores, of which one has two PUs. */
static const char tree[] =
    "{\"schema\":1,\"machine\":{\"tree\":{\"label\":\"machine\",\"inside\":["
    "{\"label\":\"package 0 & co\","
    "\"inside\":[{\"core\":0,\"pus\":[0,4]},{\"core\":1,\"pus\":[1]}]},"
    "{\"label\":\"package 1\","
    "\"inside\":[{\"core\":2,\"pus\":[2]},{\"core\":3,\"pus\":[3]}]}]}}}\n";
static const char no_tree[] = "{\"schema\":1,\"machine\":{}}\n";

static char *draw(const char *header, const char *rows) {
    char directory[] = "/tmp/tandem-layouts-XXXXXX", path[64];
    td_text text = {0}, out = {0};
    td_record_set set;
    td_facts facts;
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/records.jsonl", directory);
    td_text_printf(&text, "%s%s", header, rows);
    cr_assert_eq(td_file_write(path, text.data, text.size), TD_OK);
    cr_assert_eq(td_facts_read(directory, &set, &facts), TD_OK, "%s", td_error());
    td_layouts_draw(&facts, &out);
    td_facts_destroy(&facts);
    td_record_set_free(&set);
    td_text_destroy(&text);
    return out.data;
}

static int count(const char *text, const char *word) {
    int found = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) {
        found++;
    }
    return found;
}

Test(layouts_drawn, each_layout_once_with_its_workers) {
    char *html = draw(tree, RECORD("p2xt2@package:core", "0,1|2,3") RECORD("p1xt2+over", "0,0")
                                RECORD("p1xt2+over", "3,3") RECORD("p1xt2@none", "*,*"));
    cr_assert_eq(count(html, "<figure "), 3, "a layout is drawn as it was first found");
    cr_expect_eq(count(html, "<g class=\"r0\">"), 2 + 1);
    cr_expect_eq(count(html, "<g class=\"r1\">"), 2);
    cr_expect_eq(count(html, "class=\"idle\""), 1 + 4 + 5);
    cr_expect(strstr(html, ">r1w0</text>") && strstr(html, ">w0,w1</text>"));
    cr_expect(strstr(html, "aria-label=\"p2xt2@package:core, the PU of each worker, rank by rank: "
                           "0,1|2,3\""));
    cr_expect(strstr(html, "p1xt2@none: 2 workers not bound"));
    cr_expect_eq(count(html, "package 0 &amp; co"), 3);
    td_free(html);
}

Test(layouts_drawn, nothing_without_a_machine_or_a_binding) {
    cr_expect_null(draw(no_tree, RECORD("p1xt2", "0,1")));
    cr_expect_null(draw(tree, RECORD("p1xt2", "")));
}

static char *tell(const char *hosts) {
    json_t *run = json_pack("{s:o}", "hosts", json_loads(hosts, 0, NULL));
    td_facts facts = {.run = run};
    td_text out = {0};
    td_hosts_tell(&facts, &out);
    json_decref(run);
    return out.data;
}

Test(layouts_drawn, hosts_are_named_with_their_ranks) {
    char *told = tell("[{\"name\":\"a\",\"ranks\":[0,1,2,5]},{\"name\":\"b\",\"ranks\":[3]},"
                      "{\"name\":\"c\",\"ranks\":[4,6]}]");
    cr_assert_not_null(told);
    cr_expect_not_null(
        strstr(told, "on 3 hosts: a (ranks 0-2, 5), b (rank 3), c (ranks 4, 6). The machine"), "%s",
        told);
    td_free(told);
    td_facts one_host = {.run = NULL};
    td_text out = {0};
    td_hosts_tell(&one_host, &out);
    cr_expect_eq(out.size, 0);
    td_text_destroy(&out);
}
