/* SPDX-License-Identifier: Apache-2.0
 * Register tiles: MR rows x NV vectors of C, one broadcast of A and NV vectors of B per step of k.
 *
 * AVX-512 14 x 32: 28 accumulators + 2 of B + 1 of A = 31 of 32 zmm, 0.57 loads per FMA.
 * AVX2 6 x 16: 12 + 2 + 1 = 15 of 16 ymm, 0.67 loads per FMA; 7 x 16 would spill.
 * Both have more accumulators than 2 FMA ports x 4 cycles need, down to 4 x 32 and 4 x 16.
 * Portable 2 x 16: any shape gives the same bits; small, because its accumulators live in memory.
 *
 * GEMM_STEP(a, b, acc) is defined by whoever includes this: acc after one step along k, a and b
 * being what A and B hold for it, in lanes of 32 bits. So is GEMM_B_STEP: floats of B from one step
 * to the next, TD_LANES where each vector of columns is a panel of its own, else GEMM_NR. With
 * GEMM_IN_PLACE there are tiles that read B as it is stored, and tiles of 8 columns, too.
 */
#ifndef TD_KERNELS_GEMM_TILE_H
#define TD_KERNELS_GEMM_TILE_H

#include "kernels/gemm/gemm_place.h"
#include "kernels/gemm/gemm_plan.h"
#include "kernels/simd_half.h"

/* clang-format off */
#define GEMM_HEIGHTS_2(X, ...) X(1, __VA_ARGS__) X(2, __VA_ARGS__)
#define GEMM_HEIGHTS_6(X, ...)                                                          \
    GEMM_HEIGHTS_2(X, __VA_ARGS__) X(3, __VA_ARGS__) X(4, __VA_ARGS__)                  \
    X(5, __VA_ARGS__) X(6, __VA_ARGS__)
#define GEMM_HEIGHTS_14(X, ...)                                                         \
    GEMM_HEIGHTS_6(X, __VA_ARGS__) X(7, __VA_ARGS__) X(8, __VA_ARGS__)                  \
    X(9, __VA_ARGS__) X(10, __VA_ARGS__) X(11, __VA_ARGS__) X(12, __VA_ARGS__)          \
    X(13, __VA_ARGS__) X(14, __VA_ARGS__)
/* clang-format on */

/* GEMM_CHUNK: steps of k between what a tile does beside multiplying (gemm_ahead). 8 steps of AVX2
 * are 48 cycles, which that and their 200 instructions fill: 16 are 1 to 3 % faster, 32 no more.
 * GEMM_WAYS: rows of A that may share a set of L1. AVX2 takes a line of a row in 96 cycles, and
 * B's panel, 16 KiB, has four lines of each set: rows that meet by six cost it 4 to 6 %.
 *
 * A chunk without a loop leaves 44 instructions for 28 FMAs where a loop has 55: 14 x 32 reaches
 * 99.6 instead of 98.7 % of the peak on a core of its own, and gains more beside a busy hardware
 * thread. 16 registers do not bear it: compilers copy accumulators, and 6 x 16 loses 0.6 to 2 %. */
#if defined(TD_TILES_OF_AVX512)
#define GEMM_UNROLL _Pragma("GCC unroll 8")
enum { GEMM_MR = 14, GEMM_NV = 2, GEMM_DEPTH = TD_GEMM_DEPTH_AVX512 };
enum { GEMM_CHUNK = 8, GEMM_WAYS = 8 };
#define GEMM_HEIGHTS GEMM_HEIGHTS_14
#elif defined(TD_TILES_OF_AVX2)
#define GEMM_UNROLL  _Pragma("GCC unroll 1")
enum { GEMM_MR = 6, GEMM_NV = 1, GEMM_DEPTH = TD_GEMM_DEPTH_AVX2 };
enum { GEMM_CHUNK = 16, GEMM_WAYS = 4 };
#define GEMM_HEIGHTS GEMM_HEIGHTS_6
#else
#define GEMM_UNROLL  _Pragma("GCC unroll 1")
enum { GEMM_MR = 2, GEMM_NV = 1, GEMM_DEPTH = TD_GEMM_DEPTH_PORTABLE };
enum { GEMM_CHUNK = 8, GEMM_WAYS = 8 };
#define GEMM_HEIGHTS GEMM_HEIGHTS_2
#endif
enum { GEMM_NR = GEMM_NV * TD_LANES };

