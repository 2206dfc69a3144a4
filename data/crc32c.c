/* SPDX-License-Identifier: Apache-2.0 */
#include "data/crc32c.h"

#include <pthread.h>

#include <isa-l/crc.h>

/* ISA-L takes an int length, hence the chunks. It neither inverts the initial value nor the result.
 */
uint32_t td_crc32c__isal(const void *data, size_t bytes) {
    enum { CHUNK = 1 << 30 };
    unsigned char *at =
        (unsigned char *)(uintptr_t)data; /* its prototype lacks the const it keeps */
    uint32_t crc = 0xffffffffu;
    while (bytes > 0) {
        int length = bytes < CHUNK ? (int)bytes : CHUNK;
        crc = crc32_iscsi(at, length, crc);
        at += length;
        bytes -= (size_t)length;
    }
    return ~crc;
}

/* slice[j][b] is the CRC register after byte b and j zero bytes, so eight look-ups advance eight
 * bytes. */
static uint32_t slice[8][256];
static pthread_once_t slice_once = PTHREAD_ONCE_INIT;

static void slice_fill(void) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1u)));
        }
        slice[0][b] = crc;
    }
    for (uint32_t b = 0; b < 256; b++) {
        for (int j = 1; j < 8; j++) {
            slice[j][b] = (slice[j - 1][b] >> 8) ^ slice[0][slice[j - 1][b] & 0xff];
        }
    }
}

uint32_t td_crc32c__portable(const void *data, size_t bytes) {
    pthread_once(&slice_once, slice_fill);
    const unsigned char *at = data;
    uint32_t crc = 0xffffffffu;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                              (uint32_t)at[3] << 24);
        crc = slice[7][low & 0xff] ^ slice[6][(low >> 8) & 0xff] ^ slice[5][(low >> 16) & 0xff] ^
              slice[4][low >> 24] ^ slice[3][at[4]] ^ slice[2][at[5]] ^ slice[1][at[6]] ^
              slice[0][at[7]];
    }
    for (; bytes > 0; bytes--, at++) {
        crc = (crc >> 8) ^ slice[0][(crc ^ *at) & 0xff];
    }
    return ~crc;
}
