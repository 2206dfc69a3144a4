/* SPDX-License-Identifier: Apache-2.0
 * Pooling copies, or adds in ascending order and divides: every result is exact.
 */
#include <criterion/criterion.h>

#include "base/memory.h"
#include "kernel_oracles.h"

void oracle_pool(const void *before, const void *after) {
    const td_pool_f32_args *args = before;
    const float *got = ((const td_pool_f32_args *)after)->y;
    for (int64_t i = 0; i < args->batch * args->width; i++) {
        int64_t b = i / args->width, tokens = args->tokens;
        const float *x = args->x + i % args->width;
        float want;
        if (args->index == NULL) {
            want = x[b * tokens * args->ldx];
            for (int64_t t = 1; t < tokens; t++) {
                want += x[(b * tokens + t) * args->ldx];
            }
            want /= (float)tokens;
        } else {
            want = x[args->index[b] * args->ldx];
        }
        twin_same("y", i, got[i], want);
    }
}

Test(pool, forward) {
    twin_each_case(TD_OP_pool_f32, oracle_pool);
}

void oracle_pool_grad(const void *before, const void *after) {
    const td_pool_grad_f32_args *args = before;
    const float *got = ((const td_pool_grad_f32_args *)after)->dx;
    for (int64_t b = 0; b < args->batch; b++) {
        int64_t row = args->starts == NULL ? b * args->tokens : args->starts[b];
        int64_t end = args->starts == NULL ? row + args->tokens : args->starts[b + 1];
        for (int64_t i = row * args->width; i < end * args->width; i++) {
            int64_t r = i / args->width, c = i % args->width;
            float dy = args->dy[b * args->width + c];
            float want = 0;
            if (args->index == NULL) {
                want = dy / (float)args->tokens;
            } else if (r == args->index[b]) {
                want = dy;
            }
            twin_same("dx", i, got[r * args->lddx + c], want);
        }
    }
}

Test(pool, gradient) {
    twin_each_case(TD_OP_pool_grad_f32, oracle_pool_grad);
}

/* Sequences of different lengths, one of them a single row; nothing behind the last is touched. */
Test(pool, gradient_of_packed_sequences) {
    enum { BATCH = 3, ROWS = 8, WIDTH = 19 };
    static const int64_t starts[BATCH + 1] = {0, 4, 5, 8}, index[BATCH] = {3, 4, 6};
    float *dy = twin_floats(BATCH * WIDTH, 1, 1), dx[(ROWS + 1) * WIDTH];
    for (int64_t c = 0; c < WIDTH; c++) {
        dx[ROWS * WIDTH + c] = 7;
    }
    td_pool_grad_f32_args args = {.batch = BATCH,
                                  .width = WIDTH,
                                  .index = index,
                                  .starts = starts,
                                  .dy = dy,
                                  .dx = dx,
                                  .lddx = WIDTH};
    twin_each_row(TD_OP_pool_grad_f32, &args, oracle_pool_grad);
    for (int64_t c = 0; c < WIDTH; c++) {
        twin_same("dx", ROWS * WIDTH + c, dx[ROWS * WIDTH + c], 7);
    }
    td_free(dy);
}