/* Rows of a tile to come, GEMM_NR floats each, `stride` bytes apart. */
typedef struct gemm_lines {
    const char *at;
    int64_t stride, rows;
} gemm_lines;

/* C and what the epilogue reads beside it, or partials: at most so many places of a tile. */
enum { GEMM_PLACES = 6 };

/* Rows of row_bytes bytes each, row_stride apart, that are asked for from `line` on, lines_a_chunk
 * lines at a time. */
typedef struct gemm_stream {
    const char *line, *row, *row_end;
    int64_t row_bytes, row_stride, rows;
    int64_t lines_a_chunk;
} gemm_stream;

/* What a tile does beside multiplying, a little every GEMM_CHUNK steps of k, where ports and fill
 * buffers are idle: it asks for the rows of C (or of partials) that the next tile will want, for
 * lines of the next panel of A, or copies rows of that panel where A is packed, and for lines of
 * the part of B that is packed next. Tiles that wait for their first lines lose 3 to 4 %; panels
 * packed on their own lost 8 %. */
typedef struct gemm_ahead {
    gemm_lines soon[GEMM_PLACES + 1]; /* ends with no rows */
    int next;                         /* of soon */
    gemm_stream a, b;
    /* A copied: `copies` rows of `width` floats, a vector at a time, `done` of the first of them;
     * what lies `soon_by` floats behind a vector is asked for. */
    const float *from;
    float *to;
    int64_t from_ld, to_ld, copies, width, done, soon_by;
    int64_t vectors_a_chunk;
} gemm_ahead;

/* GEMM_FAR: rows of B in place ahead of which a tile asks for its next ones, into L2: in L1 rows a
 * power of two apart would drive out those at hand. */
enum { GEMM_COPY_AHEAD = 8, GEMM_FAR = 16 };

/* What is copied of a row of A stored (k, m): tiles of few rows need half a vector. */
enum { GEMM_COPY_LANES = GEMM_MR <= (int)TD_HALF ? (int)TD_HALF : (int)TD_LANES };

/* A whole vector, or half of one, is written, and what is too much overwritten by the next row. */
TD_SIMD void gemm_copy_vector(gemm_ahead *ahead) {
    const float *from = ahead->from + ahead->done;
    const int64_t left = ahead->width - ahead->done;
    __builtin_prefetch(from + ahead->soon_by, 0, 3);
    __builtin_prefetch(from + ahead->soon_by + GEMM_COPY_LANES - 1, 0, 3);
    if (left == GEMM_COPY_LANES && left < TD_LANES) {
        td_v8_store(ahead->to + ahead->done, td_v8_load(from));
    } else {
        td_v16_store(ahead->to + ahead->done,
                     left >= TD_LANES ? td_v16_load(from) : td_v16_load_part(from, left, 0.0f));
    }
    ahead->done += TD_LANES;
    if (left <= TD_LANES) {
        ahead->from += ahead->from_ld;
        ahead->to += ahead->to_ld;
        ahead->done = 0;
        ahead->copies--;
    }
}

TD_SIMD void gemm_ask(gemm_stream *stream) {
    for (int64_t i = stream->lines_a_chunk; i > 0 && stream->rows > 0; i--) {
        __builtin_prefetch(stream->line, 0, 2);
        stream->line += 64;
        if (stream->line >= stream->row_end && --stream->rows > 0) {
            stream->row += stream->row_stride;
            stream->line = stream->row;
            stream->row_end = stream->row + stream->row_bytes;
        }
    }
}

