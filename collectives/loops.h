/* SPDX-License-Identifier: Apache-2.0
 * The element loops of each row of cmake/isa.cmake.
 */
#ifndef TD_COLLECTIVES_LOOPS_H
#define TD_COLLECTIVES_LOOPS_H

#include "collectives/elements.h"

extern const td_element_loops td_element_loops__portable;
extern const td_element_loops td_element_loops__avx2;
extern const td_element_loops td_element_loops__avx512;

#endif
