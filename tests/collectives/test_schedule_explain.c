/* SPDX-License-Identifier: Apache-2.0
 * Schedules as text: the ring to the letter, and what every text ends with.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/text.h"
#include "collectives/comm.h"
#include "collectives/schedule.h"

static const char ring_of_4[] = "coll/allreduce/ring: reduce_scatter/ring, then allgather/ring\n"
                                "allreduce: the sum over ranks -> out of every rank\n"
                                "4 ranks, 6 rounds, 4 chunks; a rank sends or receives at most 6\n"
                                "before\n"
                                "    rank 0  | 0       | 0       | 0       | 0       |\n"
                                "    rank 1  | 1       | 1       | 1       | 1       |\n"
                                "    rank 2  | 2       | 2       | 2       | 2       |\n"
                                "    rank 3  | 3       | 3       | 3       | 3       |\n"
                                "first, move for move reduce_scatter/ring:\n"
                                "round 1\n"
                                "  rank 3 -> rank 0: chunk 2, added\n"
                                "  rank 0 -> rank 1: chunk 3, added\n"
                                "  rank 1 -> rank 2: chunk 0, added\n"
                                "  rank 2 -> rank 3: chunk 1, added\n"
                                "    rank 0  | 0       | 0       | 0+3     | 0       |\n"
                                "    rank 1  | 1       | 1       | 1       | 0+1     |\n"
                                "    rank 2  | 1+2     | 2       | 2       | 2       |\n"
                                "    rank 3  | 3       | 2+3     | 3       | 3       |\n"
                                "round 2\n"
                                "  rank 3 -> rank 0: chunk 1, added\n"
                                "  rank 0 -> rank 1: chunk 2, added\n"
                                "  rank 1 -> rank 2: chunk 3, added\n"
                                "  rank 2 -> rank 3: chunk 0, added\n"
                                "    rank 0  | 0       | 0+2+3   | 0+3     | 0       |\n"
                                "    rank 1  | 1       | 1       | 0+1+3   | 0+1     |\n"
                                "    rank 2  | 1+2     | 2       | 2       | 0+1+2   |\n"
                                "    rank 3  | 1+2+3   | 2+3     | 3       | 3       |\n"
                                "round 3\n"
                                "  rank 3 -> rank 0: chunk 0, added\n"
                                "  rank 0 -> rank 1: chunk 1, added\n"
                                "  rank 1 -> rank 2: chunk 2, added\n"
                                "  rank 2 -> rank 3: chunk 3, added\n"
                                "    rank 0  | 0+1+2+3 | 0+2+3   | 0+3     | 0       |\n"
                                "    rank 1  | 1       | 0+1+2+3 | 0+1+3   | 0+1     |\n"
                                "    rank 2  | 1+2     | 2       | 0+1+2+3 | 0+1+2   |\n"
                                "    rank 3  | 1+2+3   | 2+3     | 3       | 0+1+2+3 |\n"
                                "then, move for move allgather/ring:\n"
                                "round 4\n"
                                "  rank 3 -> rank 0: chunk 3, copied\n"
                                "  rank 0 -> rank 1: chunk 0, copied\n"
                                "  rank 1 -> rank 2: chunk 1, copied\n"
                                "  rank 2 -> rank 3: chunk 2, copied\n"
                                "    rank 0  | 0+1+2+3 | 0+2+3   | 0+3     | 0+1+2+3 |\n"
                                "    rank 1  | 0+1+2+3 | 0+1+2+3 | 0+1+3   | 0+1     |\n"
                                "    rank 2  | 1+2     | 0+1+2+3 | 0+1+2+3 | 0+1+2   |\n"
                                "    rank 3  | 1+2+3   | 2+3     | 0+1+2+3 | 0+1+2+3 |\n"
                                "round 5\n"
                                "  rank 3 -> rank 0: chunk 2, copied\n"
                                "  rank 0 -> rank 1: chunk 3, copied\n"
                                "  rank 1 -> rank 2: chunk 0, copied\n"
                                "  rank 2 -> rank 3: chunk 1, copied\n"
                                "    rank 0  | 0+1+2+3 | 0+2+3   | 0+1+2+3 | 0+1+2+3 |\n"
                                "    rank 1  | 0+1+2+3 | 0+1+2+3 | 0+1+3   | 0+1+2+3 |\n"
                                "    rank 2  | 0+1+2+3 | 0+1+2+3 | 0+1+2+3 | 0+1+2   |\n"
                                "    rank 3  | 1+2+3   | 0+1+2+3 | 0+1+2+3 | 0+1+2+3 |\n"
                                "round 6\n"
                                "  rank 3 -> rank 0: chunk 1, copied\n"
                                "  rank 0 -> rank 1: chunk 2, copied\n"
                                "  rank 1 -> rank 2: chunk 3, copied\n"
                                "  rank 2 -> rank 3: chunk 0, copied\n"
                                "    rank 0  | 0+1+2+3 | 0+1+2+3 | 0+1+2+3 | 0+1+2+3 |\n"
                                "    rank 1  | 0+1+2+3 | 0+1+2+3 | 0+1+2+3 | 0+1+2+3 |\n"
                                "    rank 2  | 0+1+2+3 | 0+1+2+3 | 0+1+2+3 | 0+1+2+3 |\n"
                                "    rank 3  | 0+1+2+3 | 0+1+2+3 | 0+1+2+3 | 0+1+2+3 |\n";

static void explain(const char *operation, const char *algorithm, int ranks, td_text *out) {
    const td_collective *row = td_collective_find(operation, algorithm);
    cr_assert_not_null(row);
    cr_assert_eq(td_schedule_explain(row, ranks, out), TD_OK, "%s/%s p%d: %s", operation, algorithm,
                 ranks, td_error());
}

Test(schedule_explain, ring_is_reduce_scatter_then_allgather) {
    td_text text = {0};
    explain("allreduce", "ring", 4, &text);
    cr_assert_str_eq(text.data, ring_of_4);
    td_text_destroy(&text);
}

/* The part of a text from its first round on. */
static void rounds_of(const char *operation, const char *algorithm, td_text *out) {
    td_text text = {0};
    explain(operation, algorithm, 4, &text);
    const char *at = strstr(text.data, "round 1\n");
    cr_assert_not_null(at);
    td_text_puts(out, at);
    td_text_destroy(&text);
}