TD_SIMD void gemm_look_ahead(gemm_ahead *ahead) {
    gemm_lines *soon = &ahead->soon[ahead->next];
    if (soon->rows > 0) {
        __builtin_prefetch(soon->at, 0, 3);
        if (GEMM_NV > 1) {
            __builtin_prefetch(soon->at + 64, 0, 3);
        }
        soon->at += soon->stride;
        ahead->next += --soon->rows == 0;
    }
    gemm_ask(&ahead->a);
    gemm_ask(&ahead->b);
    for (int64_t i = ahead->vectors_a_chunk; i > 0 && ahead->copies > 0; i--) {
        gemm_copy_vector(ahead);
    }
}

typedef struct gemm_work {
    gemm_ahead *ahead;
    int64_t k;
    const float *a;
    int64_t lda; /* rows of A; not used when packed */
    const float *b;
    int64_t b_apart; /* floats from one vector of columns to the next */
    int64_t b_step;  /* floats from one step to the next where B is read in place */
    gemm_place from; /* the chain's partial; p NULL: the chain starts at zero */
    gemm_place to;
    int n_older;
    gemm_place older[TD_GEMM_MAX_STACK]; /* added in order: older + value */
} gemm_work;

typedef void gemm_tile_fn(const gemm_work *work);

#define GEMM_EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13)

#define GEMM_ZERO(i)                                                                               \
    if ((i) < mr) {                                                                                \
        acc[i][0] = td_v16_zero();                                                                 \
        acc[i][nv - 1] = td_v16_zero();                                                            \
    }
#define GEMM_LOAD(i)                                                                               \
    if ((i) < mr) {                                                                                \
        const float *row = w->from.p + (i)*w->from.ld;                                             \
        acc[i][0] = td_v16_load(row);                                                              \
        acc[i][nv - 1] = td_v16_load(row + (nv - 1) * TD_LANES);                                   \
    }
#define GEMM_FMA(i)                                                                                \
    if ((i) < mr) {                                                                                \
        td_v16 x = td_v16_set1(packed ? a[i] : base[(i) / 3][((i) % 3) * lda]);                    \
        acc[i][0] = GEMM_STEP(x, b0, acc[i][0]);                                                   \
        if (nv > 1) {                                                                              \
            acc[i][nv - 1] = GEMM_STEP(x, b1, acc[i][nv - 1]);                                     \
        }                                                                                          \
    }
#define GEMM_ADD(i)                                                                                \
    if ((i) < mr) {                                                                                \
        const float *row = w->older[t].p + (i)*w->older[t].ld;                                     \
        acc[i][0] = td_v16_add(td_v16_load(row), acc[i][0]);                                       \
        if (nv > 1) {                                                                              \
            acc[i][nv - 1] = td_v16_add(td_v16_load(row + (nv - 1) * TD_LANES), acc[i][nv - 1]);   \
        }                                                                                          \
    }
#define GEMM_STORE(i)                                                                              \
    if ((i) < mr) {                                                                                \
        float *row = w->to.p + (i)*w->to.ld;                                                       \
        td_v16_store(row, acc[i][0]);                                                              \
        if (nv > 1) {                                                                              \
            td_v16_store(row + (nv - 1) * TD_LANES, acc[i][nv - 1]);                               \
        }                                                                                          \
    }

#define GEMM_ONE_STEP                                                                              \
    td_v16 b0 = td_v16_load(b), b1 = nv > 1 ? td_v16_load(more) : b0;                              \
    if (in_place) {                                                                                \
        __builtin_prefetch(b + far_step, 0, 2);                                                    \
        if (nv > 1) {                                                                              \
            __builtin_prefetch(more + far_step, 0, 2);                                             \
        }                                                                                          \
    }                                                                                              \
    GEMM_EACH_ROW(GEMM_FMA)                                                                        \
    b += in_place ? b_step : GEMM_B_STEP;                                                          \
    more += in_place ? b_step : GEMM_B_STEP;                                                       \
    a += mr;                                                                                       \
    base[0]++;                                                                                     \
    base[1]++;                                                                                     \
    base[2]++;                                                                                     \
    base[3]++;                                                                                     \
    base[4]++;

