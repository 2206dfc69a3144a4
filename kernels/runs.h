/* SPDX-License-Identifier: Apache-2.0
 * Runs of the flat buffers of an optimizer: elements that have one weight decay, and whose
 * gradients lie side by side or are all absent.
 */
#ifndef TD_KERNELS_RUNS_H
#define TD_KERNELS_RUNS_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernel.h"
#include "kernels/simd.h"

/* Elements [first, last) are the run at hand; empty before the first. */
typedef struct td_runs {
    const int64_t (*ranges)[2]; /* ascending, disjoint: these decay */
    int64_t n_ranges, range;
    td_compact_rows rows; /* of the gradients */
    int64_t first, last, end;
    bool decayed, absent;
    int64_t gradient; /* of the first element, unless absent */
} td_runs;

/* Starts at the first range that ends behind element `first`. */
static inline td_runs td_runs_start(const int64_t (*ranges)[2], int64_t n_ranges,
                                    td_compact_rows rows, int64_t first, int64_t end) {
    int64_t low = 0, high = n_ranges;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (ranges[middle][1] > first) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return (td_runs){.ranges = ranges,
                     .n_ranges = n_ranges,
                     .range = low,
                     .rows = rows,
                     .last = first,
                     .end = end};
}

/* Ends the run with its row, or before the next row that is there. */
static inline void td_runs_end_with_row(td_runs *run) {
    const int32_t *start = run->rows.start;
    const int64_t width = run->rows.width;
    int64_t row = run->first / width, next = row + 1;
    run->absent = start[row] == start[next];
    while (run->absent && next * width < run->last && start[next] == start[next + 1]) {
        next++;
    }
    run->last = next * width < run->last ? next * width : run->last;
    run->gradient = run->first + (start[row] - row) * width;
}

static inline bool td_runs_next(td_runs *run) {
    if (run->last >= run->end) {
        return false;
    }
    run->first = run->gradient = run->last;
    while (run->range < run->n_ranges && run->ranges[run->range][1] <= run->first) {
        run->range++;
    }
    const bool more = run->range < run->n_ranges;
    const int64_t begin = more ? run->ranges[run->range][0] : run->end;
    run->decayed = more && begin <= run->first;
    run->last = run->decayed ? run->ranges[run->range][1] : begin;
    run->last = run->last < run->end ? run->last : run->end;
    if (run->rows.start != NULL) {
        td_runs_end_with_row(run);
    }
    return true;
}

/* Elements from the first to where a whole vector of a flat buffer begins, at most up to the last:
 * a run may start anywhere, and vectors across two cache lines take a third longer from memory. */
static inline int64_t td_runs_lead(const td_runs *run) {
    const int64_t lead = -run->first & (TD_LANES - 1);
    return lead < run->last - run->first ? lead : run->last - run->first;
}

#endif
