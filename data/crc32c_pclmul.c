/* SPDX-License-Identifier: Apache-2.0 */
#include "data/crc32c.h"
#include "data/crc32c_fold.h"

static inline __m128i load(const uint8_t *at) {
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

static inline __m128i fold(__m128i x, __m128i k, __m128i data) {
    return _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), data),
                         _mm_clmulepi64_si128(x, k, 0x11));
}

enum { BLOCK = 16, WIDE = 8 };

/* Eight blocks of 16 bytes in flight, then one, then the rest beside it. */
uint32_t td_crc32c__pclmul(const void *data, size_t bytes) {
    const uint8_t *at = data;
    if (bytes < 128) {
        return ~td_crc32c_tail(0xffffffffu, at, bytes);
    }
    const __m128i all = _mm_set_epi64x(0x0d3b6092, 0x6992cea2);
    const __m128i one = _mm_set_epi64x(0x493c7d27, 0xf20c0dfe);
    __m128i blocks[WIDE];
    for (int i = 0; i < WIDE; i++) {
        blocks[i] = load(at + i * BLOCK);
    }
    blocks[0] = _mm_xor_si128(blocks[0], _mm_cvtsi32_si128(-1));
    at += WIDE * BLOCK;
    bytes -= WIDE * BLOCK;
    for (; bytes >= WIDE * BLOCK; at += WIDE * BLOCK, bytes -= WIDE * BLOCK) {
#pragma GCC unroll 8
        for (int i = 0; i < WIDE; i++) {
            blocks[i] = fold(blocks[i], all, load(at + i * BLOCK));
        }
    }
    __m128i x = blocks[0];
#pragma GCC unroll 8
    for (int i = 1; i < WIDE; i++) {
        x = fold(x, one, blocks[i]);
    }
    for (; bytes >= 64; at += BLOCK, bytes -= BLOCK) {
        x = fold(x, one, load(at));
    }
    return ~td_crc32c_join(td_crc32c_reduce(x), at, bytes);
}
