/* SPDX-License-Identifier: Apache-2.0
 * Tiles that one worker is to run and others may take over: it takes them from the front, they take
 * from the back. Who runs a tile is all that a range decides: what tiles read and write is ordered
 * by the barriers before and behind.
 */
#ifndef TD_THREADS_RANGE_H
#define TD_THREADS_RANGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef _Atomic uint64_t td_range; /* first << 32 | last; zero: empty */

/* first, last at most INT32_MAX. */
void td_range_deal(td_range *range, int64_t first, int64_t last);

/* What portions are taken of: tiles of the whole loop, workers that share it, and tiles that share
 * what is prepared for one of them (from a multiple of grain to the next; 1: nothing is). */
typedef struct td_portions {
    int64_t tiles, grain;
    int workers;
} td_portions;

/* Takes some tiles of a range; false when none are left. */
bool td_range_take(td_range *range, const td_portions *of, bool from_back, int64_t *first,
                   int64_t *last);

#endif
