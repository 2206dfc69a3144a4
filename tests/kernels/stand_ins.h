/* SPDX-License-Identifier: Apache-2.0
 * Rows of an ISA without the ISA: the same source with that ISA's tiles on portable vectors. All
 * but the encoding of its instructions and the suppressed faults of its masks is put to the test.
 */
#ifndef TD_TESTS_STAND_INS_H
#define TD_TESTS_STAND_INS_H

#include "kernels/kernel.h"

/* A copy of `row` that any CPU runs; false when there is none, as in builds with sanitizers. */
bool stand_in_for(const td_kernel *row, td_kernel *out);

#endif
