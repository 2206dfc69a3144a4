/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernel.h"
#include "kernels/row.h"
#include "kernels/stream.h"

/* The kept patches of one image, each read as patch x patch pixels of three channels. */
static void keep_patches(const td_im2col_f32_args *args, const float *image, const int32_t *keep,
                         float *to) {
    int64_t size = args->size, patch = args->patch, side = size / patch;
    for (int64_t i = 0; i < args->kept; i++) {
        for (int64_t channel = 0; channel < 3; channel++) {
            const float *from =
                image + (channel * size + keep[i] / side * patch) * size + keep[i] % side * patch;
            for (int64_t y = 0; y < patch; y++, to += patch) {
                td_row_copy(to, from + y * size, patch);
            }
        }
    }
}

/* Image rows outermost: an image is read once, front to back, and the side / patch rows of patches
 * that are written at a time stay in L1. Pixels behind the last whole patch are left out, as a
 * convolution with stride = patch does. */
void TD_FN(im2col_f32)(const td_im2col_f32_args *args, int64_t first, int64_t last, void *scratch) {
    (void)scratch;
    int64_t size = args->size, patch = args->patch, side = size / patch, area = patch * patch;
    for (int64_t b = first; b < last; b++) {
        const float *image = args->images + b * 3 * size * size;
        if (args->keep != NULL) {
            keep_patches(args, image, args->keep + b * args->kept,
                         args->patches + b * args->kept * 3 * area);
            continue;
        }
        float *patches = args->patches + b * side * side * 3 * area;
        for (int64_t channel = 0; channel < 3; channel++) {
            for (int64_t y = 0; y < side * patch; y++) {
                const float *from = image + (channel * size + y) * size;
                float *to = patches + (y / patch * side * 3 + channel) * area + y % patch * patch;
                for (int64_t i = 0; i < side; i++) {
                    td_row_copy(to + i * 3 * area, from + i * patch, patch);
                }
            }
        }
    }
}

void TD_FN(tokens_assemble_f32)(const td_tokens_assemble_f32_args *args, int64_t first,
                                int64_t last, void *scratch) {
    (void)scratch;
    int64_t width = args->width, lead = args->cls != NULL ? 1 : 0, n_patches = args->tokens - lead;
    for (int64_t b = first; b < last; b++) {
        float *x = args->x + b * args->tokens * width;
        const float *patches = args->patches + b * n_patches * width;
        if (args->position != NULL) {
            const int32_t *position = args->position + b * args->tokens;
            for (int64_t t = 0; t < args->tokens; t++) {
                td_row_add(x + t * width, t < lead ? args->cls : patches + (t - lead) * width,
                           args->pos + position[t] * width, width);
            }
            continue;
        }
        if (args->cls != NULL) {
            td_row_add(x, args->cls, args->pos, width);
        }
        /* Rows are contiguous on both sides, so all patches of a sequence are one run. */
        td_row_add(x + lead * width, patches, args->pos + lead * width, n_patches * width);
    }
}

TD_SIMD void stream_row(float *to, const float *from, int64_t n) {
    int64_t c = 0;
    for (; c + TD_LANES <= n; c += TD_LANES) {
        td_ask_ahead(from + c, 1);
        td_v16_stream(to + c, td_v16_load(from + c));
    }
    if (c < n) {
        td_v16_store_part(to + c, td_v16_load_part(from + c, n - c, 0), n - c);
    }
}

void TD_FN(rows_copy_f32)(const td_rows_copy_f32_args *args, int64_t first, int64_t last,
                          void *scratch) {
    (void)scratch;
    const bool streaming =
        args->to_group * 4 % 64 == 0 &&
        td_streams(args->to, args->groups * args->rows, args->to_ld, sizeof *args->to);
    for (int64_t g = first; g < last; g++) {
        for (int64_t r = 0; r < args->rows; r++) {
            const float *from = args->from + g * args->from_group + r * args->from_ld;
            float *to = args->to + g * args->to_group + r * args->to_ld;
            if (args->add) {
                td_row_add(to, to, from, args->cols);
            } else if (streaming) {
                stream_row(to, from, args->cols);
            } else {
                td_row_copy(to, from, args->cols);
            }
        }
    }
    td_stream_fence();
}
