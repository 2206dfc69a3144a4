/* SPDX-License-Identifier: Apache-2.0
 * Copies and single additions: every result is exact.
 */
#include <criterion/criterion.h>

#include "kernel_oracles.h"

/* The definition of im2col, element by element of the result. */
void oracle_im2col(const void *before, const void *after) {
    const td_im2col_f32_args *args = before;
    const float *got = ((const td_im2col_f32_args *)after)->patches;
    int64_t size = args->size, patch = args->patch, side = size / patch, i = 0;
    int64_t patches = args->keep == NULL ? side * side : args->kept;
    for (int64_t b = 0; b < args->batch; b++) {
        for (int64_t place = 0; place < patches; place++) {
            int64_t p = args->keep == NULL ? place : args->keep[b * patches + place];
            for (int64_t c = 0; c < 3 * patch * patch; c++, i++) {
                int64_t channel = c / (patch * patch), y = p / side * patch + c / patch % patch;
                int64_t x = p % side * patch + c % patch;
                twin_same("patches", i, got[i],
                          args->images[((b * 3 + channel) * size + y) * size + x]);
            }
        }
    }
}

Test(patchify, im2col) {
    twin_each_case(TD_OP_im2col_f32, oracle_im2col);
}

void oracle_tokens(const void *before, const void *after) {
    const td_tokens_assemble_f32_args *args = before;
    const float *got = ((const td_tokens_assemble_f32_args *)after)->x;
    int64_t lead = args->cls != NULL ? 1 : 0;
    for (int64_t i = 0; i < args->batch * args->tokens * args->width; i++) {
        int64_t c = i % args->width, t = i / args->width % args->tokens,
                b = i / args->width / args->tokens;
        float value = t < lead
                          ? args->cls[c]
                          : args->patches[(b * (args->tokens - lead) + t - lead) * args->width + c];
        int64_t at = args->position == NULL ? t : args->position[b * args->tokens + t];
        twin_same("x", i, got[i], value + args->pos[at * args->width + c]);
    }
}

Test(patchify, tokens_assemble) {
    twin_each_case(TD_OP_tokens_assemble_f32, oracle_tokens);
}

void oracle_rows_copy(const void *before, const void *after) {
    const td_rows_copy_f32_args *args = before;
    const float *got = ((const td_rows_copy_f32_args *)after)->to;
    for (int64_t i = 0; i < args->groups * args->rows * args->cols; i++) {
        int64_t c = i % args->cols, r = i / args->cols % args->rows,
                g = i / args->cols / args->rows;
        float value = args->from[g * args->from_group + r * args->from_ld + c];
        int64_t at = g * args->to_group + r * args->to_ld + c;
        twin_same("to", i, got[at], args->add ? args->to[at] + value : value);
    }
}

Test(patchify, rows_copy) {
    twin_each_case(TD_OP_rows_copy_f32, oracle_rows_copy);
}
