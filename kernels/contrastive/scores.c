/* SPDX-License-Identifier: Apache-2.0
 * The losses on a stored matrix of products, row by row: what a program does that computes scores
 * with a GEMM, keeps them, and takes gradients with two more.
 */
#include "base/math.h"
#include "kernels/contrastive/contrastive_plan.h"
#include "kernels/kernel.h"
#include "kernels/vmath.h"

TD_SIMD td_v16 load_or(const float *at, int64_t left, float otherwise) {
    return left >= TD_LANES ? td_v16_load(at) : td_v16_load_part(at, left, otherwise);
}

TD_SIMD void store_left(float *at, td_v16 v, int64_t left) {
    if (left >= TD_LANES) {
        td_v16_store(at, v);
    } else {
        td_v16_store_part(at, v, left);
    }
}

void TD_FN(scores_softmax_f32)(const td_scores_softmax_f32_args *args, int64_t first, int64_t last,
                               void *scratch) {
    (void)scratch;
    int64_t n = args->batch,
            end = last * TD_LOSS_ROWS < args->rows ? last * TD_LOSS_ROWS : args->rows;
    float label = 1 / (2 * (float)n);
    td_v16 factor = td_v16_set1(*args->scale);
    for (int64_t r = first * TD_LOSS_ROWS; r < end; r++) {
        float *row = args->scores + r * args->ld_scores;
        float own = row[args->offset + r] * *args->scale;
        td_v16 max = td_v16_set1(-INFINITY), sum = td_v16_zero(), along = td_v16_zero();
        for (int64_t c = 0; c < n; c += TD_LANES) {
            max = td_v16_max(max, load_or(row + c, n - c, -INFINITY));
        }
        float top = td_v16_reduce_max(max) * *args->scale;
        td_v16 shift = td_v16_set1(top);
        for (int64_t c = 0; c < n; c += TD_LANES) {
            td_v16 s = td_v16_mul(load_or(row + c, n - c, 0), factor);
            td_v16 e = td_v16_exp(td_v16_sub(s, shift));
            e = td_v16_select(td_m16_first(n - c < TD_LANES ? n - c : TD_LANES), e, td_v16_zero());
            sum = td_v16_add(sum, e);
            along = td_v16_fma(e, s, along);
            store_left(row + c, e, n - c);
        }
        float total = td_v16_sum(sum), by = label / total;
        td_v16 weight = td_v16_set1(by * *args->scale);
        for (int64_t c = 0; c < n; c += TD_LANES) {
            store_left(row + c, td_v16_mul(load_or(row + c, n - c, 0), weight), n - c);
        }
        row[args->offset + r] -= label * *args->scale;
        args->row_loss[r] = (top - own + (float)td_log((double)total)) * label;
        args->row_dscale[r] = fmaf(-label, own, td_v16_sum(along) * by);
    }
}

void TD_FN(scores_sigmoid_f32)(const td_scores_sigmoid_f32_args *args, int64_t first, int64_t last,
                               void *scratch) {
    (void)scratch;
    int64_t n = args->batch,
            end = last * TD_LOSS_ROWS < args->rows ? last * TD_LOSS_ROWS : args->rows;
    td_v16 factor = td_v16_set1(*args->scale), bias = td_v16_set1(*args->bias);
    td_v16 inverse = td_v16_set1(1 / (float)n);
    for (int64_t r = first * TD_LOSS_ROWS; r < end; r++) {
        float *row = args->scores + r * args->ld_scores;
        td_i16 own = td_i16_set1((int32_t)(args->offset + r));
        td_v16 loss = td_v16_zero(), dscale = td_v16_zero(), dbias = td_v16_zero();
        for (int64_t c = 0; c < n; c += TD_LANES) {
            td_m16 seen = td_m16_first(n - c < TD_LANES ? n - c : TD_LANES);
            td_m16 positive = td_i16_eq(td_i16_add(td_i16_iota(), td_i16_set1((int32_t)c)), own);
            td_v16 s = td_v16_mul(load_or(row + c, n - c, 0), factor);
            td_v16 logit = td_v16_add(s, bias);
            td_v16 z = td_v16_select(positive, td_v16_neg(logit), logit);
            td_v16 e = td_v16_exp_minus_abs(z);
            td_v16 g = td_v16_mul(td_v16_sigmoid_of(z, e), inverse);
            g = td_v16_select(seen, td_v16_select(positive, td_v16_neg(g), g), td_v16_zero());
            loss = td_v16_add(loss, td_v16_select(seen, td_v16_softplus_of(z, e), td_v16_zero()));
            dscale = td_v16_fma(g, s, dscale);
            dbias = td_v16_add(dbias, g);
            store_left(row + c, td_v16_mul(g, factor), n - c);
        }
        args->row_loss[r] = td_v16_sum(loss) / (float)n;
        args->row_dscale[r] = td_v16_sum(dscale);
        args->row_dbias[r] = td_v16_sum(dbias);
    }
}
