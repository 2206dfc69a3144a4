/* SPDX-License-Identifier: Apache-2.0
 * The cases of the collectives table: rows over sizes, and how each is called.
 */
#ifndef TD_BENCH_COLL_CASES_H
#define TD_BENCH_COLL_CASES_H

#include "bench/case.h"
#include "bench/coll_round.h"

enum { TD_COLL_PARAM_ROW, TD_COLL_PARAM_BYTES, TD_COLL_PARAM_DTYPE, TD_COLL_PARAM_HOW };

/* How a case is called. In the id, what differs from the first: f32-4KiB-written-isolated. */
typedef struct td_coll_how {
    td_coll_state state;
    td_coll_mode mode;
    bool apart;  /* out of place */
    bool uneven; /* in counted blocks (coll_blocks.h) */
} td_coll_how;

td_coll_how td_coll_how_of(const td_case *subject);

/* A row's cases over sizes; behind the end of the table, by operation, those whose row is chosen
 * (selection.h). */
td_status td_coll_list(const td_workload *self, td_case_list *list);

#endif
