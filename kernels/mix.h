/* SPDX-License-Identifier: Apache-2.0
 * Mixes: what a kernel that memory bounds does to memory, without its arithmetic. Memory serves the
 * mixes of loads and stores at different rates, so such a kernel is held against its own one: as
 * many streams read, as many written, the written ones the same as the read ones or apart, one
 * vector of each after the other. kernels.inc names the mix of every operation.
 */
#ifndef TD_KERNELS_MIX_H
#define TD_KERNELS_MIX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cpu.h"

enum { TD_MIX_STREAMS = 4, TD_MIX_STEP = 32 };

/* mix, name, streams loaded, stored, in place (the stored are the first of the loaded), bytes of an
 * element loaded and stored, example. A name ends in loads:stores where they are not 1. */
/* clang-format off */
#define TD_MIX_MAP(X)                                                                             \
    X(NONE,   "none",        0, 0, false, 4, 4, "another limit than memory, or no streams")       \
    X(READ,   "read",        1, 0, false, 4, 4, "norms, sums over rows")                          \
    X(READ2,  "read_2",      2, 0, false, 4, 4, "the sums of LayerNorm's gradient")               \
    X(FILL,   "fill",        0, 1, false, 4, 4, "a gradient most of whose rows are zero")         \
    X(COPY,   "copy",        1, 1, false, 4, 4, "LayerNorm, activations, softmax")                \
    X(UPDATE, "update",      1, 1, true,  4, 4, "the same in place")                              \
    X(NARROW, "narrow",      1, 1, false, 4, 2, "f32 to bf16")                                    \
    X(WIDEN,  "widen",       1, 1, false, 2, 4, "bf16 to f32")                                    \
    X(JOIN,   "join_2:1",    2, 1, false, 4, 4, "an activation's gradient")                       \
    X(ADD,    "add_2:1",     2, 1, true,  4, 4, "EMA, residuals")                                 \
    X(ADD3,   "add_3:1",     3, 1, true,  4, 4, "LayerNorm's gradient onto a residual's")         \
    X(LION,   "update_3:2",  3, 2, true,  4, 4, "Lion")                                          \
    X(ADAMW,  "update_4:3",  4, 3, true,  4, 4, "AdamW")
/* clang-format on */

typedef enum td_mix {
#define TD_MIX_ENUM(mix, ...) TD_MIX_##mix,
    TD_MIX_MAP(TD_MIX_ENUM)
#undef TD_MIX_ENUM
        TD_MIX_COUNT
} td_mix;

typedef struct td_mix_row {
    const char *name;
    int loads, stores;
    bool in_place;
    int load_bytes, store_bytes;
    const char *doc;
} td_mix_row;
extern const td_mix_row td_mixes[TD_MIX_COUNT];

/* How: as a kernel would write it, asking for lines ahead into the first or the second level of
 * cache, or each of these with stores that fetch no line, where what is stored is apart. */
typedef enum td_mix_way {
    TD_MIX_PLAIN,
    TD_MIX_AHEAD_L1,
    TD_MIX_AHEAD_L2,
    TD_MIX_STREAM,
    TD_MIX_STREAM_L1,
    TD_MIX_STREAM_L2,
    TD_MIX_WAYS
} td_mix_way;

int td_mix_ways(td_mix mix);

/* Streams: the loaded ones, then the stored ones that are apart; 64-byte aligned for the ways that
 * stream, n elements of each. What is stored is the loaded stream where in place, else the
 * exclusive or of a vector of each loaded one, and its own vectors joined or repeated where sizes
 * differ, and `mask`: so a mask of 0 in place leaves memory as it was. */
typedef struct td_mix_pass {
    td_mix mix;
    td_mix_way way;
    unsigned char *stream[TD_MIX_STREAMS];
    int64_t n; /* a multiple of TD_MIX_STEP */
    uint32_t mask;
} td_mix_pass;

/* Returns the exclusive or of all 32-bit words loaded. */
typedef uint32_t td_mix_fn(const td_mix_pass *pass);
td_mix_fn td_mix__portable, td_mix__avx2, td_mix__avx512;

/* With vectors as wide as an ISA has them. */
uint32_t td_mix_run(td_isa isa, const td_mix_pass *pass);

/* Bytes that a pass moves. */
double td_mix_bytes(const td_mix_pass *pass);

#endif