/* The template of every tile; mr, nv, packed (A) and in_place (B) are constants at each use. A in
 * place is read through a pointer per three rows, so that the rows' addresses fit in registers. */
TD_SIMD_INLINE void gemm_tile(const gemm_work *w, const int mr, const int nv, const bool packed,
                              const bool in_place) {
    td_v16 acc[14][GEMM_NV];
    const float *a = w->a, *b = w->b, *more = w->b + w->b_apart;
    const int64_t lda = w->lda, b_step = w->b_step, far_step = GEMM_FAR * b_step;
    const float *base[5] = {a, mr > 3 ? a + 3 * lda : a, mr > 6 ? a + 6 * lda : a,
                            mr > 9 ? a + 9 * lda : a, mr > 12 ? a + 12 * lda : a};
    if (w->from.p == NULL) {
        GEMM_EACH_ROW(GEMM_ZERO)
    } else {
        GEMM_EACH_ROW(GEMM_LOAD)
    }
#pragma GCC unroll 1
    for (int64_t k = w->k; k > 0; k -= GEMM_CHUNK) {
        gemm_look_ahead(w->ahead);
        if (k >= GEMM_CHUNK) {
            GEMM_UNROLL
            for (int64_t i = 0; i < GEMM_CHUNK; i++) {
                GEMM_ONE_STEP
            }
        } else {
#pragma GCC unroll 1
            for (int64_t left = k; left > 0; left--) {
                GEMM_ONE_STEP
            }
        }
    }
    for (int t = 0; t < w->n_older; t++) {
        GEMM_EACH_ROW(GEMM_ADD)
    }
    GEMM_EACH_ROW(GEMM_STORE)
}

#define GEMM_DEFINE(mr, nv, name, packed, in_place)                                                \
    static void gemm_##name##_##nv##_##mr(const gemm_work *work) {                                 \
        gemm_tile(work, mr, nv, packed, in_place);                                                 \
    }
GEMM_HEIGHTS(GEMM_DEFINE, 1, rows, false, false)
GEMM_HEIGHTS(GEMM_DEFINE, 1, packed, true, false)
#if defined(TD_TILES_OF_AVX512)
GEMM_HEIGHTS(GEMM_DEFINE, 2, rows, false, false)
GEMM_HEIGHTS(GEMM_DEFINE, 2, packed, true, false)
#endif

#if defined(GEMM_IN_PLACE)
GEMM_HEIGHTS(GEMM_DEFINE, 1, in_place, false, true)
#if defined(TD_TILES_OF_AVX512)
GEMM_HEIGHTS(GEMM_DEFINE, 2, in_place, false, true)
#endif
/* Half a vector of columns, for products of 8 rows that are turned (gemm_plan.h): A in place,
 * B packed (k, 8). A vector of 16 lanes with 8 empty ones takes as long as a full one, so half of
 * the peak was the most; one of 8 takes half as long where ports are 256 bits wide (Zen 4), and
 * elsewhere not longer. With 14 rows 15 loads for 14 FMAs. */
#define GEMM_HALF_FIRST(i)                                                                         \
    if ((i) < mr) {                                                                                \
        acc[i] = w->from.p == NULL ? td_v8_set1(0.0f) : td_v8_load(w->from.p + (i)*w->from.ld);    \
    }
#define GEMM_HALF_FMA(i)                                                                           \
    if ((i) < mr) {                                                                                \
        acc[i] = td_v8_fma(td_v8_set1(base[(i) / 3][((i) % 3) * lda]), b0, acc[i]);                \
    }
