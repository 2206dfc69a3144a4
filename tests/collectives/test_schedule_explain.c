/* SPDX-License-Identifier: Apache-2.0
 * Schedules as text: the ring to the letter, and what every text ends with.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
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

static int count_of(const char *text, const char *what) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at += strlen(what)) {
        n++;
    }
    return n;
}

/* The picture says what the text says: sums of all four ranks first where reduce-scatter leaves
 * them, four after round 3, then four more with every round of allgather. */
Test(schedule_explain, the_picture_of_a_ring) {
    td_text drawn = {0};
    cr_assert_eq(td_schedule_draw(td_collective_find("allreduce", "ring"), 4, &drawn), TD_OK, "%s",
                 td_error());
    cr_expect_eq(count_of(drawn.data, "<svg "), 7);
    cr_expect_eq(count_of(drawn.data, "</svg>"), 7);
    cr_expect_eq(count_of(drawn.data, "<rect "), 7 * 16);
    const char *grid = drawn.data;
    for (int round = 1; round <= 6; round++) {
        char title[64], next[64];
        snprintf(title, sizeof title, "<figcaption>after round %d, %s<", round,
                 round <= 3 ? "reduce_scatter" : "allgather");
        snprintf(next, sizeof next, "<figcaption>after round %d,", round + 1);
        grid = strstr(grid, title);
        cr_assert_not_null(grid, "%s", title);
        const char *end = strstr(grid, next);
        char *one = strndup(grid, end != NULL ? (size_t)(end - grid) : strlen(grid));
        cr_expect_eq(count_of(one, ">0+1+2+3<"), round < 3 ? 0 : 4 * (round - 2), "round %d",
                     round);
        free(one);
    }
    td_text_destroy(&drawn);
}
