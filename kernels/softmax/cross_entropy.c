/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base/math.h"
#include "kernels/kernel.h"
#include "kernels/simd.h"
#include "kernels/tiles.h"
#include "kernels/vmath.h"

TD_SIMD td_v16 some_of(const float *at, int64_t left, float otherwise) {
    return left >= TD_LANES ? td_v16_load(at) : td_v16_load_part(at, left, otherwise);
}

TD_SIMD void put_some(float *at, td_v16 v, int64_t left) {
    if (left >= TD_LANES) {
        td_v16_store(at, v);
    } else {
        td_v16_store_part(at, v, left);
    }
}

/* Of logits that tie, the first counts. */
TD_SIMD bool is_first_largest(const float *row, int64_t label, float top) {
    bool first = row[label] == top;
    for (int64_t c = 0; c < label && first; c++) {
        first = row[c] != top;
    }
    return first;
}

/* A NaN may get lost in the maximum, but not in the sum, by which everything is divided. */
void TD_FN(cross_entropy_f32)(const td_cross_entropy_f32_args *args, int64_t first, int64_t last,
                              void *scratch) {
    (void)scratch;
    int64_t n = args->cols, end = td_tile_end(args->rows, TD_TILE_ROWS, last);
    for (int64_t r = first * TD_TILE_ROWS; r < end; r++) {
        float *row = args->logits + r * args->ld;
        int64_t label = args->labels[r];
        float own = row[label];
        td_v16 max = td_v16_set1(-INFINITY), sum = td_v16_zero();
        for (int64_t c = 0; c < n; c += TD_LANES) {
            max = td_v16_max(max, some_of(row + c, n - c, -INFINITY));
        }
        float top = td_v16_reduce_max(max);
        args->row_hit[r] = is_first_largest(row, label, top) ? 1 : 0;
        td_v16 shift = td_v16_set1(top);
        for (int64_t c = 0; c < n; c += TD_LANES) {
            td_v16 e = td_v16_exp(td_v16_sub(some_of(row + c, n - c, 0), shift));
            e = td_v16_select(td_m16_first(n - c < TD_LANES ? n - c : TD_LANES), e, td_v16_zero());
            sum = td_v16_add(sum, e);
            put_some(row + c, e, n - c);
        }
        float total = td_v16_sum(sum);
        td_v16 weight = td_v16_set1(args->scale / total);
        for (int64_t c = 0; c < n; c += TD_LANES) {
            put_some(row + c, td_v16_mul(some_of(row + c, n - c, 0), weight), n - c);
        }
        row[label] -= args->scale;
        args->row_loss[r] = (top - own + (float)td_log((double)total)) * args->scale;
    }
}