#define GEMM_HALF_ADD(i)                                                                           \
    if ((i) < mr) {                                                                                \
        acc[i] = td_v8_add(td_v8_load(w->older[t].p + (i)*w->older[t].ld), acc[i]);                \
    }
#define GEMM_HALF_STORE(i)                                                                         \
    if ((i) < mr) {                                                                                \
        td_v8_store(w->to.p + (i)*w->to.ld, acc[i]);                                               \
    }

#define GEMM_HALF_STEP                                                                             \
    const td_v8 b0 = td_v8_load(b);                                                                \
    GEMM_EACH_ROW(GEMM_HALF_FMA)                                                                   \
    b += TD_HALF;                                                                                  \
    base[0]++;                                                                                     \
    base[1]++;                                                                                     \
    base[2]++;                                                                                     \
    base[3]++;                                                                                     \
    base[4]++;

/* mr is a constant at each use. */
TD_SIMD_INLINE void gemm_half_tile(const gemm_work *w, const int mr) {
    td_v8 acc[14];
    const float *a = w->a, *b = w->b;
    const int64_t lda = w->lda;
    const float *base[5] = {a, mr > 3 ? a + 3 * lda : a, mr > 6 ? a + 6 * lda : a,
                            mr > 9 ? a + 9 * lda : a, mr > 12 ? a + 12 * lda : a};
    GEMM_EACH_ROW(GEMM_HALF_FIRST)
#pragma GCC unroll 1
    for (int64_t k = w->k; k > 0; k -= GEMM_CHUNK) {
        gemm_look_ahead(w->ahead);
        if (k >= GEMM_CHUNK) {
            GEMM_UNROLL
            for (int64_t i = 0; i < GEMM_CHUNK; i++) {
                GEMM_HALF_STEP
            }
        } else {
#pragma GCC unroll 1
            for (int64_t left = k; left > 0; left--) {
                GEMM_HALF_STEP
            }
        }
    }
    for (int t = 0; t < w->n_older; t++) {
        GEMM_EACH_ROW(GEMM_HALF_ADD)
    }
    GEMM_EACH_ROW(GEMM_HALF_STORE)
}

#define GEMM_HALF_DEFINE(mr, nv)                                                                   \
    static void gemm_half_##nv##_##mr(const gemm_work *work) {                                     \
        gemm_half_tile(work, mr);                                                                  \
    }
GEMM_HEIGHTS(GEMM_HALF_DEFINE, 1)
#endif

#if defined(GEMM_IN_PLACE) && defined(TD_TILES_OF_AVX512) && defined(__AVX512F__)
#define GEMM_TURNS
/* The same 8 rows times whole vectors of columns, A packed (k, 8): B stored (n, k) is turned in
 * registers, 8 k of 16 columns at a time. Zen 4 does that on units that do not multiply, and loads
 * what FMAs spread themselves two a cycle, so neither takes time from 64 FMAs. */
enum { GEMM_TURN_ROWS = 8, GEMM_TURN_K = 8 };

/* k [0, steps) of `turned`, one vector of columns. */
TD_SIMD_INLINE void gemm_turned_steps(td_v16 acc[GEMM_TURN_ROWS], const td_v16 *turned,
                                      const float *a, const int steps) {
#pragma GCC unroll 8
    for (int p = 0; p < steps; p++) {
#pragma GCC unroll 8
        for (int i = 0; i < GEMM_TURN_ROWS; i++) {
            acc[i] = GEMM_STEP(td_v16_set1(a[p * GEMM_TURN_ROWS + i]), turned[p], acc[i]);
        }
    }
}

