/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel.h"
#include "kernels/row.h"
#include "kernels/tiles.h"

void TD_FN(l2norm_f32)(const td_l2norm_f32_args *args, int64_t first, int64_t last, void *scratch) {
    (void)scratch;
    int64_t end = td_tile_end(args->rows, TD_TILE_ROWS, last);
    for (int64_t r = first * TD_TILE_ROWS; r < end; r++) {
        const float *x = args->x + r * args->cols;
        float norm = sqrtf(td_row_dot(x, x, args->cols));
        float divisor = norm < args->eps ? args->eps : norm; /* a NaN stays one */
        args->inv_norm[r] = 1.0f / divisor;
        td_row_div(args->z + r * args->cols, x, divisor, args->cols);
    }
}

void TD_FN(l2norm_grad_f32)(const td_l2norm_grad_f32_args *args, int64_t first, int64_t last,
                            void *scratch) {
    (void)scratch;
    int64_t cols = args->cols, end = td_tile_end(args->rows, TD_TILE_ROWS, last);
    for (int64_t r = first * TD_TILE_ROWS; r < end; r++) {
        const float *dz = args->dz + r * cols, *z = args->z + r * cols;
        float *dx = args->dx + r * cols;
        td_v16 dot = td_v16_set1(td_row_dot(z, dz, cols)), inv = td_v16_set1(args->inv_norm[r]);
        int64_t c = 0;
        for (; c + TD_LANES <= cols; c += TD_LANES) {
            td_v16 inner = td_v16_fnma(td_v16_load(z + c), dot, td_v16_load(dz + c));
            td_v16_store(dx + c, td_v16_mul(inner, inv));
        }
        if (c < cols) {
            td_v16 inner = td_v16_fnma(td_v16_load_part(z + c, cols - c, 0), dot,
                                       td_v16_load_part(dz + c, cols - c, 0));
            td_v16_store_part(dx + c, td_v16_mul(inner, inv), cols - c);
        }
    }
}
