/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "base/status.h"
#include "bench/load.h"

static int hogs_beside(const int *pus, int workers) {
    td_hogs hogs;
    td_status status = td_hogs_start(&(td_rank){.workers = workers, .pu = pus}, &hogs);
    int count = hogs.count;
    td_hogs_end(&hogs);
    if (status == TD_ESKIP) {
        cr_skip_test("%s", td_error());
    }
    cr_assert_eq(status, TD_OK, "%s", td_error());
    return count;
}

Test(load, a_cpu_has_one_hog_however_many_workers_it_has) {
    cr_expect_eq(hogs_beside((const int[]){0, 0, 0, 0}, 4), 1);
    cr_expect_eq(hogs_beside((const int[]){0, 1, 0, 1}, 4), 2);
    cr_expect_eq(hogs_beside((const int[]){-1, -1, -1}, 3), 3);
}
