/* SPDX-License-Identifier: Apache-2.0
 * What forward and backward attention share: the strip of query rows that is worked on at once, the
 * scratch they lay out, and the scores of a strip.
 */
#ifndef TD_KERNELS_ATTENTION_PLAN_H
#define TD_KERNELS_ATTENTION_PLAN_H

#include <stdint.h>

#include "kernels/args.h"

/* Rows of a strip: a multiple of 6, the height of the register tiles; at 197 keys a strip of scores
 * is 20 KiB and stays in L1. Part of the contract: zeros are added up to a strip's last key. */
enum { TD_STRIP_ROWS = 24 };

static inline int64_t td_attention_pad(int64_t keys) {
    return (keys + 15) / 16 * 16;
}

/* Floats of scratch: K transposed and one strip of scores; backward also V transposed, a strip of
 * score gradients, and row sums. */
static inline int64_t td_attention_floats(const td_attention_f32_args *args) {
    return (args->head + TD_STRIP_ROWS) * td_attention_pad(args->n_k);
}

#endif
