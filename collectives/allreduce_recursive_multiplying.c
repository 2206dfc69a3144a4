/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* As recursive doubling, in groups of four. All of a group add in the order of its members, own sum
 * or not, so that they get the same bits. Ranks beyond the largest power of four hand in before, up
 * to three to one, and get the result after. */
enum { RADIX = 4 };

static void exchange(td_moves *s, int round, int rank, int step) {
    int first = rank - rank / step % RADIX * step;
    td_buffer next = td_other_scratch(s->at[rank]);
    td_copy_blocks(s, round, rank, next, first, s->at[first], 0, s->blocks);
    for (int j = 1; j < RADIX; j++) {
        int peer = first + j * step;
        td_add_blocks(s, round, rank, next, next, peer, s->at[peer], 0, s->blocks);
    }
}

void td_allreduce__recursive_multiplying(td_moves *s) {
    int p = s->ranks, members = 1;
    while (members * RADIX <= p) {
        members *= RADIX;
    }
    int round = p > members;
    for (int extra = members; extra < p; extra++) {
        int rank = extra % members;
        td_add_blocks(s, 0, rank, TD_BUFFER_T0, s->at[rank], extra, s->in, 0, s->blocks);
        s->at[rank] = TD_BUFFER_T0;
    }
    for (int step = 1; step < members; round++, step *= RADIX) {
        for (int rank = 0; rank < members; rank++) {
            exchange(s, round, rank, step);
        }
        for (int rank = 0; rank < members; rank++) {
            s->at[rank] = td_other_scratch(s->at[rank]);
        }
    }
    for (int rank = 0; rank < members; rank++) {
        td_finish_blocks(s, round, rank, TD_BUFFER_OUT, rank, s->at[rank], 0, s->blocks);
    }
    for (int extra = members; extra < p; extra++) {
        td_copy_blocks(s, round + 1, extra, TD_BUFFER_OUT, extra % members, TD_BUFFER_OUT, 0,
                       s->blocks);
    }
}
