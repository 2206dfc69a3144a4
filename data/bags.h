/* SPDX-License-Identifier: Apache-2.0
 * Bags of ids, one a record: what categorical features become, and what kernels look up in tables.
 */
#ifndef TD_DATA_BAGS_H
#define TD_DATA_BAGS_H

#include <stdint.h>

/* coefficients: what the combiner multiplies the row of an id by, weight / divisor. */
typedef struct td_bags {
    int64_t n;
    const int32_t *offsets; /* records + 1; offsets[records] = n */
    const int32_t *ids;
    const float *coefficients;
} td_bags;

#endif
