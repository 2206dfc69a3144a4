/* SPDX-License-Identifier: Apache-2.0
 * Outputs too large for any cache. A plain store fetches the line that it overwrites: a copy then
 * moves three bytes for two. A store that streams does not, but leaves nothing in a cache for the
 * next kernel, so it pays only where a cache would have dropped the output before it is read.
 */
#ifndef TD_KERNELS_STREAM_H
#define TD_KERNELS_STREAM_H

#include "kernels/simd.h"

/* More than two cores can rely on, whatever a virtual machine says of its caches. */
enum { TD_STREAM_BYTES = 32 << 20 };

/* How far ahead of a loop lines are asked for, over all that it reads: what a core keeps on its way
 * from memory. Hardware prefetchers stop at the end of a page. */
enum { TD_AHEAD_BYTES = 8192 };

/* An output of rows x cols elements, rows ld elements apart, whose rows start on cache lines. */
static inline bool td_streams(const void *to, int64_t rows, int64_t ld, size_t element_bytes) {
    size_t row_bytes = (size_t)ld * element_bytes;
    return (size_t)rows * row_bytes >= TD_STREAM_BYTES &&
           ((uintptr_t)to | (rows > 1 ? row_bytes : 0)) % 64 == 0;
}

TD_SIMD void td_v16_put(float *to, td_v16 v, bool streaming) {
    if (streaming) {
        td_v16_stream(to, v);
    } else {
        td_v16_store(to, v);
    }
}

/* streams: how many the loop reads. Into L2, which has more lines on the way than L1: so AdamW
 * takes 0.7 of the time on one worker of a Zen 4. */
TD_SIMD void td_ask_ahead(const void *at, int streams) {
    __builtin_prefetch((const char *)at + TD_AHEAD_BYTES / streams, 0, 2);
}

/* n zeros; `to` on a cache line. */
TD_SIMD void td_stream_zeros(float *to, int64_t n) {
    int64_t c = 0;
    for (; c + TD_LANES <= n; c += TD_LANES) {
        td_v16_stream(to + c, td_v16_zero());
    }
    if (c < n) {
        td_v16_store_part(to + c, td_v16_zero(), n - c);
    }
}

#endif
