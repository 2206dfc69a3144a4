/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <pthread.h>
#include <string.h>

#include "base/sha256.h"
#include "base/status.h"

static td_status passes_on(td_status inner) {
    TD_TRY(inner);
    return td_fail(TD_EINPUT, "reached the end");
}

Test(status, message_is_kept_and_may_quote_itself) {
    cr_assert_eq(td_fail(TD_EIO, "open %s: %d", "a.txt", 7), TD_EIO);
    cr_assert_str_eq(td_error(), "open a.txt: 7");
    td_fail(TD_EPEER, "rank 1: %s", td_error());
    cr_assert_str_eq(td_error(), "rank 1: open a.txt: 7");
}

Test(status, long_message_is_cut_and_ends) {
    char text[3000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    td_fail(TD_EIO, "%s", text);
    cr_assert_eq(strlen(td_error()), 1023);
}

Test(status, try_passes_the_first_failure_on) {
    cr_assert_eq(passes_on(TD_OK), TD_EINPUT);
    cr_assert_eq(passes_on(TD_EIO), TD_EIO);
}

static void *other_thread(void *arg) {
    (void)arg;
    td_fail(TD_EIO, "theirs");
    return NULL;
}

Test(status, message_belongs_to_its_thread) {
    td_fail(TD_EIO, "mine");
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, other_thread, NULL), 0);
    pthread_join(thread, NULL);
    cr_assert_str_eq(td_error(), "mine");
}

Test(status, exit_codes_are_the_documented_ones) {
    static const struct {
        td_status code;
        int exit_code;
    } rows[] = {{TD_OK, 0},    {TD_ECHECK, 1},        {TD_EUSAGE, 2}, {TD_EIO, 3},
                {TD_EPEER, 3}, {TD_EINCONCLUSIVE, 4}, {TD_EUNFIT, 5}, {TD_EDIFFER, 6}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_assert_eq(td_exit_code(rows[i].code), rows[i].exit_code);
    }
    cr_assert_str_eq(td_status_name(TD_EUNFIT), "TD_EUNFIT");
}

Test(status, sha256_of_a_known_text) {
    /* FIPS 180-2, appendix B.1. */
    td_sha256 *sha;
    char hex[TD_SHA256_HEX];
    cr_assert_eq(td_sha256_create(&sha), TD_OK);
    td_sha256_add(sha, "a", 1);
    td_sha256_add(sha, "bc", 2);
    td_sha256_finish(sha, hex);
    cr_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
