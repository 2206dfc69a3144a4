/* SPDX-License-Identifier: Apache-2.0
 * One prototype for each row of collectives.inc.
 */
#ifndef TD_COLLECTIVES_ALGORITHMS_H
#define TD_COLLECTIVES_ALGORITHMS_H

#include "collectives/comm.h"

#define TD_COLLECTIVE(operation, algorithm, busbw, traffic, order, doc)                            \
    td_collective_fn td_##operation##__##algorithm;
#include "collectives/collectives.inc"
#undef TD_COLLECTIVE

#endif
