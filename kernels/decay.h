/* SPDX-License-Identifier: Apache-2.0
 * Runs of a flat buffer that an optimizer updates with one weight decay.
 */
#ifndef TD_KERNELS_DECAY_H
#define TD_KERNELS_DECAY_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/simd.h"

/* Elements [first, last) are the run at hand; empty before the first. */
typedef struct td_decay_walk {
    const int64_t (*ranges)[2]; /* ascending, disjoint: these decay */
    int64_t n_ranges, range;
    int64_t first, last, end;
    bool decayed;
} td_decay_walk;

/* Starts at the first range that ends behind element `first`. */
static inline td_decay_walk td_decay_start(const int64_t (*ranges)[2], int64_t n_ranges,
                                           int64_t first, int64_t end) {
    int64_t low = 0, high = n_ranges;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (ranges[middle][1] > first) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return (td_decay_walk){ranges, n_ranges, low, first, first, end, false};
}

static inline bool td_decay_next(td_decay_walk *walk) {
    if (walk->last >= walk->end) {
        return false;
    }
    walk->range += walk->decayed ? 1 : 0;
    int64_t begin = walk->range < walk->n_ranges ? walk->ranges[walk->range][0] : walk->end;
    walk->first = walk->last;
    walk->decayed = begin <= walk->first && walk->range < walk->n_ranges;
    walk->last = walk->decayed ? walk->ranges[walk->range][1] : begin;
    walk->last = walk->last < walk->end ? walk->last : walk->end;
    return true;
}

/* Elements from i to where a whole vector of a flat buffer begins, at most up to `end`: a run may
 * start anywhere, and vectors across two cache lines take a third longer from memory. */
static inline int64_t td_decay_lead(int64_t i, int64_t end) {
    const int64_t lead = -i & (TD_LANES - 1);
    return lead < end - i ? lead : end - i;
}

#endif
