/* SPDX-License-Identifier: Apache-2.0
 * The hashes of TensorFlow's feature columns, bit for bit. All of them are fixed for ever: an id
 * that was computed once stays what it is.
 */
#ifndef TD_DATA_HASH_H
#define TD_DATA_HASH_H

#include <stdint.h>

#include "data/example.h"

enum { TD_DECIMAL_BYTES_MAX = 20 }; /* -9223372036854775808 */

/* FarmHash's Fingerprint64: hash buckets, OOV buckets, the leaves of a cross. */
uint64_t td_fingerprint64(const void *data, size_t size);
/* FingerprintCat64: joins two fingerprints; the order counts. */
uint64_t td_fingerprint_cat64(uint64_t a, uint64_t b);
/* SipHash-2-4 with a key of two words: the strong hash, and Keras' salt. */
uint64_t td_siphash(const uint64_t key[2], const void *data, size_t size);
/* Hash64 of older releases, a Murmur variant. */
uint64_t td_hash64_legacy(const void *data, size_t size, uint64_t seed);
#define TD_HASH64_LEGACY_SEED UINT64_C(0xdecafcaffe)

/* Writes the decimal digits of value to the front of out, which is overwritten whole; returns how
 * many. Integers are hashed in this form. */
int td_decimal(int64_t value, char out[TD_DECIMAL_BYTES_MAX]);

/* Fingerprint64 of the decimal digits. */
uint64_t td_fingerprint64_int(int64_t value);

/* Of n numbers, by the widest row that runs here; out may be values. */
void td_fingerprints_int(const int64_t *values, int64_t n, uint64_t *out);
void td_fingerprints_int__avx512(const int64_t *values, int64_t n, uint64_t *out);

/* Constants of FarmHash, for the rows. */
#define TD_FARMHASH_K0 UINT64_C(0xc3a5c85c97cb3127)
#define TD_FARMHASH_K2 UINT64_C(0x9ae16a3b2f90404f)

/* Division by a number that stays, by its reciprocal: an estimate of the quotient that is right or
 * one too small, because reciprocal * by is above 2^64 - by - 1. A quarter of a division's time. */
__extension__ typedef unsigned __int128 td_uint128;
typedef struct td_divisor {
    uint64_t by, reciprocal;
} td_divisor;

static inline td_divisor td_divisor_of(uint64_t by) {
    return (td_divisor){by, UINT64_MAX / by};
}

static inline uint64_t td_remainder(uint64_t value, td_divisor divisor) {
    uint64_t quotient = (uint64_t)((td_uint128)value * divisor.reciprocal >> 64);
    uint64_t rest = value - quotient * divisor.by;
    return rest >= divisor.by ? rest - divisor.by : rest;
}

#endif
