/* SPDX-License-Identifier: Apache-2.0
 * How many tiles of an operation are worth taking together.
 */
#ifndef TD_KERNELS_GRAIN_H
#define TD_KERNELS_GRAIN_H

#include "kernels/kernel.h"

/* Tiles that share what is prepared for one of them: from a multiple of this to the next. Those of
 * a strip of a product's columns, for which a call packs B once; all of a sum over rows, of which a
 * call reads one run a row; 1 elsewhere. */
int64_t td_kernel_grain(td_op_id op, const void *args);

#endif
