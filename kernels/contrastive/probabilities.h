/* SPDX-License-Identifier: Apache-2.0
 * From scores of the softmax loss to gradients, as strips and block pairs compute them.
 */
#ifndef TD_KERNELS_CONTRASTIVE_PROBABILITIES_H
#define TD_KERNELS_CONTRASTIVE_PROBABILITIES_H

#include "kernels/vmath.h"

/* v in the first `left` lanes, another number in those behind them. */
TD_SIMD td_v16 td_seen_or(td_v16 v, int64_t left, float otherwise) {
    return left >= TD_LANES ? v : td_v16_select(td_m16_first(left), v, td_v16_set1(otherwise));
}

/* 1 / (2 batch sum), of a row's or a column's sum of exp(score - maximum). */
static inline float td_loss_weight(double sum, int64_t batch) {
    return (float)(1 / (sum * 2 * (double)batch));
}

/* exp(s - top) weight of the row, and that of each lane's column: (p + q) / (2 batch). */
TD_SIMD td_v16 td_loss_gradient(td_v16 s, td_v16 top, td_v16 weight, const float *column_top,
                                const float *column_weight) {
    td_v16 along = td_v16_mul(td_v16_exp(td_v16_sub(s, top)), weight);
    td_v16 e = td_v16_exp(td_v16_sub(s, td_v16_load(column_top)));
    return td_v16_fma(e, td_v16_load(column_weight), along);
}

#endif
