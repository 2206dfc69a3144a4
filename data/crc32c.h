/* SPDX-License-Identifier: Apache-2.0
 * CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, initial value and final xor all ones) and
 * the masked form that TFRecord stores: a CRC of data that holds CRCs would otherwise be
 * degenerate.
 */
#ifndef TD_DATA_CRC32C_H
#define TD_DATA_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of data; bytes may be 0. Thread-safe. */
typedef uint32_t td_crc32c_fn(const void *data, size_t bytes);

/*  name          function */
#define TD_CRC32C_MAP(X)                                                                           \
    X(isal, td_crc32c__isal)         /* ISA-L: picks SSE4.2 or carry-less multiplication itself */ \
    X(portable, td_crc32c__portable) /* slicing by 8, C11 only */

#define TD_CRC32C_DECLARE(name, function) td_crc32c_fn function;
TD_CRC32C_MAP(TD_CRC32C_DECLARE)
#undef TD_CRC32C_DECLARE

/* The row that readers and writers use: the first. Every row gives the same number, so nothing
 * depends on it. */
static inline uint32_t td_crc32c(const void *data, size_t bytes) {
    return td_crc32c__isal(data, bytes);
}

static inline uint32_t td_crc32c_mask(uint32_t crc) {
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static inline uint32_t td_crc32c_unmask(uint32_t masked) {
    uint32_t rotated = masked - 0xa282ead8u;
    return (rotated >> 17) | (rotated << 15);
}

#endif
