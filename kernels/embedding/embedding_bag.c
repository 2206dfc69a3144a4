/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "kernels/kernel.h"
#include "kernels/row.h"
#include "kernels/tiles.h"

/* Factors kept at once: a bag of more ids goes on from what is stored. */
enum { FACTORS = 64 };

TD_SIMD float squares_of(const float *e, int64_t width) {
    return td_row_dot(e, e, width);
}

TD_SIMD float shortened(float squares, float max_norm) {
    float norm = sqrtf(squares);
    return norm > max_norm ? max_norm / norm : 1;
}

/* The next ids of one bag, `count` of them, with columns outermost: a bag of few ids is a handful
 * of FMAs, and a sum that waits in memory for the next one would take longer than they do. */
TD_SIMD void add_ids(const td_embedding_bag_f32_args *args, int64_t first, int64_t count, bool more,
                     float *y) {
    int64_t width = args->width;
    const int32_t *ids = args->ids + first;
    float factors[FACTORS];
    for (int64_t i = 0; i < count; i++) {
        factors[i] = args->coefficients[first + i];
        if (args->max_norm > 0) {
            const float *e = args->table + ids[i] * width;
            factors[i] *= shortened(squares_of(e, width), args->max_norm);
        }
    }
    int64_t c = 0;
    for (; c + TD_LANES <= width; c += TD_LANES) {
        td_v16 sum = more ? td_v16_load(y + c) : td_v16_zero();
        for (int64_t i = 0; i < count; i++) {
            td_v16 e = td_v16_load(args->table + ids[i] * width + c);
            sum = td_v16_fma(td_v16_set1(factors[i]), e, sum);
        }
        td_v16_store(y + c, sum);
    }
    if (c < width) {
        td_v16 sum = more ? td_v16_load_part(y + c, width - c, 0) : td_v16_zero();
        for (int64_t i = 0; i < count; i++) {
            td_v16 e = td_v16_load_part(args->table + ids[i] * width + c, width - c, 0);
            sum = td_v16_fma(td_v16_set1(factors[i]), e, sum);
        }
        td_v16_store_part(y + c, sum, width - c);
    }
}

void TD_FN(embedding_bag_f32)(const td_embedding_bag_f32_args *args, int64_t first, int64_t last,
                              void *scratch) {
    (void)scratch;
    int64_t end = td_tile_end(args->rows, TD_TILE_ROWS, last);
    for (int64_t r = first * TD_TILE_ROWS; r < end; r++) {
        int64_t i = args->offsets[r], stop = args->offsets[r + 1];
        bool more = args->accumulate;
        do {
            int64_t count = stop - i < FACTORS ? stop - i : FACTORS;
            add_ids(args, i, count, more, args->y + r * args->ldy);
            more = true;
            i += count;
        } while (i < stop);
    }
}

/* to = factor * (dy - k e) */
TD_SIMD void spread(float *to, const float *dy, const float *e, float factor, float k,
                    int64_t width) {
    td_v16 f = td_v16_set1(factor), along = td_v16_set1(k);
    int64_t c = 0;
    for (; c + TD_LANES <= width; c += TD_LANES) {
        td_v16 rest = td_v16_fnma(along, td_v16_load(e + c), td_v16_load(dy + c));
        td_v16_store(to + c, td_v16_mul(f, rest));
    }
    if (c < width) {
        td_v16 rest = td_v16_fnma(along, td_v16_load_part(e + c, width - c, 0),
                                  td_v16_load_part(dy + c, width - c, 0));
        td_v16_store_part(to + c, td_v16_mul(f, rest), width - c);
    }
}

TD_SIMD void scaled(float *to, const float *dy, float factor, int64_t width) {
    td_v16 f = td_v16_set1(factor);
    int64_t c = 0;
    for (; c + TD_LANES <= width; c += TD_LANES) {
        td_v16_store(to + c, td_v16_mul(f, td_v16_load(dy + c)));
    }
    if (c < width) {
        td_v16_store_part(to + c, td_v16_mul(f, td_v16_load_part(dy + c, width - c, 0)), width - c);
    }
}

void TD_FN(embedding_bag_grad_f32)(const td_embedding_bag_grad_f32_args *args, int64_t first,
                                   int64_t last, void *scratch) {
    (void)scratch;
    int64_t width = args->width, end = td_tile_end(args->rows, TD_TILE_ROWS, last);
    for (int64_t r = first * TD_TILE_ROWS; r < end; r++) {
        const float *dy = args->dy + r * args->lddy;
        for (int64_t i = args->offsets[r]; i < args->offsets[r + 1]; i++) {
            const float *e = args->table + args->ids[i] * width;
            float *to = args->dx + i * width, factor = args->coefficients[i];
            float squares = args->max_norm > 0 ? squares_of(e, width) : 0;
            float s = args->max_norm > 0 ? shortened(squares, args->max_norm) : 1;
            if (s < 1) {
                spread(to, dy, e, factor * s, td_row_dot(e, dy, width) / squares, width);
            } else {
                scaled(to, dy, factor, width);
            }
        }
    }
}
