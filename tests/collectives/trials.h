/* SPDX-License-Identifier: Apache-2.0
 * Every row of collectives.inc that fits, in one group: all counts, types, reductions, roots, in
 * and out of place, each result judged against the reference and put into a hash.
 */
#ifndef TD_TESTS_TRIALS_H
#define TD_TESTS_TRIALS_H

#include "base/sha256.h"
#include "threads/group.h"

/* MPI: ranks on shared CPUs wait by yielding, and some calls must do. */
enum { TD_TRIAL_RANKS = 16, TD_TRIAL_MPI = 9 };

/* every: one of so many calls; direct: also of the rows that work in common memory. TD_ECHECK says
 * what is wrong. sha256: of all results of all ranks, which no transport changes. */
td_status td_trial_rows(const td_layout *layout, int every, bool direct,
                        char sha256[TD_SHA256_HEX]);

/* As many ranks and workers, sharing CPUs where there are not enough. */
static inline td_layout td_trial_layout(td_rank_kind kind, int ranks, int workers) {
    return (td_layout){.ranks = ranks,
                       .workers = workers,
                       .kind = kind,
                       .scope = "machine",
                       .unit = "pu",
                       .order = "close",
                       .smt = 1,
                       .over = true};
}

#endif
