/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"
#include "collectives/algorithms.h"

/* Nodes are hosts where those are known (td_moves.nodes), else td_torus_width neighbouring ranks.
 * The vector has as many parts as the smallest node has ranks; the first ranks of a node, its
 * heads, have a part each. A head adds up its part of all ranks of its node; heads of the same part
 * exchange sums across nodes by recursive doubling, all at once; then parts are spread within the
 * node. So each node sends every part once a step, however many ranks it has. Nodes beyond a power
 * of two hand in before, receive after. Of hosts with a rank each only the exchange across is left,
 * which is recursive_doubling. */
typedef struct nodes {
    int *ranks; /* node by node */
    int *first; /* of each node in them, and their end */
    int count, members, rest;
    int heads, most; /* the least and the most ranks of a node */
} nodes;

static int size_of(const nodes *n, int node) {
    return n->first[node + 1] - n->first[node];
}

static int rank_at(const nodes *n, int node, int index) {
    return n->ranks[n->first[node] + index];
}

static int member(const nodes *n, int index) {
    return index < n->rest ? 2 * index + 1 : index + n->rest;
}

static int part_first(const td_moves *s, const nodes *n, int x) {
    return (int)td_chunk_first(s->blocks, x, n->heads);
}

static int part_blocks(const td_moves *s, const nodes *n, int x) {
    return part_first(s, n, x + 1) - part_first(s, n, x);
}

/* 0: unknown. */
static int count_hosts(const td_moves *s) {
    int count = 0;
    for (int rank = 0; rank < s->ranks && s->nodes != NULL; rank++) {
        count = s->nodes[rank] >= count ? s->nodes[rank] + 1 : count;
    }
    return count;
}

static void find_nodes(const td_moves *s, nodes *n) {
    int hosts = count_hosts(s), at = 0, width = td_torus_width(s->ranks);
    n->count = hosts > 0 ? hosts : s->ranks / width;
    n->members = 1 << td_log2_down(n->count);
    n->rest = n->count - n->members;
    n->heads = s->ranks;
    for (int node = 0; node < n->count; node++) {
        n->first[node] = at;
        for (int rank = 0; rank < s->ranks; rank++) {
            if ((hosts > 0 ? s->nodes[rank] : rank / width) == node) {
                n->ranks[at++] = rank;
            }
        }
        int size = at - n->first[node];
        n->heads = size < n->heads ? size : n->heads;
        n->most = size > n->most ? size : n->most;
    }
    n->first[n->count] = at;
}

static void within(td_moves *s, const nodes *n, int node) {
    int size = size_of(n, node);
    for (int x = 0; x < n->heads; x++) {
        int rank = rank_at(n, node, x);
        for (int step = 1; step < size; step++) {
            td_add_blocks(s, step - 1, rank, TD_BUFFER_PARTIAL,
                          step == 1 ? s->in : TD_BUFFER_PARTIAL,
                          rank_at(n, node, (x + step) % size), s->in, part_first(s, n, x),
                          part_blocks(s, n, x));
        }
        s->at[rank] = size > 1 ? TD_BUFFER_PARTIAL : s->in;
    }
}

/* The heads of part x; returns the next round. */
static int across(td_moves *s, const nodes *n, int x, int round) {
    int first = part_first(s, n, x), blocks = part_blocks(s, n, x);
    for (int i = 0; i < n->rest; i++) {
        int rank = rank_at(n, 2 * i + 1, x), peer = rank_at(n, 2 * i, x);
        td_add_blocks(s, round, rank, TD_BUFFER_T0, s->at[rank], peer, s->at[peer], first, blocks);
        s->at[rank] = TD_BUFFER_T0;
    }
    round += n->rest > 0;
    for (int step = 1; step < n->members; round++, step *= 2) {
        for (int i = 0; i < n->members; i++) {
            int rank = rank_at(n, member(n, i), x), peer = rank_at(n, member(n, i ^ step), x);
            td_add_blocks(s, round, rank, td_other_scratch(s->at[rank]), s->at[rank], peer,
                          s->at[peer], first, blocks);
        }
        for (int i = 0; i < n->members; i++) {
            int rank = rank_at(n, member(n, i), x);
            s->at[rank] = td_other_scratch(s->at[rank]);
        }
    }
    for (int i = 0; i < n->members; i++) {
        int rank = rank_at(n, member(n, i), x);
        td_finish_blocks(s, round, rank, TD_BUFFER_OUT, rank, s->at[rank], first, blocks);
    }
    for (int i = 0; i < n->rest; i++) {
        td_copy_blocks(s, round + 1, rank_at(n, 2 * i, x), TD_BUFFER_OUT, rank_at(n, 2 * i + 1, x),
                       TD_BUFFER_OUT, first, blocks);
    }
    return round + 2;
}

static void spread(td_moves *s, const nodes *n, int node, int round) {
    int size = size_of(n, node);
    for (int x = 0; x < size; x++) {
        for (int step = 1; step < size; step++) {
            int head = (x + step) % size;
            if (head < n->heads) {
                td_copy_blocks(s, round + step - 1, rank_at(n, node, x), TD_BUFFER_OUT,
                               rank_at(n, node, head), TD_BUFFER_OUT, part_first(s, n, head),
                               part_blocks(s, n, head));
            }
        }
    }
}

void td_allreduce__hierarchical(td_moves *s) {
    int *room = td_alloc((2 * (size_t)s->ranks + 1) * sizeof *room), round = 0;
    if (room == NULL) {
        s->out_of_memory = true;
        return;
    }
    nodes n = {.ranks = room, .first = room + s->ranks};
    find_nodes(s, &n);
    for (int node = 0; node < n.count; node++) {
        within(s, &n, node);
    }
    for (int x = 0; x < n.heads; x++) {
        round = across(s, &n, x, n.most - 1);
    }
    for (int node = 0; node < n.count; node++) {
        spread(s, &n, node, round);
    }
    td_free(room);
}
