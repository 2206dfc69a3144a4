/* SPDX-License-Identifier: Apache-2.0
 * A round of calls by ranks on several hosts: they meet in messages, start at a time of rank 0's
 * clock, and exchange their times after it.
 */
#ifndef TD_BENCH_COLL_HOSTS_H
#define TD_BENCH_COLL_HOSTS_H

#include "base/status.h"
#include "bench/coll_round.h"

/* Ticks of rank 0's clock at a tick of mine, and by how much that may be wrong: half of the
 * shortest of a dozen round trips. */
typedef struct td_coll_clock {
    double ticks_per_ns, ahead_ns, error_ns;
} td_coll_clock;

/* By all ranks, before a round. */
td_status td_coll_clock_set(td_coll_clock *clock);

/* All ranks are here: my time stamp at which the call is to start. */
td_status td_coll_hosts_meet(const td_coll_clock *clock, uint64_t *go);

/* After a round: the times of all ranks, by rank 0's clock, in the board of each. */
td_status td_coll_hosts_times(const td_coll_clock *clock, const td_coll_round *round,
                              td_coll_board *board);

/* By all ranks: whether what each has there is the same, by its hash. */
td_status td_coll_hosts_compare(const void *data, int64_t bytes, bool *same);

#endif
