/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/mix.h"

#include <string.h>

#include "kernels/simd.h"
#include "kernels/stream.h"

enum { VECTOR = 64, MOST_VECTORS = 2 };

TD_SIMD td_v16 xor16(td_v16 a, td_v16 b) {
    return td_i16_as_v16(td_i16_xor(td_v16_as_i16(a), td_v16_as_i16(b)));
}

TD_SIMD void store_line(unsigned char *to, td_v16 v, bool streaming) {
    if (streaming) {
        td_v16_stream((float *)(void *)to, v);
    } else {
        td_v16_store((float *)(void *)to, v);
    }
}

typedef enum asking { NOTHING, INTO_L1, INTO_L2 } asking;

/* All but `pass` are constants where it is called. */
TD_SIMD uint32_t run_mix(const td_mix_pass *pass, int loads, int stores, bool in_place,
                         int load_bytes, int store_bytes, asking ahead, bool streaming) {
    /* A step is a whole vector of the narrowest stream: two of a single one were 4 % slower. */
    const int step = VECTOR / (load_bytes < store_bytes ? load_bytes : store_bytes);
    const int from_vectors = step * load_bytes / VECTOR, to_vectors = step * store_bytes / VECTOR;
    const int64_t distance = TD_AHEAD_BYTES / (loads > 0 ? loads : 1);
    unsigned char *stream[TD_MIX_STREAMS];
    for (int k = 0; k < TD_MIX_STREAMS; k++) {
        stream[k] = pass->stream[k];
    }
    td_v16 mask = td_i16_as_v16(td_i16_set1((int32_t)pass->mask));
    td_v16 sum[TD_MIX_STREAMS];
    for (int k = 0; k < TD_MIX_STREAMS; k++) {
        sum[k] = td_v16_zero();
    }
    for (int64_t i = 0; i < pass->n; i += step) {
        int64_t from = i * load_bytes, to = i * store_bytes;
        td_v16 joined[MOST_VECTORS], x[TD_MIX_STREAMS][MOST_VECTORS];
        for (int v = 0; v < from_vectors; v++) {
            joined[v] = mask;
            for (int k = 0; k < loads; k++) {
                unsigned char *at = stream[k] + from + v * VECTOR;
                if (ahead == INTO_L1) {
                    __builtin_prefetch(at + distance, 0, 3);
                } else if (ahead == INTO_L2) {
                    __builtin_prefetch(at + distance, 0, 2);
                }
                x[k][v] = td_v16_load((const float *)(const void *)at);
                joined[v] = xor16(joined[v], x[k][v]);
                sum[(k + v) % TD_MIX_STREAMS] = xor16(sum[(k + v) % TD_MIX_STREAMS], x[k][v]);
            }
        }
        for (int v = 0; v < to_vectors; v++) {
            for (int k = 0; k < stores; k++) {
                td_v16 out = in_place    ? xor16(x[k][v], mask)
                             : loads > 0 ? joined[v % from_vectors]
                                         : mask;
                if (loads > 0 && to_vectors < from_vectors) {
                    out = xor16(out, xor16(joined[v + to_vectors], mask));
                }
                store_line(stream[in_place ? k : loads + k] + to + v * VECTOR, out, streaming);
            }
        }
    }
    if (streaming) {
        td_stream_fence();
    }
    td_v16 all = xor16(xor16(sum[0], sum[1]), xor16(sum[2], sum[3]));
    uint32_t words[TD_LANES], folded = 0;
    float lanes[TD_LANES];
    td_v16_store(lanes, all);
    memcpy(words, lanes, sizeof words);
    for (int lane = 0; lane < TD_LANES; lane++) {
        folded ^= words[lane];
    }
    return folded;
}

#define TD_MIX_FUNCTION(mix, name, loads, stores, in_place, from, to, doc)                         \
    static uint32_t run_##mix(const td_mix_pass *pass) {                                           \
        switch (pass->way) {                                                                       \
        case TD_MIX_AHEAD_L1:                                                                      \
            return run_mix(pass, loads, stores, in_place, from, to, INTO_L1, false);               \
        case TD_MIX_AHEAD_L2:                                                                      \
            return run_mix(pass, loads, stores, in_place, from, to, INTO_L2, false);               \
        case TD_MIX_STREAM:                                                                        \
            return run_mix(pass, loads, stores, in_place, from, to, NOTHING, true);                \
        case TD_MIX_STREAM_L1:                                                                     \
            return run_mix(pass, loads, stores, in_place, from, to, INTO_L1, true);                \
        case TD_MIX_STREAM_L2:                                                                     \
            return run_mix(pass, loads, stores, in_place, from, to, INTO_L2, true);                \
        case TD_MIX_PLAIN:                                                                         \
        case TD_MIX_WAYS:                                                                          \
            break;                                                                                 \
        }                                                                                          \
        return run_mix(pass, loads, stores, in_place, from, to, NOTHING, false);                   \
    }
TD_MIX_MAP(TD_MIX_FUNCTION)
#undef TD_MIX_FUNCTION

uint32_t TD_FN(mix)(const td_mix_pass *pass) {
    switch (pass->mix) {
#define TD_MIX_CASE(mix, ...)                                                                      \
    case TD_MIX_##mix:                                                                             \
        return run_##mix(pass);
        TD_MIX_MAP(TD_MIX_CASE)
#undef TD_MIX_CASE
    case TD_MIX_COUNT:
        break;
    }
    return 0;
}
