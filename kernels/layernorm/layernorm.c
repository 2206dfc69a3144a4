/* SPDX-License-Identifier: Apache-2.0
 * Rows are taken four at a time: one row's sum is a chain of dependent additions, 64 bytes every 3
 * to 4 cycles, which four interleaved rows bring up to the speed of L1. Four rows of 768 floats are
 * 12 KiB: two such groups are in L1, one whose moments are computed and the one before, which is
 * normalised meanwhile. So memory is read and written all the time.
 */
#include "kernels/convert/bf16.h"
#include "kernels/kernel.h"
#include "kernels/simd.h"
#include "kernels/stream.h"
#include "kernels/tiles.h"
#include "kernels/tree.h"

enum { ROWS = 4 };

/* Rows whose moments are known. */
typedef struct normed {
    int64_t row;
    float mean[ROWS], rstd[ROWS];
} normed;

/* Row r of the next ROWS rows, at column c. Each pass over these rows asks for two of them, because
 * requests in one burst wait for one another. */
TD_SIMD void ask_for_row(const float *x, int64_t ldx, int r, int64_t c) {
    __builtin_prefetch(x + (r + ROWS) * ldx + c, 0, 2);
}

TD_SIMD td_v16 normalised(td_v16 x, float mean, float rstd) {
    return td_v16_mul(td_v16_sub(x, td_v16_set1(mean)), td_v16_set1(rstd));
}

/* y of `rows` of the rows of `done` from `first` on, `count` columns from c on. stored: as bf16. */
TD_SIMD void put_normed(const td_layernorm_f32_args *args, const normed *done, int first, int rows,
                        int64_t c, int64_t count, const bool streaming, const bool stored) {
    const bool whole = count == TD_LANES;
    td_v16 gamma =
        whole ? td_v16_load(args->gamma + c) : td_v16_load_part(args->gamma + c, count, 0);
    td_v16 beta = whole ? td_v16_load(args->beta + c) : td_v16_load_part(args->beta + c, count, 0);
    for (int r = first; r < first + rows; r++) {
        const float *x = args->x + (done->row + r) * args->ldx + c;
        int64_t to = (done->row + r) * args->ldy + c;
        td_v16 xhat = normalised(whole ? td_v16_load(x) : td_v16_load_part(x, count, 0),
                                 done->mean[r], done->rstd[r]);
        td_v16 y = td_v16_fma(xhat, gamma, beta);
        if (stored) {
            td_v16_store_bf16(args->y_bf16 + to, y, count);
        } else if (whole) {
            td_v16_put(args->y + to, y, streaming);
        } else {
            td_v16_store_part(args->y + to, y, count);
        }
    }
}

/* The moments of rows row .. row + n - 1 into `next`; with `done`, half of its rows are put while
 * these are summed up, the others while their squares are.
 * mean = sum / cols, then one pass for both the sum e and the squares of x - mean: e, which would
 * be 0 in exact arithmetic, corrects the mean and the variance for the rounding of the first sum. A
 * constant row of 10,000s has a first mean that is off by 1e-3, three hundred times sqrt(eps);
 * corrected, its mean is exact and its variance 0. */
