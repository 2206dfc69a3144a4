/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Two binary trees, each for one half of the vector, in which no rank but the roots has children in
 * both (Sanders, Speck, Traeff, 2009). A tree's node v > 0 has the height of its lowest set bit;
 * its left child lies half of that bit below, its right one as far above, or, where there are no
 * such ranks, at the highest rank of less height. The root, 0, has one child. */
static int tree_rank(int p, int tree, int v) {
    return tree == 0 ? v : p % 2 == 0 ? p - 1 - v : (v + 1) % p;
}

static int children_of(int p, int v, int children[2]) {
    int n = 0, low = v & -v;
    if (v == 0) {
        children[n++] = 1 << (td_log2_up(p) - 1);
        return n;
    }
    if (low > 1) {
        children[n++] = v - low / 2;
        for (low /= 2; low > 0 && v + low >= p; low /= 2) {
        }
        if (low > 0) {
            children[n++] = v + low;
        }
    }
    return n;
}

/* Up: the round before a node's height; down: mirrored. */
static void add_node(td_moves *s, int tree, int v) {
    int p = s->ranks, q = td_log2_up(p), children[2], n = children_of(p, v, children);
    int height = v == 0 ? q : __builtin_ctz((unsigned)v), rank = tree_rank(p, tree, v);
    for (int i = 0; i < n; i++) {
        int grand[2], peer = tree_rank(p, tree, children[i]);
        td_buffer from = children_of(p, children[i], grand) > 0 ? TD_BUFFER_PARTIAL : s->in;
        td_add_blocks(s, height - 1, rank, TD_BUFFER_PARTIAL, i == 0 ? s->in : TD_BUFFER_PARTIAL,
                      peer, from, tree, 1);
        td_copy_blocks(s, 2 * q + 1 - height, peer, TD_BUFFER_OUT, rank, TD_BUFFER_OUT, tree, 1);
    }
    if (v == 0) {
        td_finish_blocks(s, q, rank, TD_BUFFER_OUT, rank, TD_BUFFER_PARTIAL, tree, 1);
    }
}

void td_allreduce__double_tree(td_moves *s) {
    for (int tree = 0; tree < 2; tree++) {
        for (int v = 0; v < s->ranks; v++) {
            add_node(s, tree, v);
        }
    }
}
