/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "collectives/selection.h"

/* The default has an answer for every operation, number of ranks and size, and it fits. */
Test(selection, the_default_fits) {
    for (int id = 0; id < TD_COLL_COUNT; id++) {
        for (int p = 2; p <= TD_MAX_RANKS; p = p < 9 ? p + 1 : p * 2 - 1) {
            for (int64_t bytes = 8; bytes <= 8 << 20; bytes *= 128) {
                const td_collective *row = td_selection_default((td_operation_id)id, p, bytes);
                cr_assert_not_null(row);
                cr_expect_eq((int)row->id, id);
                cr_expect(row->fits(p), "%s/%s on %d", row->operation, row->algorithm, p);
            }
        }
    }
}

/* Rings are for large blocks, trees for small messages. */
Test(selection, the_default_depends_on_the_size) {
    const td_collective *small = td_selection_default(TD_COLL_scan, 8, 8);
    cr_expect_str_eq(small->algorithm, "recursive_doubling");
    const td_collective *bruck = td_selection_default(TD_COLL_alltoall, 64, 64);
    const td_collective *large = td_selection_default(TD_COLL_alltoall, 64, 64 << 20);
    cr_expect_str_eq(bruck->algorithm, "bruck");
    cr_expect_str_neq(large->algorithm, "bruck");
}

Test(selection, entries_serve_from_their_size_on) {
    const td_collective *ring = td_collective_find("allreduce", "ring"),
                        *linear = td_collective_find("allreduce", "linear"),
                        *tree = td_collective_find("allreduce", "tree"),
                        *halving_twice = td_collective_find("allreduce", "rabenseifner"),
                        *halving = td_collective_find("reduce_scatter", "recursive_halving");
    const td_rank_kind kind = TD_RANK_PROCESS;
    const td_layout four = {.ranks = 4, .workers = 1, .kind = kind},
                    two = {.ranks = 2, .workers = 1, .kind = kind},
                    three = {.ranks = 3, .workers = 1, .kind = kind},
                    wide = {.ranks = 4, .workers = 2, .kind = kind},
                    threads = {.ranks = 4, .workers = 1, .kind = TD_RANK_THREAD};
    td_selection_entry entries[] = {{TD_COLL_allreduce, kind, 4, 1, 1 << 20, ring},
                                    {TD_COLL_allreduce, kind, 4, 1, 64, linear},
                                    {TD_COLL_allreduce, TD_RANK_THREAD, 4, 1, 4, halving_twice},
                                    {TD_COLL_allreduce, kind, 4, 1, 1024, tree},
                                    {TD_COLL_allreduce, kind, 2, 1, 64, ring},
                                    {TD_COLL_reduce_scatter, kind, 3, 1, 64, halving}};
    td_selection table = {entries, sizeof entries / sizeof entries[0]};
    const struct {
        int64_t bytes;
        const td_collective *row;
    } cases[] = {{4, linear},           {64, linear},    {1023, linear}, {1024, tree},
                 {(1 << 20) - 1, tree}, {1 << 20, ring}, {1 << 30, ring}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_expect_eq(td_selection_find(&table, TD_COLL_allreduce, &four, cases[i].bytes),
                     cases[i].row, "%lld bytes", (long long)cases[i].bytes);
    }
    cr_expect_eq(td_selection_find(&table, TD_COLL_allreduce, &two, 1 << 20), ring);
    cr_expect_eq(td_selection_find(&table, TD_COLL_allreduce, &threads, 1 << 20), halving_twice);
    /* Neither for other workers, nor for other ranks, nor a row that does not fit. */
    cr_expect_eq(td_selection_find(&table, TD_COLL_allreduce, &wide, 64),
                 td_selection_default(TD_COLL_allreduce, 4, 64));
    cr_expect_eq(td_selection_find(&table, TD_COLL_reduce_scatter, &three, 64),
                 td_selection_default(TD_COLL_reduce_scatter, 3, 64));
    cr_expect_eq(td_selection_find(NULL, TD_COLL_allreduce, &four, 64),
                 td_selection_default(TD_COLL_allreduce, 4, 64));
}
