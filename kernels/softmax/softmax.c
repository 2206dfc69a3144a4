/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel.h"
#include "kernels/simd.h"
#include "kernels/tiles.h"
#include "kernels/vmath.h"

/* Three passes over a row that stays in cache. A NaN may get lost in the maximum, but not in the
 * sum, which makes the whole row NaN; so does a row of -inf, or an inf, through inf - inf. */
TD_SIMD void softmax_row(const float *x, float *y, int64_t cols) {
    int64_t whole = cols / TD_LANES * TD_LANES, part = cols - whole;
    td_v16 max = td_v16_set1(-INFINITY), sum = td_v16_zero();
    for (int64_t c = 0; c < whole; c += TD_LANES) {
        max = td_v16_max(max, td_v16_load(x + c));
    }
    if (part > 0) {
        max = td_v16_max(max, td_v16_load_part(x + whole, part, -INFINITY));
    }
    max = td_v16_set1(td_v16_reduce_max(max));
    for (int64_t c = 0; c < whole; c += TD_LANES) {
        td_v16 e = td_v16_exp(td_v16_sub(td_v16_load(x + c), max));
        td_v16_store(y + c, e);
        sum = td_v16_add(sum, e);
    }
    if (part > 0) {
        td_v16 e = td_v16_exp(td_v16_sub(td_v16_load_part(x + whole, part, 0), max));
        td_v16_store_part(y + whole, e, part);
        sum = td_v16_add(sum, td_v16_select(td_m16_first(part), e, td_v16_zero()));
    }
    td_v16 inverse = td_v16_set1(1.0f / td_v16_sum(sum));
    for (int64_t c = 0; c < whole; c += TD_LANES) {
        td_v16_store(y + c, td_v16_mul(td_v16_load(y + c), inverse));
    }
    if (part > 0) {
        td_v16 e = td_v16_load_part(y + whole, part, 0);
        td_v16_store_part(y + whole, td_v16_mul(e, inverse), part);
    }
}

void TD_FN(softmax_f32)(const td_softmax_f32_args *args, int64_t first, int64_t last,
                        void *scratch) {
    (void)scratch;
    int64_t end = td_tile_end(args->rows, TD_TILE_ROWS, last);
    for (int64_t r = first * TD_TILE_ROWS; r < end; r++) {
        softmax_row(args->x + r * args->cols, args->y + r * args->cols, args->cols);
    }
}
