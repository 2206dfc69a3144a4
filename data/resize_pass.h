/* SPDX-License-Identifier: Apache-2.0
 * The two passes of a resize. Weights are in fixed point with TD_RESIZE_BITS bits behind the point;
 * a sum starts at one half, is shifted down and clipped to a byte. Every row gives the same bytes:
 * sums of integers have no order.
 */
#ifndef TD_DATA_RESIZE_PASS_H
#define TD_DATA_RESIZE_PASS_H

#include <stdint.h>

/* 32 bits less 8 for the pixel and 2 for the overshoot of the negative lobes: the weights of one
 * output pixel sum to 2^22, their magnitudes to less than 2^23, so 255 times that stays inside an
 * int32. */
enum { TD_RESIZE_BITS = 32 - 8 - 2 };

/* What one output position is made of: n inputs from first on, their weights at `weights + position
 * * stride`, zero behind them. */
typedef struct td_resize_span {
    int64_t first, n;
} td_resize_span;

typedef struct td_resize_axis {
    int64_t count, stride;
    td_resize_span *spans;
    int32_t *weights;
} td_resize_axis;

/* Output columns of `rows` rows of RGB pixels, width of them a row. line: scratch of 3 * width +
 * TD_RESIZE_PADDING bytes. */
enum { TD_RESIZE_PADDING = 16 };
typedef void td_resize_columns_fn(const unsigned char *in, int64_t width, int64_t rows,
                                  const td_resize_axis *a, unsigned char *out, unsigned char *line);

/* Output rows from lines of line_bytes, the first of which is input row `row`. */
typedef void td_resize_rows_fn(const unsigned char *lines, int64_t row, int64_t line_bytes,
                               const td_resize_axis *a, unsigned char *out);

td_resize_columns_fn td_resize_columns__portable, td_resize_columns__avx2;
td_resize_rows_fn td_resize_rows__portable, td_resize_rows__avx2;

#endif
