/* SPDX-License-Identifier: Apache-2.0
 * Which collectives a glob of cases explains.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "bench/explain.h"

static td_status explain(const char *glob, char *out, size_t size) {
    memset(out, 0, size);
    FILE *stream = fmemopen(out, size - 1, "w");
    cr_assert_not_null(stream);
    td_status status = td_explain(glob, 4, stream);
    fclose(stream);
    return status;
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (; (text = strstr(text, what)) != NULL; text++) {
        n++;
    }
    return n;
}

Test(explain, each_collective_of_the_glob_once) {
    static char text[1 << 16];
    cr_assert_eq(explain("coll/allreduce/ring/*", text, sizeof text), TD_OK);
    cr_assert_eq(count(text, "\ncoll/"), 1);
    cr_assert_eq(count(text, "\ncoll/allreduce/ring: "), 1);
    cr_assert_eq(explain("coll/allgather", text, sizeof text), TD_OK);
    cr_assert_eq(count(text, "\ncoll/"), count(text, "\ncoll/allgather/"));
    cr_assert_eq(count(text, "\ncoll/allgather/bruck: "), 1);
    cr_assert_eq(count(text, "\ncoll/allgather/ring: "), 1);
}

Test(explain, refuses_what_is_no_collective) {
    char text[256];
    cr_assert_eq(explain("kernel/*", text, sizeof text), TD_EUSAGE);
    cr_assert_eq(text[0], 0);
}
