/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Nodes are hosts where those are known (td_moves.node), else td_torus_width neighbouring ranks.
 * Within a node every rank adds up a part of its own;
 * ranks with the same part exchange sums across nodes by recursive doubling, all at once; then
 * parts are spread within the node. Nodes beyond a power of two hand in before, receive after. */
typedef struct nodes {
    int width, count, members, rest;
    int part; /* blocks of a part: one for every node, whatever their width */
} nodes;

static int member(const nodes *n, int index) {
    return index < n->rest ? 2 * index + 1 : index + n->rest;
}

static void within(td_moves *s, const nodes *n, int rank) {
    int x = rank % n->width, first = rank - x;
    for (int step = 1; step < n->width; step++) {
        td_add_blocks(s, step - 1, rank, TD_BUFFER_PARTIAL, step == 1 ? s->in : TD_BUFFER_PARTIAL,
                      first + (x + step) % n->width, s->in, x * n->part, n->part);
    }
    s->at[rank] = n->width > 1 ? TD_BUFFER_PARTIAL : s->in;
}

/* All of the node together; returns the next round. */
static int across(td_moves *s, const nodes *n, int x, int round) {
    for (int i = 0; i < n->rest; i++) {
        int rank = (2 * i + 1) * n->width + x, peer = 2 * i * n->width + x;
        td_add_blocks(s, round, rank, TD_BUFFER_T0, s->at[rank], peer, s->at[peer], x * n->part,
                      n->part);
        s->at[rank] = TD_BUFFER_T0;
    }
    round += n->rest > 0;
    for (int step = 1; step < n->members; round++, step *= 2) {
        for (int i = 0; i < n->members; i++) {
            int rank = member(n, i) * n->width + x, peer = member(n, i ^ step) * n->width + x;
            td_add_blocks(s, round, rank, td_other_scratch(s->at[rank]), s->at[rank], peer,
                          s->at[peer], x * n->part, n->part);
        }
        for (int i = 0; i < n->members; i++) {
            int rank = member(n, i) * n->width + x;
            s->at[rank] = td_other_scratch(s->at[rank]);
        }
    }
    for (int i = 0; i < n->members; i++) {
        int rank = member(n, i) * n->width + x;
        td_finish_blocks(s, round, rank, TD_BUFFER_OUT, rank, s->at[rank], x * n->part, n->part);
    }
    for (int i = 0; i < n->rest; i++) {
        td_copy_blocks(s, round + 1, 2 * i * n->width + x, TD_BUFFER_OUT,
                       (2 * i + 1) * n->width + x, TD_BUFFER_OUT, x * n->part, n->part);
    }
    return round + 2;
}

void td_allreduce__hierarchical(td_moves *s) {
    /* With a rank a host there is nothing to be near to. */
    int p = s->ranks, width = s->node > 1 ? s->node : td_torus_width(p), round = 0;
    nodes n = {width, p / width, 1 << td_log2_down(p / width), 0, p / width};
    n.rest = n.count - n.members;
    for (int rank = 0; rank < p; rank++) {
        within(s, &n, rank);
    }
    for (int x = 0; x < width; x++) {
        round = across(s, &n, x, width - 1);
    }
    for (int rank = 0; rank < p; rank++) {
        int x = rank % width;
        for (int step = 1; step < width; step++) {
            int other = (x + step) % width;
            td_copy_blocks(s, round + step - 1, rank, TD_BUFFER_OUT, rank - x + other,
                           TD_BUFFER_OUT, other * n.part, n.part);
        }
    }
}
