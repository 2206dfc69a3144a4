/* SPDX-License-Identifier: Apache-2.0
 * One prototype for each row of collectives.inc.
 */
#ifndef TD_COLLECTIVES_ALGORITHMS_H
#define TD_COLLECTIVES_ALGORITHMS_H

#include "collectives/comm.h"
#include "collectives/schedule.h"

#define TD_SCHEDULE(operation, algorithm, blocks, segmented, fits, rounds, volume, doc)            \
    td_generate_fn td_##operation##__##algorithm;
#define TD_DIRECT(operation, algorithm, fits, traffic, cells, apart, waits, shared, doc)           \
    td_collective_fn td_##operation##__##algorithm;
#include "collectives/collectives.inc"
#undef TD_SCHEDULE
#undef TD_DIRECT

#endif
