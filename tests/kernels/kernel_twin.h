/* SPDX-License-Identifier: Apache-2.0
 * Kernels against independent twins: naive code in f64, or in f32 where the contract fixes every
 * rounding. All rows of an operation share one source, so comparing rows with each other cannot
 * find a mistake in it; these tests can.
 */
#ifndef TD_TESTS_KERNEL_TWIN_H
#define TD_TESTS_KERNEL_TWIN_H

#include <stddef.h>

#include "kernels/kernel_example.h"

/* The unit roundoff of f32: one operation's relative error is at most this. */
#define TWIN_U 0x1p-24

/* Compares what a row has computed: `before` holds the arguments of an equal example that was never
 * run. */
typedef void twin_check_fn(const void *before, const void *after);

/* Runs every row that this CPU offers on every edge case of an operation. */
void twin_each_case(td_op_id op, twin_check_fn *check);

/* Calls every row that this CPU offers over all tiles, then check(args, args). */
void twin_each_row(td_op_id op, const void *args, twin_check_fn *check);

/* Regions of memory behind which there is none. */
typedef enum twin_region { TWIN_SCRATCH, TWIN_A, TWIN_B, TWIN_REGIONS } twin_region;

/* So many bytes that end, to within a cache line, where memory does, and hold NaNs or what an
 * earlier call left. Until the next call for that region. */
void *twin_fenced(twin_region region, int64_t bytes);

/* twin_fenced for scratch. */
void *twin_scratch(int64_t bytes);

/* n floats of full significands, sign random, magnitude in scale * [1/8, 2). Freed with td_free. */
float *twin_floats(int64_t n, uint64_t id, float scale);

/* Fails unless |got - want| <= bound; a NaN passes only where one is wanted. */
void twin_near(const char *what, int64_t i, double got, double want, double bound);

/* Fails unless the bits are equal. */
void twin_same(const char *what, int64_t i, float got, float want);

/* From on = true to false, comparisons that fail are counted and not reported: for tests of the
 * oracles themselves. */
void twin_catch(bool on);
int64_t twin_caught(void);

/* Sets the name of the row under test, for a caller that runs it itself. */
void twin_named(const char *row);

/* Fails unless two integers are equal. */
void twin_equal(const char *what, int64_t i, int64_t got, int64_t want);

/* The sum of n partials in the order of the block tree, by its recursive definition: the largest
 * power of two less than n on the left, the rest on the right. */
float twin_tree(const float *partials, int64_t n);

/* Where block b of `blocks` starts: equal blocks when starts is NULL. */
static inline int64_t twin_block(const int64_t *starts, int64_t rows, int64_t blocks, int64_t b) {
    return starts == NULL ? rows / blocks * b : starts[b];
}

/* 16 lanes joined: i with i + 8, then 4, 2, 1. */
float twin_lanes(const float lanes[16]);

/* The gradient of element i of a flat buffer whose gradients are so compact: 0 where its row is
 * absent. */
static inline float twin_gradient(const float *g, td_compact_rows rows, int64_t i) {
    if (rows.start == NULL) {
        return g[i];
    }
    const int32_t *start = rows.start + i / rows.width;
    return start[0] < start[1] ? g[start[0] * rows.width + i % rows.width] : 0;
}

/* Whether i lies in one of n ranges [first, last). */
static inline bool twin_in_ranges(const int64_t (*ranges)[2], int64_t n, int64_t i) {
    for (int64_t r = 0; r < n; r++) {
        if (i >= ranges[r][0] && i < ranges[r][1]) {
            return true;
        }
    }
    return false;
}

/* The number of the row under test, for messages. */
const char *twin_row(void);

#endif
