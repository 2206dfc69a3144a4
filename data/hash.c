/* SPDX-License-Identifier: Apache-2.0 */
#include "data/hash.h"

#include <string.h>

#include "base/cpu.h"

/* util::Fingerprint64(const char *, size_t) of libfarmhash, by its C++ name: the library has no C
 * interface, and a function of plain arguments is called alike in both languages. */
uint64_t td_farmhash(const char *data, size_t size) __asm__("_ZN4util13Fingerprint64EPKcm");

static const uint64_t K0 = TD_FARMHASH_K0, K2 = TD_FARMHASH_K2;

static uint64_t shift_mix(uint64_t value) {
    return value ^ (value >> 47);
}

static uint64_t rotate_right(uint64_t value, int bits) {
    return value >> bits | value << (64 - bits);
}

static uint64_t mix_two(uint64_t u, uint64_t v, uint64_t mul) {
    uint64_t a = shift_mix((u ^ v) * mul);
    return shift_mix((v ^ a) * mul) * mul;
}

/* What farmhash does with 8 to 16, 4 to 7 and 1 to 3 bytes: here, so that short strings cost no
 * call and numbers need not be written to memory; a test compares it with the library. first and
 * last: the first and last 8, or 4, bytes. */
static uint64_t hash_8_to_16(uint64_t first, uint64_t last, size_t size) {
    uint64_t mul = K2 + size * 2, a = first + K2;
    uint64_t c = rotate_right(last, 37) * mul + a;
    return mix_two(c, (rotate_right(a, 25) + last) * mul, mul);
}

static uint64_t hash_4_to_7(uint32_t first, uint32_t last, size_t size) {
    return mix_two(size + ((uint64_t)first << 3), last, K2 + size * 2);
}

static uint64_t hash_1_to_3(uint8_t first, uint8_t middle, uint8_t last, size_t size) {
    uint32_t y = first + ((uint32_t)middle << 8), z = (uint32_t)size + ((uint32_t)last << 2);
    return shift_mix(y * K2 ^ z * K0) * K2;
}

uint64_t td_fingerprint64(const void *data, size_t size) {
    const uint8_t *at = data;
    if (size >= 8 && size <= 16) {
        uint64_t first, last;
        memcpy(&first, at, sizeof first);
        memcpy(&last, at + size - 8, sizeof last);
        return hash_8_to_16(first, last, size);
    }
    if (size >= 4 && size < 8) {
        uint32_t first, last;
        memcpy(&first, at, sizeof first);
        memcpy(&last, at + size - 4, sizeof last);
        return hash_4_to_7(first, last, size);
    }
    if (size > 0 && size < 4) {
        return hash_1_to_3(at[0], at[size / 2], at[size - 1], size);
    }
    return td_farmhash(size == 0 ? "" : data, size);
}

/* The 8 decimal digits of a number below 10^8 as bytes from 0 to 9, the first one lowest. */
static uint64_t eight_digits(uint64_t value) {
    uint64_t fours = value / 10000 | value % 10000 << 32;
    uint64_t high = fours * 10486 >> 20 & UINT64_C(0x0000007f0000007f);
    uint64_t twos = high | (fours - high * 100) << 16;
    high = twos * 103 >> 10 & UINT64_C(0x000f000f000f000f);
    return high | (twos - high * 10) << 8;
}

/* Digits that were just written byte by byte cannot be read in one go before they have left the
 * store buffer, which took longer than the hash. */
uint64_t td_fingerprint64_int(int64_t value) {
    const uint64_t zeros = UINT64_C(0x3030303030303030);
    if (value < 0 || value >= INT64_C(10000000000000000)) {
        char digits[TD_DECIMAL_BYTES_MAX];
        return td_fingerprint64(digits, (size_t)td_decimal(value, digits));
    }
    uint64_t low = eight_digits((uint64_t)value % 100000000), last = low + zeros;
    if (value >= 100000000) {
        uint64_t high = eight_digits((uint64_t)value / 100000000);
        int skip = __builtin_ctzll(high) / 8 * 8; /* bits of leading zeros, below 64 */
        uint64_t first = (high + zeros) >> skip;
        return hash_8_to_16(skip == 0 ? first : first | last << (64 - skip), last,
                            (size_t)(16 - skip / 8));
    }
    int skip = low == 0 ? 56 : __builtin_ctzll(low) / 8 * 8;
    size_t size = (size_t)(8 - skip / 8);
    uint64_t digits = last >> skip;
    return size == 8  ? hash_8_to_16(digits, digits, size)
           : size > 3 ? hash_4_to_7((uint32_t)digits, (uint32_t)(last >> 32), size)
                      : hash_1_to_3((uint8_t)digits, (uint8_t)(digits >> 8 * (size / 2)),
                                    (uint8_t)(last >> 56), size);
}

void td_fingerprints_int(const int64_t *values, int64_t n, uint64_t *out) {
    td_isa isa;
    if (td_isa_active(&isa) == TD_OK && isa >= TD_ISA_AVX512) {
        td_fingerprints_int__avx512(values, n, out);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        out[i] = td_fingerprint64_int(values[i]);
    }
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

/* Two digits a division, from the end. */
int td_decimal(int64_t value, char out[TD_DECIMAL_BYTES_MAX]) {
    static const char pairs[] = "0001020304050607080910111213141516171819"
                                "2021222324252627282930313233343536373839"
                                "4041424344454647484950515253545556575859"
                                "6061626364656667686970717273747576777879"
                                "8081828384858687888990919293949596979899";
    char digits[2 * TD_DECIMAL_BYTES_MAX] = {0};
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    int at = TD_DECIMAL_BYTES_MAX;
    for (; left >= 100; left /= 100) {
        at -= 2;
        memcpy(digits + at, pairs + 2 * (left % 100), 2);
    }
    if (left >= 10) {
        at -= 2;
        memcpy(digits + at, pairs + 2 * left, 2);
    } else {
        digits[--at] = (char)('0' + left);
    }
    if (value < 0) {
        digits[--at] = '-';
    }
    memcpy(out, digits + at, TD_DECIMAL_BYTES_MAX); /* a fixed size is one move */
    return TD_DECIMAL_BYTES_MAX - at;
}