TD_SIMD_INLINE void gemm_turning_tile(const gemm_work *w, const int nv) {
    const int64_t ld = w->b_apart / TD_LANES;
    for (int j = 0; j < nv; j++) {
        td_v16 acc[GEMM_TURN_ROWS], turned[GEMM_TURN_K];
        const float *a = w->a, *b = w->b + j * w->b_apart;
        const float *from = w->from.p + j * TD_LANES;
        float *to = w->to.p + j * TD_LANES;
#pragma GCC unroll 8
        for (int i = 0; i < GEMM_TURN_ROWS; i++) {
            acc[i] = w->from.p == NULL ? td_v16_zero() : td_v16_load(from + i * w->from.ld);
        }
        int64_t k = w->k;
#pragma GCC unroll 1
        for (; k >= GEMM_TURN_K; k -= GEMM_TURN_K, b += GEMM_TURN_K) {
            const float *const four[4] = {b, b + 4 * ld, b + 8 * ld, b + 12 * ld};
            td_v16_turn8(turned, four, ld);
            gemm_turned_steps(acc, turned, a, GEMM_TURN_K);
            a += GEMM_TURN_K * GEMM_TURN_ROWS;
        }
        if (k > 0) {
            float square[TD_LANES * TD_LANES];
            for (int i = 0; i < TD_LANES; i++) {
                td_v16_store(square + i * TD_LANES, td_v16_load_part(b + i * ld, k, 0.0f));
            }
            const float *const four[4] = {square, square + 64, square + 128, square + 192};
            td_v16_turn8(turned, four, TD_LANES);
            for (int p = 0; p < k; p++) {
                td_v16 column = turned[p];
                gemm_turned_steps(acc, &column, a + p * GEMM_TURN_ROWS, 1);
            }
        }
        for (int t = 0; t < w->n_older; t++) {
            const float *older = w->older[t].p + j * TD_LANES;
#pragma GCC unroll 8
            for (int i = 0; i < GEMM_TURN_ROWS; i++) {
                acc[i] = td_v16_add(td_v16_load(older + i * w->older[t].ld), acc[i]);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < GEMM_TURN_ROWS; i++) {
            td_v16_store(to + i * w->to.ld, acc[i]);
        }
    }
}

static void gemm_turning_1(const gemm_work *work) {
    gemm_turning_tile(work, 1);
}

static void gemm_turning_2(const gemm_work *work) {
    gemm_turning_tile(work, 2);
}
#endif

/* A table of tiles: [vectors - 1][rows]. */
#define GEMM_ROW(mr, nv, name) [mr] = gemm_##name##_##nv##_##mr,
#if defined(TD_TILES_OF_AVX512)
#define GEMM_TABLE(name)                                                                           \
    {                                                                                              \
        {GEMM_HEIGHTS(GEMM_ROW, 1, name)}, {                                                       \
            GEMM_HEIGHTS(GEMM_ROW, 2, name)                                                        \
        }                                                                                          \
    }
#else
#define GEMM_TABLE(name)                                                                           \
    {                                                                                              \
        { GEMM_HEIGHTS(GEMM_ROW, 1, name) }                                                        \
    }
#endif

/* How a tile reads A and B: A in place, A packed, both in place, A in place and 8 columns of B. */
enum { GEMM_A_ROWS, GEMM_A_PACKED, GEMM_B_IN_PLACE, GEMM_HALF, GEMM_TURNING, GEMM_N_READS };

static gemm_tile_fn *const gemm_tiles[GEMM_N_READS][GEMM_NV][GEMM_MR + 1] = {
    [GEMM_A_ROWS] = GEMM_TABLE(rows),
    [GEMM_A_PACKED] = GEMM_TABLE(packed),
#if defined(GEMM_IN_PLACE)
    [GEMM_B_IN_PLACE] = GEMM_TABLE(in_place),
    [GEMM_HALF] = {{GEMM_HEIGHTS(GEMM_ROW, 1, half)}},
#if defined(GEMM_TURNS)
    [GEMM_TURNING] = {{[GEMM_TURN_ROWS] = gemm_turning_1}, {[GEMM_TURN_ROWS] = gemm_turning_2}},
#endif
#endif
};

#endif
