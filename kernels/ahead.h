/* SPDX-License-Identifier: Apache-2.0
 * Prefetching what the next tile will read while this one computes. A head of a packed qkv matrix
 * is rows of 256 bytes, some 9 KiB apart: no hardware prefetcher follows that, and without help a
 * third of the time of attention goes by waiting. Lines are asked for one by one between the steps
 * of a product, because a burst of them would fill the queue of misses and stop the rest.
 */
#ifndef TD_KERNELS_AHEAD_H
#define TD_KERNELS_AHEAD_H

#include <stddef.h>
#include <stdint.h>

enum { TD_AHEAD_PARTS = 8, TD_AHEAD_LINE = 64 };

/* Rows of `lines` cache lines each, `skip` bytes between the end of one and the next. */
typedef struct td_ahead_part {
    const char *at;
    int64_t skip, rows, lines;
} td_ahead_part;

/* at: the next line; lines, rows: left of its row, of its part. step: bytes to the next line; 0
 * when all have been asked for and `at` stays. */
typedef struct td_ahead {
    const char *at;
    int64_t step, lines, rows;
    int64_t skips; /* a line is asked for in step q only where (q & skips) is 0 */
    int n, part_index;
    td_ahead_part part[TD_AHEAD_PARTS];
} td_ahead;

/* Rows of `bytes`, `apart` bytes from one to the next. */
static inline void td_ahead_add_bytes(td_ahead *ahead, const void *at, int64_t apart, int64_t rows,
                                      int64_t bytes) {
    int64_t lines = (bytes + TD_AHEAD_LINE - 1) / TD_AHEAD_LINE;
    if (rows > 0) {
        ahead->part[ahead->n++] = (td_ahead_part){at, apart - lines * TD_AHEAD_LINE, rows, lines};
    }
}

static inline void td_ahead_add(td_ahead *ahead, const float *at, int64_t ld, int64_t rows,
                                int64_t cols) {
    const int64_t size = (int64_t)sizeof *at;
    td_ahead_add_bytes(ahead, at, ld * size, rows, cols * size);
}

static inline void td_ahead_part_begin(td_ahead *ahead) {
    if (ahead->part_index == ahead->n) {
        ahead->step = 0;
        ahead->lines = INT64_MAX;
        return;
    }
    const td_ahead_part *part = &ahead->part[ahead->part_index];
    ahead->at = part->at;
    ahead->step = TD_AHEAD_LINE;
    ahead->lines = part->lines;
    ahead->rows = part->rows;
}

/* Lines of all parts. */
static inline int64_t td_ahead_lines(const td_ahead *ahead) {
    int64_t lines = 0;
    for (int i = 0; i < ahead->n; i++) {
        lines += ahead->part[i].rows * ahead->part[i].lines;
    }
    return lines;
}

/* Spreads the lines over `steps` steps, one in 1, 2, 4 or 8 of them. Asked for in every step until
 * there are none left, they hold the core's few fill buffers, for which what the product itself
 * reads from L2 then waits: with 197 keys that took a tenth of attention's time. */
static inline void td_ahead_spread(td_ahead *ahead, int64_t steps) {
    const int64_t lines = td_ahead_lines(ahead);
    int64_t apart = 1;
    while (apart < 8 && 2 * apart * lines <= steps) {
        apart *= 2;
    }
    ahead->skips = apart - 1;
}

/* After the parts were added; `resting` is any address that may be asked for at the end. */
static inline void td_ahead_begin(td_ahead *ahead, const void *resting) {
    ahead->at = resting;
    ahead->part_index = 0;
    td_ahead_part_begin(ahead);
}

static inline __attribute__((always_inline)) void td_ahead_line(td_ahead *ahead) {
    __builtin_prefetch(ahead->at, 0, 2);
    ahead->at += ahead->step;
    if (__builtin_expect(--ahead->lines == 0, 0)) {
        const td_ahead_part *part = &ahead->part[ahead->part_index];
        ahead->at += part->skip;
        ahead->lines = part->lines;
        if (--ahead->rows == 0) {
            ahead->part_index++;
            td_ahead_part_begin(ahead);
        }
    }
}

#endif
