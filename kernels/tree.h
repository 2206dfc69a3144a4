/* SPDX-License-Identifier: Apache-2.0
 * The balanced binary tree over row blocks, as a binary counter: partial sums wait on a stack, and
 * after block i is finished as many pairs are joined as i has trailing one bits, older + newer. For
 * a power of two this is the balanced tree over consecutive pairs, so the owner of an aligned group
 * of blocks computes exactly one subtree of it.
 */
#ifndef TD_KERNELS_TREE_H
#define TD_KERNELS_TREE_H

#include <stdint.h>

/* Partial sums that can be alive at once: the bit length of the number of blocks. */
static inline int64_t td_tree_levels(int64_t blocks) {
    int64_t levels = 1;
    while (blocks >> levels != 0) {
        levels++;
    }
    return levels;
}

/* Columns summed together by one sweep over the rows: whole rows of all but the widest matrices,
 * because memory is slow where a sweep leaves lines out. Their partial sums, 16 KiB, stay in L1. */
enum { TD_CHUNK_COLS = 4096 };

/* Floats between two partials of n columns: whole vectors, so that only reads of the input need a
 * mask. */
static inline int64_t td_tree_stride(int64_t n) {
    return (n + 15) / 16 * 16;
}

/* Scratch bytes of a stack of partials of n columns, and of a sum over rows, which keeps one chunk
 * of columns. */
static inline int64_t td_tree_scratch(int64_t n, int64_t blocks) {
    return td_tree_levels(blocks) * td_tree_stride(n) * (int64_t)sizeof(float);
}

static inline int64_t td_columns_scratch(int64_t cols, int64_t blocks) {
    return td_tree_scratch(cols < TD_CHUNK_COLS ? cols : TD_CHUNK_COLS, blocks);
}

/* slots holds td_tree_levels(blocks) partials, `stride` floats apart, n floats each. The caller has
 * written block i's partial to slot *depth; on return the stack holds the partials of blocks 0..i.
 */
static inline void td_tree_push(float *slots, int64_t stride, int64_t n, int64_t i,
                                int64_t *depth) {
    ++*depth;
    for (; (i & 1) != 0; i >>= 1) {
        float *older = slots + (*depth - 2) * stride, *newer = older + stride;
        for (int64_t c = 0; c < n; c++) {
            older[c] += newer[c];
        }
        --*depth;
    }
}

/* Joins what is left, newest first; the sum ends in slot 0. Nothing is left to join for a power of
 * two. */
static inline void td_tree_finish(float *slots, int64_t stride, int64_t n, int64_t depth) {
    for (; depth > 1; depth--) {
        float *older = slots + (depth - 2) * stride, *newer = older + stride;
        for (int64_t c = 0; c < n; c++) {
            older[c] += newer[c];
        }
    }
}

#endif