TD_SIMD void row_moments(const td_layernorm_f32_args *args, int n, int64_t row, normed *next,
                         const normed *done, const bool streaming, const bool stored) {
    enum { HALF = ROWS / 2 };
    const float *x = args->x + row * args->ldx;
    const int64_t ldx = args->ldx, cols = args->cols;
    td_v16 sum[ROWS], squares[ROWS], first[ROWS];
    int64_t whole = cols / TD_LANES * TD_LANES, part = cols - whole;
    for (int r = 0; r < n; r++) {
        sum[r] = td_v16_zero();
    }
    for (int64_t c = 0; c < whole; c += TD_LANES) {
        ask_for_row(x, ldx, 0, c);
        ask_for_row(x, ldx, 1, c);
        for (int r = 0; r < n; r++) {
            sum[r] = td_v16_add(sum[r], td_v16_load(x + r * ldx + c));
        }
        if (done != NULL) {
            put_normed(args, done, 0, HALF, c, TD_LANES, streaming, stored);
        }
    }
    for (int r = 0; r < n; r++) {
        if (part > 0) {
            sum[r] = td_v16_add(sum[r], td_v16_load_part(x + r * ldx + whole, part, 0));
        }
        next->mean[r] = td_v16_sum(sum[r]) / (float)cols;
        first[r] = td_v16_set1(next->mean[r]);
        sum[r] = squares[r] = td_v16_zero();
    }
    for (int64_t c = 0; c < whole; c += TD_LANES) {
        ask_for_row(x, ldx, 2, c);
        ask_for_row(x, ldx, 3, c);
        for (int r = 0; r < n; r++) {
            td_v16 d = td_v16_sub(td_v16_load(x + r * ldx + c), first[r]);
            sum[r] = td_v16_add(sum[r], d);
            squares[r] = td_v16_fma(d, d, squares[r]);
        }
        if (done != NULL) {
            put_normed(args, done, HALF, ROWS - HALF, c, TD_LANES, streaming, stored);
        }
    }
    if (done != NULL && part > 0) {
        put_normed(args, done, 0, ROWS, whole, part, streaming, stored);
    }
    for (int r = 0; r < n; r++) {
        if (part > 0) { /* filled with the mean, so that the missing lanes add zeros */
            td_v16 d =
                td_v16_sub(td_v16_load_part(x + r * ldx + whole, part, next->mean[r]), first[r]);
            sum[r] = td_v16_add(sum[r], d);
            squares[r] = td_v16_fma(d, d, squares[r]);
        }
        float e = td_v16_sum(sum[r]), shift = e / (float)cols;
        float variance = fmaf(-e, shift, td_v16_sum(squares[r])) / (float)cols;
        next->mean[r] += shift;
        next->rstd[r] =
            1.0f / sqrtf((variance < 0.0f ? 0.0f : variance) + args->eps); /* NaN stays */
        if (args->mean != NULL) {
            args->mean[row + r] = next->mean[r];
        }
        if (args->rstd != NULL) {
            args->rstd[row + r] = next->rstd[r];
        }
    }
    next->row = row;
}

TD_SIMD void put_all(const td_layernorm_f32_args *args, int n, const normed *done,
                     const bool streaming, const bool stored) {
    int64_t whole = args->cols / TD_LANES * TD_LANES;
    for (int64_t c = 0; c < whole; c += TD_LANES) {
        put_normed(args, done, 0, n, c, TD_LANES, streaming, stored);
    }
    if (whole < args->cols) {
        put_normed(args, done, 0, n, whole, args->cols - whole, streaming, stored);
    }
}

TD_SIMD void layernorm_range(const td_layernorm_f32_args *args, int64_t row, int64_t end,
                             const bool streaming, const bool stored) {
    normed done, next;
    if (row + ROWS <= end) {
        row_moments(args, ROWS, row, &done, NULL, streaming, stored);
        for (row += ROWS; row + ROWS <= end; row += ROWS) {
            row_moments(args, ROWS, row, &next, &done, streaming, stored);
            done = next;
        }
        put_all(args, ROWS, &done, streaming, stored);
    }
    for (; row < end; row++) {
        row_moments(args, 1, row, &done, NULL, streaming, stored);
        put_all(args, 1, &done, streaming, stored);
    }
}

void TD_FN(layernorm_f32)(const td_layernorm_f32_args *args, int64_t first, int64_t last,
                          void *scratch) {
    (void)scratch;
    int64_t row = first * TD_TILE_ROWS, end = td_tile_end(args->rows, TD_TILE_ROWS, last);
    const bool streaming =
        args->y != args->x && td_streams(args->y, args->rows, args->ldy, sizeof *args->y);
    const td_layernorm_f32_args own = *args; /* which no store to y can change */
    if (own.y_bf16 != NULL) {
        layernorm_range(&own, row, end, false, true);
    } else {
        layernorm_range(&own, row, end, streaming, false);
    }
    td_stream_fence();
}

/* h and xhat of `part` columns of row r; h is zero behind them, which silences xhat. */
TD_SIMD void load_grad(const td_layernorm_grad_x_f32_args *args, int64_t r, int64_t c, int64_t part,
                       td_v16 *h, td_v16 *xhat) {
    const float *dy = args->dy + r * args->lddy + c, *x = args->x + r * args->ldx + c;
    float mean = args->mean[r], rstd = args->rstd[r];
    if (part >= TD_LANES) {
        *h = td_v16_mul(td_v16_load(dy), td_v16_load(args->gamma + c));
        *xhat = normalised(td_v16_load(x), mean, rstd);
    } else {
        *h = td_v16_mul(td_v16_load_part(dy, part, 0), td_v16_load_part(args->gamma + c, part, 0));
        *xhat = normalised(td_v16_load_part(x, part, 0), mean, rstd);
    }
}

/* Two rows at a time: three matrices of two such pairs are in L1. */
enum { PAIR = 2 };

/* Rows whose sums are known. */
typedef struct summed {
    int64_t row;
    td_v16 mean_h[PAIR], mean_hx[PAIR];
} summed;

