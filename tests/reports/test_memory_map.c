/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "reports/memory_map.h"

static const char *drawn(const json_t *account, td_text *out) {
    td_memory_map_html(out, account);
    cr_assert_eq(td_text_status(out), TD_OK);
    return out->size > 0 ? out->data : "";
}

Test(memory_map, draws_shared_and_own_mappings_from_the_top) {
    json_t *account = json_pack(
        "[s, s, s, s]", "+ code: one address in three threads",
        "| 5624fdfac000     4924 KiB r-xp /usr/bin/<tandem>: code",
        "| 7f190c5ff000     8192 KiB rw-p anonymous: errno of the thread 2, local variable 2",
        "| no mapping");
    td_text out = {0};
    const char *html = drawn(account, &out);
    const char *own = strstr(html, "<rect class=\"own\""), *code = strstr(html, ">code<");
    cr_assert(own != NULL && code != NULL && own < code, "the highest address comes first: %s",
              html);
    cr_assert(strstr(html, ">errno, local variable<") != NULL, "%s", html);
    cr_assert(strstr(html, "thread 2, 8192 KiB rw-p anonymous") != NULL, "%s", html);
    cr_assert(strstr(html, "4924 KiB r-xp &lt;tandem&gt;") != NULL, "%s", html);
    cr_assert(strstr(html, "2 mappings") != NULL, "%s", html);
    td_text_destroy(&out);
    json_decref(account);
}

Test(memory_map, draws_nothing_without_mappings) {
    json_t *account = json_pack("[s]", "+ what held");
    td_text out = {0};
    cr_assert_str_empty(drawn(account, &out));
    cr_assert_str_empty(drawn(NULL, &out));
    td_text_destroy(&out);
    json_decref(account);
}
