/* SPDX-License-Identifier: Apache-2.0
 * Pooling copies, or adds in ascending order and divides: every result is exact.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/memory.h"
#include "kernel_twin.h"

static int64_t pooled_token(td_pool pool, const int32_t *ids, int64_t tokens, int64_t token) {
    if (pool == TD_POOL_TOKEN) {
        return token;
    }
    int32_t largest = ids[0];
    for (int64_t t = 0; t < tokens; t++) {
        largest = ids[t] > largest ? ids[t] : largest;
    }
    int64_t first = 0;
    while (ids[first] != largest) {
        first++;
    }
    return first;
}

static void check_pool(const void *before, const void *after) {
    const td_pool_f32_args *args = before;
    const float *got = ((const td_pool_f32_args *)after)->y;
    for (int64_t i = 0; i < args->batch * args->width; i++) {
        int64_t b = i / args->width, tokens = args->tokens;
        const float *x = args->x + b * tokens * args->width + i % args->width;
        float want;
        if (args->pool == TD_POOL_MEAN) {
            want = x[0];
            for (int64_t t = 1; t < tokens; t++) {
                want += x[t * args->width];
            }
            want /= (float)tokens;
        } else {
            want = x[pooled_token(args->pool, args->ids + b * tokens, tokens, args->token) *
                     args->width];
        }
        twin_same("y", i, got[i], want);
    }
}

Test(pool, forward) {
    twin_each_case(TD_OP_pool_f32, check_pool);
}

static void check_pool_grad(const void *before, const void *after) {
    const td_pool_grad_f32_args *args = before;
    const float *got = ((const td_pool_grad_f32_args *)after)->dx;
    for (int64_t i = 0; i < args->batch * args->tokens * args->width; i++) {
        int64_t t = i / args->width % args->tokens, b = i / args->width / args->tokens;
        float dy = args->dy[b * args->width + i % args->width], want;
        if (args->pool == TD_POOL_MEAN) {
            want = dy / (float)args->tokens;
        } else {
            int64_t row =
                pooled_token(args->pool, args->ids + b * args->tokens, args->tokens, args->token);
            want = t == row ? dy : 0;
        }
        twin_same("dx", i, got[i], want);
    }
}

Test(pool, gradient) {
    twin_each_case(TD_OP_pool_grad_f32, check_pool_grad);
}

/* Padding repeats the largest id in some tokenizers: the first one counts. */
Test(pool, first_of_several_largest_ids) {
    enum { TOKENS = 5, WIDTH = 3 };
    const int32_t ids[2 * TOKENS] = {1, 9, 9, 9, 0, 7, 7, 7, 7, 7};
    float *x = twin_floats(2 * TOKENS * WIDTH, 1, 1), y[2 * WIDTH];
    td_pool_f32_args args = {.batch = 2,
                             .tokens = TOKENS,
                             .width = WIDTH,
                             .pool = TD_POOL_EOT,
                             .ids = ids,
                             .x = x,
                             .y = y};
    twin_each_row(TD_OP_pool_f32, &args, check_pool);
    cr_expect_eq(memcmp(y, x + WIDTH, WIDTH * sizeof *y), 0);
    cr_expect_eq(memcmp(y + WIDTH, x + TOKENS * WIDTH, WIDTH * sizeof *y), 0);
    td_free(x);
}
