/* SPDX-License-Identifier: Apache-2.0 */
#include "data/crc32c.h"
#include "data/crc32c_fold.h"

static inline __m512i load(const uint8_t *at) {
    return _mm512_loadu_si512(at);
}

/* x over a distance, and what lies there. */
static inline __m512i fold(__m512i x, __m512i k, __m512i data) {
    return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(x, k, 0x00),
                                     _mm512_clmulepi64_epi128(x, k, 0x11), data, 0x96);
}

static inline __m512i constants(uint32_t low, uint32_t high) {
    return _mm512_broadcast_i32x4(_mm_set_epi64x((int64_t)high, (int64_t)low));
}

/* Four lanes of 128 bits to one: the first three are folded over what is behind them. */
static inline __m128i fold_lanes(__m512i x) {
    const __m512i k = _mm512_set_epi64(0, 0, 0x493c7d27, 0xf20c0dfe, 0xba4fc28e, 0x3da6d0cb,
                                       0xddc0152b, 0x1c291d04);
    __m512i y = _mm512_xor_si512(_mm512_clmulepi64_epi128(x, k, 0x00),
                                 _mm512_clmulepi64_epi128(x, k, 0x11));
    __m128i a = _mm_xor_si128(_mm512_castsi512_si128(y), _mm512_extracti32x4_epi32(y, 1));
    __m128i b = _mm_xor_si128(_mm512_extracti32x4_epi32(y, 2), _mm512_extracti32x4_epi32(x, 3));
    return _mm_xor_si128(a, b);
}

enum { LINE = 64, WIDE = 8, AHEAD = 2048 };

/* A carry-less product takes eight cycles and starts every cycle, two a line: eight lines are in
 * flight. Short inputs go line by line; below two lines the chain of crc32 instructions is as fast.
 */
uint32_t td_crc32c__vpclmul(const void *data, size_t bytes) {
    const uint8_t *at = data;
    if (bytes < 2 * LINE) {
        return ~td_crc32c_tail(0xffffffffu, at, bytes);
    }
    const __m512i one = constants(0x740eef02, 0x9e4addf8);
    __m512i x = _mm512_xor_si512(load(at), _mm512_zextsi128_si512(_mm_cvtsi32_si128(-1)));
    at += LINE;
    bytes -= LINE;
    if (bytes >= 2 * WIDE * LINE) {
        const __m512i all = constants(0xbd6f81f8, 0xdd7e3b0c);
        __m512i lines[WIDE];
        lines[0] = x;
        for (int i = 1; i < WIDE; i++) {
            lines[i] = load(at + (i - 1) * LINE);
        }
        at += (WIDE - 1) * LINE;
        bytes -= (WIDE - 1) * LINE;
        for (; bytes >= WIDE * LINE; at += WIDE * LINE, bytes -= WIDE * LINE) {
#pragma GCC unroll 8
            for (int i = 0; i < WIDE; i++) {
                _mm_prefetch((const char *)at + AHEAD + i * LINE, _MM_HINT_T0);
                lines[i] = fold(lines[i], all, load(at + i * LINE));
            }
        }
        x = lines[0];
#pragma GCC unroll 8
        for (int i = 1; i < WIDE; i++) {
            x = fold(x, one, lines[i]);
        }
    }
    for (; bytes >= LINE; at += LINE, bytes -= LINE) {
        x = fold(x, one, load(at));
    }
    return ~td_crc32c_join(td_crc32c_reduce(fold_lanes(x)), at, bytes);
}
