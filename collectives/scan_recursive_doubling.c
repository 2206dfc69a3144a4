/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Where a new sum of a rank goes: to its place, unless the rank above still reads the old one
 * there, which in place may be the input. */
static td_buffer next_place(const td_moves *s, int rank, int step) {
    bool taken = s->at[rank] == TD_BUFFER_PARTIAL || (s->in_place && s->at[rank] == s->in);
    return taken && rank + step < s->ranks ? TD_BUFFER_T0 : TD_BUFFER_PARTIAL;
}

/* After each step the sum at a rank covers twice as many ranks that end with it, from `first` on.
 * Returns the round after the last. */
static int grow_sums(td_moves *s, int first, int round) {
    int p = s->ranks;
    for (int step = 1; first + step < p; round++, step *= 2) {
        for (int rank = p - 1; rank >= first + step; rank--) {
            td_add_blocks(s, round, rank, next_place(s, rank, step), s->at[rank], rank - step,
                          s->at[rank - step], 0, s->blocks);
        }
        for (int rank = first + step; rank < p; rank++) {
            s->at[rank] = next_place(s, rank, step);
        }
    }
    return round;
}

static void finish_sums(td_moves *s, int first, int round) {
    for (int rank = first; rank < s->ranks; rank++) {
        td_finish_blocks(s, round, rank, TD_BUFFER_OUT, rank, s->at[rank], 0, s->blocks);
    }
}

void td_scan__recursive_doubling(td_moves *s) {
    finish_sums(s, 0, grow_sums(s, 0, 0));
}

/* The same among all ranks but the first, each with the numbers of the rank before it. */
void td_exscan__recursive_doubling(td_moves *s) {
    for (int rank = s->ranks - 1; rank > 0; rank--) {
        td_buffer place = next_place(s, rank, 1);
        td_copy_blocks(s, 0, rank, place, rank - 1, s->in, 0, s->blocks);
        s->at[rank] = place;
    }
    finish_sums(s, 1, grow_sums(s, 1, 1));
}
