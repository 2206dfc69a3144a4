/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/algorithms.h"

/* Rabenseifner's reduce for any number of ranks: one block of the sum to each, then up a tree. */
void td_reduce__scatter_gather(td_moves *s) {
    td_reduce_scatter__circulant(s);
    td_then(s);
    td_gather__binomial(s);
}
