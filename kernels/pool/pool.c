/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel.h"
#include "kernels/row.h"

void TD_FN(pool_f32)(const td_pool_f32_args *args, int64_t first, int64_t last, void *scratch) {
    (void)scratch;
    int64_t tokens = args->tokens, width = args->width;
    for (int64_t b = first; b < last; b++) {
        float *y = args->y + b * width;
        if (args->index != NULL) {
            td_row_copy(y, args->x + args->index[b] * args->ldx, width);
            continue;
        }
        const float *x = args->x + b * tokens * args->ldx;
        td_row_copy(y, x, width);
        for (int64_t t = 1; t < tokens; t++) {
            td_row_add(y, y, x + t * args->ldx, width);
        }
        td_row_div(y, y, (float)tokens, width);
    }
}

void TD_FN(pool_grad_f32)(const td_pool_grad_f32_args *args, int64_t first, int64_t last,
                          void *scratch) {
    (void)scratch;
    int64_t width = args->width;
    for (int64_t b = first; b < last; b++) {
        int64_t row = args->starts != NULL ? args->starts[b] : b * args->tokens;
        int64_t end = args->starts != NULL ? args->starts[b + 1] : row + args->tokens;
        const float *dy = args->dy + b * width;
        float *dx = args->dx + row * args->lddx;
        if (args->index == NULL) {
            td_row_div(dx, dy, (float)(end - row), width);
        }
        for (int64_t i = row; i < end; i++) {
            float *to = args->dx + i * args->lddx;
            if (args->index != NULL && i != args->index[b]) {
                memset(to, 0, (size_t)width * sizeof *to);
            } else if (args->index != NULL || i > row) {
                td_row_copy(to, args->index != NULL ? dy : dx, width);
            }
        }
    }
}
