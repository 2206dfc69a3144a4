/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* After round k the sum at rank r covers the 2^(k+1) ranks that end with r. A sum moves to the
 * other scratch vector whenever it grows, because the rank above still reads the old one. */
static int grow_sums(td_moves *s) {
    int p = s->ranks, round = 0;
    for (int step = 1; step < p; round++, step *= 2) {
        for (int rank = p - 1; rank >= step; rank--) {
            td_add_blocks(s, round, rank, td_other_scratch(s->at[rank]), s->at[rank], rank - step,
                          s->at[rank - step], 0, s->blocks);
        }
        for (int rank = step; rank < p; rank++) {
            s->at[rank] = td_other_scratch(s->at[rank]);
        }
    }
    return round;
}

void td_scan__recursive_doubling(td_moves *s) {
    int round = grow_sums(s);
    for (int rank = 0; rank < s->ranks; rank++) {
        td_finish_blocks(s, round, rank, TD_BUFFER_OUT, rank, s->at[rank], 0, s->blocks);
    }
}

/* The same sums, each taken over by the next rank. */
void td_exscan__recursive_doubling(td_moves *s) {
    int round = grow_sums(s);
    for (int rank = 0; rank + 1 < s->ranks; rank++) {
        td_buffer save = td_other_scratch(s->at[rank + 1]);
        td_copy_blocks(s, round, rank + 1, save, rank, s->at[rank], 0, s->blocks);
        td_finish_blocks(s, round + 1, rank + 1, TD_BUFFER_OUT, rank + 1, save, 0, s->blocks);
    }
}
