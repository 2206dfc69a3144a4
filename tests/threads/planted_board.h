/* SPDX-License-Identifier: Apache-2.0
 * What planted_stacks tells the test that looks at it.
 */
#ifndef TD_TESTS_THREADS_PLANTED_BOARD_H
#define TD_TESTS_THREADS_PLANTED_BOARD_H

#include <stdatomic.h>

typedef struct planted_board {
    _Atomic int tid, child;
    _Atomic long rounds, interrupted;
    _Atomic long looks; /* of the test's own observer */
} planted_board;

#endif
