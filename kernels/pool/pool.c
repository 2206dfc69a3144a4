/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel.h"
#include "kernels/row.h"

/* The first position of the largest id: the end-of-text token has the largest id of a vocabulary.
 */
static int64_t end_of_text(const int32_t *ids, int64_t tokens) {
    int64_t best = 0;
    for (int64_t t = 1; t < tokens; t++) {
        best = ids[t] > ids[best] ? t : best;
    }
    return best;
}

void TD_FN(pool_f32)(const td_pool_f32_args *args, int64_t first, int64_t last, void *scratch) {
    (void)scratch;
    int64_t tokens = args->tokens, width = args->width;
    for (int64_t b = first; b < last; b++) {
        const float *x = args->x + b * tokens * width;
        float *y = args->y + b * width;
        if (args->pool != TD_POOL_MEAN) {
            int64_t t = args->pool == TD_POOL_EOT ? end_of_text(args->ids + b * tokens, tokens)
                                                  : args->token;
            td_row_copy(y, x + t * width, width);
            continue;
        }
        td_row_copy(y, x, width);
        for (int64_t t = 1; t < tokens; t++) {
            td_row_add(y, y, x + t * width, width);
        }
        td_row_div(y, y, (float)tokens, width);
    }
}

void TD_FN(pool_grad_f32)(const td_pool_grad_f32_args *args, int64_t first, int64_t last,
                          void *scratch) {
    (void)scratch;
    int64_t tokens = args->tokens, width = args->width;
    for (int64_t b = first; b < last; b++) {
        const float *dy = args->dy + b * width;
        float *dx = args->dx + b * tokens * width;
        if (args->pool != TD_POOL_MEAN) {
            int64_t t = args->pool == TD_POOL_EOT ? end_of_text(args->ids + b * tokens, tokens)
                                                  : args->token;
            memset(dx, 0, (size_t)(tokens * width) * sizeof *dx);
            td_row_copy(dx + t * width, dy, width);
            continue;
        }
        td_row_div(dx, dy, (float)tokens, width);
        for (int64_t t = 1; t < tokens; t++) {
            td_row_copy(dx + t * width, dx, width);
        }
    }
}