/* Row r at column c, into L2: in L1 they would drive out the current ones, which are read twice. */
TD_SIMD void ask_for_grad(const td_layernorm_grad_x_f32_args *args, int64_t r, int64_t c) {
    __builtin_prefetch(args->dy + r * args->lddy + c, 0, 2);
    __builtin_prefetch(args->x + r * args->ldx + c, 0, 2);
    if (args->residual != NULL) {
        __builtin_prefetch(args->residual + r * args->ldresidual + c, 0, 2);
    }
}

/* dx of n of the rows of `done`, `count` columns from c on. */
TD_SIMD void put_grad(const td_layernorm_grad_x_f32_args *args, const summed *done, int n,
                      int64_t c, int64_t count) {
    td_v16 h, xhat;
    for (int r = 0; r < n; r++) {
        const int64_t row = done->row + r;
        load_grad(args, row, c, count, &h, &xhat);
        td_v16 rstd = td_v16_set1(args->rstd[row]);
        td_v16 inner = td_v16_fnma(xhat, done->mean_hx[r], td_v16_sub(h, done->mean_h[r]));
        float *dx = args->dx + row * args->lddx + c;
        const float *residual =
            args->residual == NULL ? NULL : args->residual + row * args->ldresidual + c;
        if (count == TD_LANES) {
            td_v16_store(dx, residual != NULL ? td_v16_fma(rstd, inner, td_v16_load(residual))
                                              : td_v16_mul(rstd, inner));
        } else {
            td_v16_store_part(dx,
                              residual != NULL
                                  ? td_v16_fma(rstd, inner, td_v16_load_part(residual, count, 0))
                                  : td_v16_mul(rstd, inner),
                              count);
        }
    }
}

TD_SIMD void put_grads(const td_layernorm_grad_x_f32_args *args, const summed *done, int n) {
    for (int64_t c = 0; c < args->cols; c += TD_LANES) {
        const int64_t left = args->cols - c;
        put_grad(args, done, n, c, left < TD_LANES ? left : TD_LANES);
    }
}

/* The sums of rows row .. row + n - 1 into `next`; `done` is put meanwhile. */
TD_SIMD void sum_grads(const td_layernorm_grad_x_f32_args *args, int n, int64_t row, summed *next,
                       const summed *done) {
    td_v16 sum_h[PAIR], sum_hx[PAIR], h, xhat;
    const int64_t whole = args->cols / TD_LANES * TD_LANES, part = args->cols - whole;
    for (int r = 0; r < n; r++) {
        sum_h[r] = sum_hx[r] = td_v16_zero();
    }
    for (int64_t c = 0; c < whole; c += TD_LANES) {
        for (int r = 0; r < n; r++) {
            ask_for_grad(args, row + PAIR + r, c);
            load_grad(args, row + r, c, TD_LANES, &h, &xhat);
            sum_h[r] = td_v16_add(sum_h[r], h);
            sum_hx[r] = td_v16_fma(h, xhat, sum_hx[r]);
        }
        if (done != NULL) {
            put_grad(args, done, PAIR, c, TD_LANES);
        }
    }
    if (done != NULL && part > 0) {
        put_grad(args, done, PAIR, whole, part);
    }
    for (int r = 0; r < n; r++) {
        if (part > 0) {
            load_grad(args, row + r, whole, part, &h, &xhat);
            sum_h[r] = td_v16_add(sum_h[r], h);
            sum_hx[r] = td_v16_fma(h, xhat, sum_hx[r]);
        }
        next->mean_h[r] = td_v16_set1(td_v16_sum(sum_h[r]) / (float)args->cols);
        next->mean_hx[r] = td_v16_set1(td_v16_sum(sum_hx[r]) / (float)args->cols);
    }
    next->row = row;
}

void TD_FN(layernorm_grad_x_f32)(const td_layernorm_grad_x_f32_args *args, int64_t first,
                                 int64_t last, void *scratch) {
    (void)scratch;
    int64_t row = first * TD_TILE_ROWS, end = td_tile_end(args->rows, TD_TILE_ROWS, last);
    const td_layernorm_grad_x_f32_args own = *args; /* which no store to dx can change */
    summed done, next;
    if (row + PAIR <= end) {
        sum_grads(&own, PAIR, row, &done, NULL);
        for (row += PAIR; row + PAIR <= end; row += PAIR) {
            sum_grads(&own, PAIR, row, &next, &done);
            done = next;
        }
        put_grads(&own, &done, PAIR);
    }
    if (row < end) {
        sum_grads(&own, 1, row, &done, NULL);
        put_grads(&own, &done, 1);
    }
}

/* A strip of the columns: rows taken together, and how far ahead of them others are asked for. */
enum { STRIP_ROWS = 8, STRIP_AHEAD = 16 };

