/* SPDX-License-Identifier: Apache-2.0
 * Every row of collectives.inc over thread and process ranks, 1 to 16 of them, against naive
 * references computed from the formula of the inputs: whole numbers, whose sums are exact in any
 * order, and reals, whose bits show the order of the sum.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "collectives/comm.h"
#include "trials.h"

typedef struct setting {
    td_rank_kind kind;
    int ranks, workers;
} setting;

ParameterizedTestParameters(collectives, every_row_on_every_layout) {
    static setting settings[2 * TD_TRIAL_RANKS + 6] = {
        {TD_RANK_THREAD, 1, 3},  {TD_RANK_THREAD, 2, 2},  {TD_RANK_PROCESS, 2, 2},
        {TD_RANK_PROCESS, 3, 3}, {TD_RANK_PROCESS, 5, 2}, {TD_RANK_THREAD, 4, 4}};
    for (int p = 1; p <= TD_TRIAL_RANKS; p++) {
        settings[4 + 2 * p] = (setting){TD_RANK_THREAD, p, 1};
        settings[5 + 2 * p] = (setting){TD_RANK_PROCESS, p, 1};
    }
    return cr_make_param_array(setting, settings, sizeof settings / sizeof settings[0]);
}

ParameterizedTest(setting *s, collectives, every_row_on_every_layout) {
    char sha256[TD_SHA256_HEX];
    td_layout layout = td_trial_layout(s->kind, s->ranks, s->workers);
    cr_assert_eq(td_trial_rows(&layout, 1, true, sha256), TD_OK, "p%dxt%d:%s: %s", s->ranks,
                 s->workers, s->kind == TD_RANK_PROCESS ? "process" : "thread", td_error());
}

Test(collectives, table) {
    int count;
    const td_collective *rows = td_collectives(&count);
    cr_assert_geq(count, 30);
    for (int i = 0; i < count; i++) {
        cr_assert_eq(td_collective_find(rows[i].operation, rows[i].algorithm), &rows[i]);
        cr_assert_eq(td_operation_of(rows[i].id)->busbw_factor(1), 0);
        if (rows[i].id != TD_COLL_barrier) {
            double least = td_operation_of(rows[i].id)->least_traffic(4) * 4000;
            if (rows[i].id == TD_COLL_alltoall) {
                least *= 4;
            }
            double traffic = td_collective_traffic(&rows[i], 4, 1000, TD_F32);
            cr_assert(!rows[i].fits(4) || traffic >= 0.6 * least, "%s/%s moves %g bytes, least %g",
                      rows[i].operation, rows[i].algorithm, traffic, least);
        }
    }
    cr_assert_null(td_collective_find("allreduce", "carrier_pigeon"));
    cr_assert_eq(td_operation_of(TD_COLL_allreduce)->busbw_factor(4), 1.5);
    cr_assert_eq(td_operation_of(TD_COLL_allgather)->busbw_factor(2), 0.5);
    const td_collective *tree = td_collective_find("allreduce", "tree");
    const td_collective *ring = td_collective_find("allreduce", "ring");
    cr_assert_eq(td_collective_traffic(tree, 4, 100, TD_BF16), 2 * 4 * 200);
    cr_assert_eq(td_collective_traffic(ring, 2, 100, TD_F32), 5 * 400);
}
