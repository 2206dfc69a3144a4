/* SPDX-License-Identifier: Apache-2.0
 * What forward and backward attention share: the strip of query rows that is worked on at once, and
 * the scratch they lay out.
 */
#ifndef TD_KERNELS_ATTENTION_PLAN_H
#define TD_KERNELS_ATTENTION_PLAN_H

#include <stdint.h>

#include "kernels/args.h"

/* Rows of a strip: multiples of 6, the height of the register tiles; at 197 keys 24 rows of scores
 * are 20 KiB and stay in L1. A causal strip is lower, as it computes scores up to its last row's
 * key. Any height gives the same bits. */
enum { TD_STRIP_ROWS = 24, TD_STRIP_ROWS_CAUSAL = 12 };

static inline int64_t td_attention_pad(int64_t keys) {
    return (keys + 15) / 16 * 16;
}

/* Floats of scratch: K transposed and one strip of scores; backward also V transposed and a strip
 * of score gradients. */
static inline int64_t td_attention_floats(const td_attention_f32_args *args) {
    return (args->head + TD_STRIP_ROWS) * td_attention_pad(args->n_k);
}

#endif
