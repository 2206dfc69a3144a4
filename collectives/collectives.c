/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "collectives/algorithms.h"

#define TD_COLLECTIVE(operation, algorithm, busbw, traffic, order, doc)                            \
    static double busbw_of_##operation##_##algorithm(int ranks) {                                  \
        double p = ranks;                                                                          \
        (void)p;                                                                                   \
        return ranks > 1 ? (busbw) : 0;                                                            \
    }                                                                                              \
    static double bytes_of_##operation##_##algorithm(int ranks, int64_t count, td_dtype dtype) {   \
        double p = ranks;                                                                          \
        (void)p;                                                                                   \
        return ranks > 1 ? (double)(count * td_dtype_bytes(dtype)) * (traffic) : 0;                \
    }
#include "collectives/collectives.inc"
#undef TD_COLLECTIVE

static const td_collective rows[] = {
#define TD_COLLECTIVE(operation, algorithm, busbw, traffic, order, doc)                            \
    {#operation,                                                                                   \
     #algorithm,                                                                                   \
     td_##operation##__##algorithm,                                                                \
     busbw_of_##operation##_##algorithm,                                                           \
     bytes_of_##operation##_##algorithm,                                                           \
     order,                                                                                        \
     doc},
#include "collectives/collectives.inc"
#undef TD_COLLECTIVE
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

const td_collective *td_collectives(int *count) {
    *count = N_ROWS;
    return rows;
}

const td_collective *td_collective_find(const char *operation, const char *algorithm) {
    for (int i = 0; i < N_ROWS; i++) {
        if (strcmp(rows[i].operation, operation) == 0 &&
            strcmp(rows[i].algorithm, algorithm) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}
