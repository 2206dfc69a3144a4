/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Pairs exchange whole partial sums. Of p ranks the largest power of two take part; the rest hand
 * in their input before and get the result after. A partial sum moves to the other scratch vector
 * at every step, because the partner still reads the old one. */
static int member(int p, int index) {
    int rest = p - (1 << td_log2_down(p));
    return index < rest ? 2 * index + 1 : index + rest;
}

void td_allreduce__recursive_doubling(td_moves *s) {
    int p = s->ranks, members = 1 << td_log2_down(p), rest = p - members, round = rest > 0;
    for (int i = 0; i < rest; i++) {
        td_add_blocks(s, 0, 2 * i + 1, TD_BUFFER_T0, s->in, 2 * i, s->in, 0, s->blocks);
        s->at[2 * i + 1] = TD_BUFFER_T0;
    }
    for (int step = 1; step < members; round++, step *= 2) {
        for (int i = 0; i < members; i++) {
            int rank = member(p, i), peer = member(p, i ^ step);
            td_add_blocks(s, round, rank, td_other_scratch(s->at[rank]), s->at[rank], peer,
                          s->at[peer], 0, s->blocks);
        }
        for (int i = 0; i < members; i++) {
            s->at[member(p, i)] = td_other_scratch(s->at[member(p, i)]);
        }
    }
    for (int i = 0; i < members; i++) {
        int rank = member(p, i);
        td_finish_blocks(s, round, rank, TD_BUFFER_OUT, rank, s->at[rank], 0, s->blocks);
    }
    for (int i = 0; i < rest; i++) {
        td_copy_blocks(s, round + 1, 2 * i, TD_BUFFER_OUT, 2 * i + 1, TD_BUFFER_OUT, 0, s->blocks);
    }
}
