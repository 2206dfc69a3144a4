/* SPDX-License-Identifier: Apache-2.0
 * CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, initial value and final xor all ones) and
 * the masked form that TFRecord stores: a CRC of data that holds CRCs would otherwise be
 * degenerate.
 */
#ifndef TD_DATA_CRC32C_H
#define TD_DATA_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The CRC of data; bytes may be 0. Thread-safe. */
typedef uint32_t td_crc32c_fn(const void *data, size_t bytes);

/* What a row needs of the processor; TANDEM_ISA=portable leaves only ANY. */
typedef enum td_crc32c_need {
    TD_CRC32C_ANY,
    TD_CRC32C_SSE42,   /* the crc32 instruction */
    TD_CRC32C_PCLMUL,  /* and carry-less products of 64 bits */
    TD_CRC32C_VPCLMUL, /* and those of vectors of 512 bits */
} td_crc32c_need;

/* Order is preference, by measurement (GB/s on Emerald Rapids in cache at 300 B, 4 KiB, 1 MiB: see
 * the cases data/crc32c).
 *  name     needs              function */
#define TD_CRC32C_MAP(X)                                                                           \
    X(vpclmul, TD_CRC32C_VPCLMUL, td_crc32c__vpclmul)                                              \
    X(pclmul, TD_CRC32C_PCLMUL, td_crc32c__pclmul)                                                 \
    X(isal, TD_CRC32C_ANY, td_crc32c__isal) /* ISA-L: picks its own way */                         \
    X(sse42, TD_CRC32C_SSE42, td_crc32c__sse42)                                                    \
    X(portable, TD_CRC32C_ANY, td_crc32c__portable) /* slicing by 8, C11 only */

#define TD_CRC32C_DECLARE(name, need, function) td_crc32c_fn function;
TD_CRC32C_MAP(TD_CRC32C_DECLARE)
#undef TD_CRC32C_DECLARE

/* Whether this processor runs such a row. */
bool td_crc32c_runs(td_crc32c_need need);

/* The row that readers and writers use: the first that runs here. Every row gives the same number,
 * so nothing depends on it. */
td_crc32c_fn td_crc32c;

/* The checksum of `first` bytes and `second` bytes joined, from the checksum of each. */
uint32_t td_crc32c_combine(uint32_t first, uint32_t second, uint64_t second_bytes);

/* For the rows: x^n mod P, reflected (bit 31 is x^0). Folding 128 bits over D bits multiplies their
 * low half by x^(D + 31) and their high half by x^(D - 33); shifting a register over n bytes
 * multiplies it by x^(8n - 33), which is what its reduction by the crc32 instruction needs:
 * td_crc32c_shift[n], n = 5 to 63. The rows hold the numbers; a test holds them against this
 * function. */
uint32_t td_crc32c_power(uint64_t n);
extern const uint32_t td_crc32c_shift[64];

static inline uint32_t td_crc32c_mask(uint32_t crc) {
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static inline uint32_t td_crc32c_unmask(uint32_t masked) {
    uint32_t rotated = masked - 0xa282ead8u;
    return (rotated >> 17) | (rotated << 15);
}

#endif
