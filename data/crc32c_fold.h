/* SPDX-License-Identifier: Apache-2.0
 * What the rows of the CRC that use the processor's instructions share. Private to them.
 */
#ifndef TD_DATA_CRC32C_FOLD_H
#define TD_DATA_CRC32C_FOLD_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "data/crc32c.h"

/* The register after up to 7 words and 7 bytes more. */
static inline uint32_t td_crc32c_tail(uint32_t crc, const uint8_t *at, size_t bytes) {
    uint64_t wide = crc;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    if (bytes & 4) {
        uint32_t word;
        memcpy(&word, at, sizeof word);
        crc = _mm_crc32_u32(crc, word);
        at += 4;
    }
    for (bytes &= 3; bytes > 0; bytes--, at++) {
        crc = _mm_crc32_u8(crc, *at);
    }
    return crc;
}

/* 128 folded bits to the register. */
static inline uint32_t td_crc32c_reduce(__m128i x) {
    uint64_t low = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(x));
    return (uint32_t)_mm_crc32_u64(low, (uint64_t)_mm_extract_epi64(x, 1));
}

/* The register over the body, then fewer than 64 bytes. From five bytes on both are computed side
 * by side, and the first is shifted over the second. */
static inline uint32_t td_crc32c_join(uint32_t body, const uint8_t *at, size_t bytes) {
    if (bytes < 5) {
        return td_crc32c_tail(body, at, bytes);
    }
    uint32_t tail = td_crc32c_tail(0, at, bytes);
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)body),
                                           _mm_cvtsi32_si128((int)td_crc32c_shift[bytes]), 0);
    return tail ^ (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

#endif
