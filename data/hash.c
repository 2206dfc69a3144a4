/* SPDX-License-Identifier: Apache-2.0 */
#include "data/hash.h"

#include <string.h>

/* util::Fingerprint64(const char *, size_t) of libfarmhash, by its C++ name: the library has no C
 * interface, and a function of plain arguments is called alike in both languages. */
uint64_t td_farmhash(const char *data, size_t size) __asm__("_ZN4util13Fingerprint64EPKcm");

uint64_t td_fingerprint64(const void *data, size_t size) {
    return td_farmhash(size == 0 ? "" : data, size);
}

static uint64_t shift_mix(uint64_t value) {
    return value ^ (value >> 47);
}

uint64_t td_fingerprint_cat64(uint64_t a, uint64_t b) {
    const uint64_t mul = UINT64_C(0xc6a4a7935bd1e995);
    uint64_t result = a ^ mul;
    result ^= shift_mix(b * mul) * mul;
    result *= mul;
    result = shift_mix(result) * mul;
    return shift_mix(result);
}

static uint64_t load_le64(const unsigned char *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value; /* little-endian, as every format here */
}

static uint64_t rotate_left(uint64_t value, int bits) {
    return value << bits | value >> (64 - bits);
}

static void sip_rounds(uint64_t v[4], int rounds) {
    for (int i = 0; i < rounds; i++) {
        v[0] += v[1];
        v[1] = rotate_left(v[1], 13) ^ v[0];
        v[0] = rotate_left(v[0], 32);
        v[2] += v[3];
        v[3] = rotate_left(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate_left(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate_left(v[1], 17) ^ v[2];
        v[2] = rotate_left(v[2], 32);
    }
}

/* The bytes after the last whole word, low byte first. */
static uint64_t tail_word(const unsigned char *at, size_t size) {
    uint64_t word = 0;
    for (size_t i = 0; i < size; i++) {
        word |= (uint64_t)at[i] << 8 * i;
    }
    return word;
}

uint64_t td_siphash(const uint64_t key[2], const void *data, size_t size) {
    const unsigned char *at = data;
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    size_t words = size / 8;
    for (size_t i = 0; i <= words; i++) {
        uint64_t word = i < words ? load_le64(at + 8 * i)
                                  : tail_word(at + 8 * i, size % 8) | (uint64_t)size << 56;
        v[3] ^= word;
        sip_rounds(v, 2);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t td_hash64_legacy(const void *data, size_t size, uint64_t seed) {
    const uint64_t mul = UINT64_C(0xc6a4a7935bd1e995);
    const unsigned char *at = data;
    uint64_t h = seed ^ (size * mul);
    for (; size >= 8; size -= 8, at += 8) {
        uint64_t k = load_le64(at) * mul;
        k ^= k >> 47;
        h = (h ^ k * mul) * mul;
    }
    if (size > 0) {
        h = (h ^ tail_word(at, size)) * mul;
    }
    h = (h ^ (h >> 47)) * mul;
    return h ^ (h >> 47);
}

int td_decimal(int64_t value, char out[TD_DECIMAL_BYTES_MAX]) {
    char digits[TD_DECIMAL_BYTES_MAX];
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    int n = 0;
    do {
        digits[n++] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    int at = 0;
    if (value < 0) {
        out[at++] = '-';
    }
    while (n > 0) {
        out[at++] = digits[--n];
    }
    return at;
}
