/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "reports/coll_choice.h"

static json_t *record(const char *operation, const char *algorithm, const char *call, double ns) {
    char id[128];
    snprintf(id, sizeof id, "coll/%s/%s/%s", operation, algorithm, call);
    return json_pack("{s:i, s:s, s:s, s:s, s:s, s:{s:f}, s:{s:b, s:s}}", "schema", 1, "case", id,
                     "layout", "p2xt1:process", "provider", "tandem", "status", "ok", "time_ns",
                     "p50", ns, "check", "ok", 1, "method", "memcmp:exact sums; chosen: ring");
}

/* All tables as Markdown. */
static int choice(json_t *records, td_text *out) {
    td_record_set set = {NULL, records};
    td_facts facts;
    td_section section = {.id = "x"};
    cr_assert_eq(td_facts_create(&set, &facts), TD_OK, "%s", td_error());
    int violated = td_coll_choice(&facts, &section);
    td_text_puts(out, "");
    for (int i = 0; i < section.n_tables; i++) {
        td_table_markdown(out, &section.tables[i]);
    }
    td_section_destroy(&section);
    td_facts_destroy(&facts);
    return violated;
}

Test(coll_choice, guidelines_are_kept_or_failed) {
    json_t *records = json_array();
    json_array_append_new(records, record("allreduce", "ring", "f32-1KiB", 2500));
    json_array_append_new(records, record("allreduce", "tree", "f32-1KiB", 2100));
    json_array_append_new(records, record("reduce_scatter", "ring", "f32-1KiB", 1200));
    json_array_append_new(records, record("allgather", "ring", "f32-1KiB", 800));
    td_text text = {0};
    cr_expect_eq(choice(records, &text), 0, "2100 is within a tenth of 1200 + 800");
    cr_expect_not_null(strstr(text.data, "allreduce <= reduce_scatter + allgather"), "%s",
                       text.data);
    cr_expect_null(strstr(text.data, "violated"));
    json_array_append_new(records, record("allgather", "linear", "f32-1KiB", 500));
    td_text worse = {0};
    cr_expect_eq(choice(records, &worse), 1);
    cr_expect_not_null(strstr(worse.data, "failed: violated"), "%s", worse.data);
    /* Another size, or another way of calling, is another matter. */
    json_array_append_new(records, record("reduce", "direct", "f32-4KiB", 1));
    json_array_append_new(records, record("broadcast", "linear", "f32-1KiB-written", 1));
    td_text same = {0};
    cr_expect_eq(choice(records, &same), 1);
    td_text_destroy(&text);
    td_text_destroy(&worse);
    td_text_destroy(&same);
    json_decref(records);
}

Test(coll_choice, regret_is_the_chosen_over_the_fastest) {
    json_t *records = json_array();
    json_array_append_new(records, record("allreduce", "ring", "f32-1KiB", 3000));
    json_array_append_new(records, record("allreduce", "tree", "f32-1KiB", 1000));
    td_text none = {0}, text = {0};
    choice(records, &none);
    cr_expect_null(strstr(none.data, "regret"), "%s", none.data);
    json_array_append_new(records, record("allreduce", "chosen", "f32-1KiB", 2500));
    choice(records, &text);
    cr_expect_not_null(strstr(text.data, "2.50"), "%s", text.data);
    cr_expect_not_null(strstr(text.data, "| ring |"), "%s", text.data);
    td_text_destroy(&none);
    td_text_destroy(&text);
    json_decref(records);
}
