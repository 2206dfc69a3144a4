/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include "reports/table.h"

Test(table, three_significant_digits) {
    static const struct {
        double value;
        const char *text;
    } rows[] = {{171.24, "171"}, {17.124, "17.1"},       {1.7124, "1.71"},       {0.17124, "0.171"},
                {9.996, "10.0"}, {999.6, "1000"},        {12345, "12300"},       {0, "0"},
                {-2.5, "-2.50"}, {0.0017124, "0.00171"}, {1e-9, "0.00000000100"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[32];
        cr_assert_str_eq(td_significant(rows[i].value, out), rows[i].text);
    }
    char out[32];
    cr_assert_str_eq(td_significant(NAN, out), "\u2013");
}

static td_table two_rows(void) {
    td_table table;
    td_table_begin(&table, "A <b>", (const char *const[]){"name||t", "speed|GB/s|n", NULL});
    td_table_text(&table, "%s", "x|<&\">");
    td_table_number(&table, 12.3456);
    td_table_text(&table, "%s", "y");
    td_table_number(&table, NAN);
    td_table_mark_bad(&table);
    return table;
}

Test(table, html_escapes_aligns_and_marks) {
    td_table table = two_rows();
    td_text out = {0};
    td_table_html(&out, &table);
    cr_assert_eq(td_text_status(&out), TD_OK);
    cr_assert_neq(strstr(out.data, "x|&lt;&amp;&quot;&gt;"), NULL);
    cr_assert_neq(strstr(out.data, "A &lt;b&gt;"), NULL);
    cr_assert_neq(strstr(out.data, "<td class=\"n\" data-v=\"12.3456\">12.3</td>"), NULL);
    cr_assert_neq(strstr(out.data, "class=\"n bad\""), NULL);
    cr_assert_neq(strstr(out.data, "speed <small>GB/s</small>"), NULL);
    cr_assert_neq(strstr(out.data, "<details open>"), NULL);
    td_text_destroy(&out);
    td_table_destroy(&table);
}

Test(table, long_tables_start_folded) {
    td_table table;
    td_table_begin(&table, "long", (const char *const[]){"n||n", NULL});
    for (int i = 0; i < 13; i++) {
        td_table_number(&table, i);
    }
    td_text out = {0};
    td_table_html(&out, &table);
    cr_assert_eq(strstr(out.data, "<details open>"), NULL);
    td_text_destroy(&out);
    td_table_destroy(&table);
}

Test(table, markdown_and_csv_quote_what_they_must) {
    td_table table = two_rows();
    td_text out = {0};
    td_table_markdown(&out, &table);
    cr_assert_str_eq(out.data, "| name | speed, GB/s |\n|---|---:|\n| x\\|<&\"> | 12.3 |\n"
                               "| y | \u2013 |\n\n");
    td_text_destroy(&out);
    td_csv_field(&out, "plain");
    td_csv_field(&out, ",");
    td_csv_field(&out, "a \"b\"\n");
    cr_assert_str_eq(out.data, "plain\",\"\"a \"\"b\"\"\n\"");
    td_text_destroy(&out);
    td_table_destroy(&table);
}