Test(schedule_explain, first_half_is_the_text_of_its_row) {
    td_text whole = {0}, half = {0};
    rounds_of("allreduce", "ring", &whole);
    rounds_of("reduce_scatter", "ring", &half);
    /* Columns are as wide in both: the half ends with whole sums too. */
    cr_assert_eq(strncmp(whole.data, half.data, half.size), 0);
    cr_assert_eq(strncmp(whole.data + half.size, "then, move for move allgather/ring:\n", 36), 0);
    td_text_destroy(&half);
    td_text_destroy(&whole);
}

/* As many numbered rounds as the closed form of the row says. */
static void check_row(const td_collective *row, int ranks) {
    td_text text = {0};
    int rounds = 0;
    double form_rounds, volume;
    explain(row->operation, row->algorithm, ranks, &text);
    for (const char *at = text.data; (at = strstr(at, "\nround ")) != NULL; at++) {
        rounds++;
    }
    row->form(ranks, row->segmented ? ranks : 1, &form_rounds, &volume);
    cr_assert_eq(rounds, (int)form_rounds, "%s/%s p%d: %d rounds, not %g", row->operation,
                 row->algorithm, ranks, rounds, form_rounds);
    td_text_destroy(&text);
}

Test(schedule_explain, every_row_has_the_rounds_of_its_closed_form) {
    int n;
    const td_collective *rows = td_collectives(&n);
    for (int i = 0; i < n; i++) {
        for (int ranks = 2; ranks <= TD_EXPLAIN_RANKS; ranks++) {
            if (rows[i].generate != NULL && rows[i].fits(ranks)) {
                check_row(&rows[i], ranks);
            }
        }
    }
}

Test(schedule_explain, says_when_there_is_nothing_to_show) {
    td_text text = {0};
    explain("allreduce", "tree", 4, &text);
    cr_assert_not_null(strstr(text.data, "\nno schedule: a function over shared memory\n"));
    td_text_destroy(&text);
    explain("allgather", "neighbor", 3, &text);
    cr_assert_not_null(strstr(text.data, "\nnot made for 3 ranks\n"));
    td_text_destroy(&text);
}
