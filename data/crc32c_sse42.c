/* SPDX-License-Identifier: Apache-2.0 */
#include <nmmintrin.h>
#include <string.h>

#include "data/crc32c.h"

/* One chain of crc32 instructions, three cycles for eight bytes. */
uint32_t td_crc32c__sse42(const void *data, size_t bytes) {
    const uint8_t *at = data;
    uint64_t crc = 0xffffffffu;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        crc = _mm_crc32_u64(crc, word);
    }
    for (; bytes > 0; bytes--, at++) {
        crc = _mm_crc32_u8((uint32_t)crc, *at);
    }
    return ~(uint32_t)crc;
}
