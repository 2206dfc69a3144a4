/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Reduce-scatter by recursive halving, allgather by recursive doubling, over the largest power of
 * two of ranks. The others hand in their input before and get the result after. */
static int member(int p, int index) {
    int rest = p - (1 << td_log2_down(p));
    return index < rest ? 2 * index + 1 : index + rest;
}

static int halve(td_moves *s, int round) {
    int p = s->ranks, members = 1 << td_log2_down(p);
    for (int step = members / 2; step >= 1; round++, step /= 2) {
        for (int i = 0; i < members; i++) {
            int rank = member(p, i), peer = member(p, i ^ step);
            td_add_blocks(s, round, rank, TD_BUFFER_PARTIAL, s->at[rank], peer, s->at[peer],
                          i / step * step, step);
        }
        for (int i = 0; i < members; i++) {
            s->at[member(p, i)] = TD_BUFFER_PARTIAL;
        }
    }
    return round;
}

void td_allreduce__rabenseifner(td_moves *s) {
    int p = s->ranks, members = 1 << td_log2_down(p), rest = p - members;
    for (int i = 0; i < rest; i++) {
        td_add_blocks(s, 0, 2 * i + 1, TD_BUFFER_PARTIAL, s->in, 2 * i, s->in, 0, s->blocks);
        s->at[2 * i + 1] = TD_BUFFER_PARTIAL;
    }
    int round = halve(s, rest > 0);
    for (int i = 0; i < members; i++) {
        int rank = member(p, i);
        td_finish_blocks(s, round, rank, TD_BUFFER_OUT, rank, TD_BUFFER_PARTIAL, i, 1);
    }
    for (int have = 1; have < members; have *= 2) {
        round++;
        for (int i = 0; i < members; i++) {
            td_copy_blocks(s, round, member(p, i), TD_BUFFER_OUT, member(p, i ^ have),
                           TD_BUFFER_OUT, (i ^ have) / have * have, have);
        }
    }
    for (int i = 0; i < rest; i++) {
        td_copy_blocks(s, round + 1, 2 * i, TD_BUFFER_OUT, 2 * i + 1, TD_BUFFER_OUT, 0, s->blocks);
    }
}
