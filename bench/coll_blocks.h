/* SPDX-License-Identifier: Apache-2.0
 * Counted blocks, of which no two of a rank are alike: the same for our ranks and for those of an
 * MPI library, and, where blocks are of pairs, the same in both directions, as MPI in place wants.
 */
#ifndef TD_BENCH_COLL_BLOCKS_H
#define TD_BENCH_COLL_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

/* The smallest vector that has such blocks: 1 + 2 + .. + ranks elements. */
static inline int64_t td_coll_uneven_least(int ranks) {
    return (int64_t)ranks * (ranks + 1) / 2;
}

/* The elements of such a vector that count elements have room for. */
static inline int64_t td_coll_uneven_elements(int64_t count, int ranks) {
    return count / td_coll_uneven_least(ranks) * td_coll_uneven_least(ranks);
}

/* Of a vector of elements, the block of rank `to`: to + 1 parts of it. Pairs: that which `from` has
 * for `to`. */
static inline int64_t td_coll_uneven_block(int64_t elements, int ranks, bool pairs, int from,
                                           int to) {
    int parts = 1 + (pairs ? (from + to) % ranks : to);
    return elements / td_coll_uneven_least(ranks) * parts;
}

/* Where it starts. */
static inline int64_t td_coll_uneven_first(int64_t elements, int ranks, bool pairs, int from,
                                           int to) {
    int64_t first = 0;
    for (int block = 0; block < to; block++) {
        first += td_coll_uneven_block(elements, ranks, pairs, from, block);
    }
    return first;
}

#endif