/* Rows whose moments are known, at the first column of a chunk. */
typedef struct strip {
    const float *dy, *x;
    int64_t lddy, ldx;
    float mean[STRIP_ROWS], rstd[STRIP_ROWS];
} strip;

/* Adds `count` columns of n rows, in order, to their partial sums. */
TD_SIMD void grad_w_column(const strip *of, int n, int64_t c, int64_t count, float *dgamma,
                           float *dbeta, const bool asking) {
    td_v16 g = td_v16_load(dgamma + c), b = td_v16_load(dbeta + c), dy, x;
    for (int r = 0; r < n; r++) {
        const float *from_dy = of->dy + r * of->lddy + c, *from_x = of->x + r * of->ldx + c;
        if (asking) {
            __builtin_prefetch(from_dy + STRIP_AHEAD * of->lddy, 0, 2);
            __builtin_prefetch(from_x + STRIP_AHEAD * of->ldx, 0, 2);
        }
        if (count == TD_LANES) {
            dy = td_v16_load(from_dy);
            x = td_v16_load(from_x);
        } else {
            dy = td_v16_load_part(from_dy, count, 0);
            x = td_v16_load_part(from_x, count, 0);
        }
        g = td_v16_fma(dy, normalised(x, of->mean[r], of->rstd[r]), g);
        b = td_v16_add(b, dy);
    }
    td_v16_store(dgamma + c, g);
    td_v16_store(dbeta + c, b);
}

/* Adds n consecutive rows, in order, to the partial sums of one chunk of columns. */
TD_SIMD void grad_w_rows(const td_layernorm_grad_w_f32_args *args, int n, int64_t row, int64_t c0,
                         int64_t width, float *dgamma, float *dbeta, const bool asking) {
    strip of = {args->dy + row * args->lddy + c0,
                args->x + row * args->ldx + c0,
                args->lddy,
                args->ldx,
                {0},
                {0}};
    for (int r = 0; r < n; r++) {
        of.mean[r] = args->mean[row + r];
        of.rstd[r] = args->rstd[row + r];
    }
    int64_t c = 0;
    for (; c + TD_LANES <= width; c += TD_LANES) {
        grad_w_column(&of, n, c, TD_LANES, dgamma, dbeta, asking);
    }
    if (c < width) {
        grad_w_column(&of, n, c, width - c, dgamma, dbeta, asking);
    }
}

static void grad_w_chunk(const td_layernorm_grad_w_f32_args *args, int64_t c0, int64_t width,
                         float *scratch) {
    int64_t stride = td_tree_stride(width);
    float *dgamma = scratch, *dbeta = scratch + td_tree_levels(args->blocks) * stride;
    int64_t depth_gamma = 0, depth_beta = 0;
    /* Rows that adjoin are two streams, which the hardware fetches best if nobody meddles. */
    const bool adjoin = width == args->lddy && width == args->ldx;
    for (int64_t block = 0; block < args->blocks; block++) {
        float *g = dgamma + depth_gamma * stride, *b = dbeta + depth_beta * stride;
        memset(g, 0, (size_t)stride * sizeof *g);
        memset(b, 0, (size_t)stride * sizeof *b);
        int64_t row = td_block_start(args->starts, args->rows, args->blocks, block);
        int64_t end = td_block_start(args->starts, args->rows, args->blocks, block + 1);
        for (; !adjoin && row + STRIP_ROWS <= end; row += STRIP_ROWS) {
            grad_w_rows(args, STRIP_ROWS, row, c0, width, g, b, true);
        }
        for (; row < end; row++) {
            grad_w_rows(args, 1, row, c0, width, g, b, false);
        }
        td_tree_push(dgamma, stride, stride, block, &depth_gamma);
        td_tree_push(dbeta, stride, stride, block, &depth_beta);
    }
    td_tree_finish(dgamma, stride, stride, depth_gamma);
    td_tree_finish(dbeta, stride, stride, depth_beta);
    memcpy(args->dgamma + c0, dgamma, (size_t)width * sizeof *dgamma);
    memcpy(args->dbeta + c0, dbeta, (size_t)width * sizeof *dbeta);
}

void TD_FN(layernorm_grad_w_f32)(const td_layernorm_grad_w_f32_args *args, int64_t first,
                                 int64_t last, void *scratch) {
    int64_t end = td_tile_end(args->cols, TD_TILE_COLS, last);
    for (int64_t c = first * TD_TILE_COLS; c < end; c += TD_CHUNK_COLS) {
        grad_w_chunk(args, c, end - c < TD_CHUNK_COLS ? end - c : TD_CHUNK_COLS, scratch);
    }
}
