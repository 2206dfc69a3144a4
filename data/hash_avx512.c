/* SPDX-License-Identifier: Apache-2.0
 * Fingerprints of the decimal digits of eight numbers at a time, without a branch for how many
 * digits they have: what one number at a time costs is mostly guessing that wrong.
 */
#include <immintrin.h>

#include "data/hash.h"

typedef __m512i lanes; /* eight 64-bit numbers */

static lanes all(uint64_t value) {
    return _mm512_set1_epi64((long long)value);
}

static lanes shift_mix(lanes value) {
    return _mm512_xor_si512(value, _mm512_srli_epi64(value, 47));
}

static lanes multiply(lanes a, lanes b) {
    return _mm512_mullo_epi64(a, b);
}

static lanes mix_two(lanes u, lanes v, lanes mul) {
    lanes a = shift_mix(multiply(_mm512_xor_si512(u, v), mul));
    return multiply(shift_mix(multiply(_mm512_xor_si512(v, a), mul)), mul);
}

/* K2 + 2 * size. */
static lanes factor(lanes size) {
    return _mm512_add_epi64(all(TD_FARMHASH_K2), _mm512_slli_epi64(size, 1));
}

static lanes hash_8_to_16(lanes first, lanes last, lanes size) {
    lanes mul = factor(size), a = _mm512_add_epi64(first, all(TD_FARMHASH_K2));
    lanes c = _mm512_add_epi64(multiply(_mm512_ror_epi64(last, 37), mul), a);
    lanes d = multiply(_mm512_add_epi64(_mm512_ror_epi64(a, 25), last), mul);
    return mix_two(c, d, mul);
}

static lanes hash_4_to_7(lanes first, lanes last, lanes size) {
    return mix_two(_mm512_add_epi64(size, _mm512_slli_epi64(first, 3)), last, factor(size));
}

static lanes hash_1_to_3(lanes first, lanes middle, lanes last, lanes size) {
    lanes y = _mm512_add_epi64(first, _mm512_slli_epi64(middle, 8));
    lanes z = _mm512_add_epi64(size, _mm512_slli_epi64(last, 2));
    lanes mixed =
        _mm512_xor_si512(multiply(y, all(TD_FARMHASH_K2)), multiply(z, all(TD_FARMHASH_K0)));
    return multiply(shift_mix(mixed), all(TD_FARMHASH_K2));
}

/* The 8 decimal digits of numbers below 10^8 as bytes from 0 to 9, the first one lowest: halves of
 * four digits, then of two, then of one. Each product stays in its part of the lane. */
static lanes eight_digits(lanes value) {
    lanes tens = _mm512_srli_epi64(_mm512_mul_epu32(value, all(0xD1B71759u)), 45); /* / 10000 */
    lanes rest = _mm512_sub_epi64(value, _mm512_mul_epu32(tens, all(10000)));
    lanes fours = _mm512_or_si512(tens, _mm512_slli_epi64(rest, 32));
    lanes high = _mm512_srli_epi32(_mm512_mullo_epi32(fours, _mm512_set1_epi32(10486)), 20);
    lanes low = _mm512_sub_epi32(fours, _mm512_mullo_epi32(high, _mm512_set1_epi32(100)));
    lanes twos = _mm512_or_si512(high, _mm512_slli_epi32(low, 16));
    high = _mm512_srli_epi16(_mm512_mullo_epi16(twos, _mm512_set1_epi16(103)), 10);
    low = _mm512_sub_epi16(twos, _mm512_mullo_epi16(high, _mm512_set1_epi16(10)));
    return _mm512_or_si512(high, _mm512_slli_epi16(low, 8));
}

/* Bits below the lowest byte that is not zero, of lanes that are not zero: the lowest set bit is a
 * power of two, whose exponent a double holds. */
static lanes zero_bytes(lanes digits) {
    lanes lowest = _mm512_and_si512(digits, _mm512_sub_epi64(_mm512_setzero_si512(), digits));
    lanes bits = _mm512_castpd_si512(_mm512_cvtepu64_pd(lowest));
    lanes place = _mm512_sub_epi64(_mm512_srli_epi64(bits, 52), all(1023));
    return _mm512_and_si512(place, all(~UINT64_C(7)));
}

static lanes of_low(lanes value, uint64_t mask) {
    return _mm512_and_si512(value, all(mask));
}

/* The numbers are in [0, 2^53), which doubles hold. */
static lanes fingerprints(lanes value) {
    const lanes zeros = all(UINT64_C(0x3030303030303030));
    /* The double 1e-8 is above 10^-8 by 2.1e-17 of it, so no quotient comes out too small; and one
     * below 2^27 stays more than half a step, 0.75e-8, below the next whole number: 1e-8 less 9.1e7
     * times 2.1e-17. */
    lanes above =
        _mm512_cvttpd_epu64(_mm512_mul_pd(_mm512_cvtepu64_pd(value), _mm512_set1_pd(1e-8)));
    lanes below = _mm512_sub_epi64(value, _mm512_mul_epu32(above, all(100000000)));
    lanes high = eight_digits(above), low = eight_digits(below);
    lanes last = _mm512_add_epi64(low, zeros);
    __mmask8 wide = _mm512_test_epi64_mask(above, above);
    /* 16 digits less the zeros in front; of up to 8 digits the upper half is all zeros. */
    lanes skip = _mm512_mask_mov_epi64(all(64), wide, zero_bytes(high));
    lanes first = _mm512_or_si512(_mm512_srlv_epi64(_mm512_add_epi64(high, zeros), skip),
                                  _mm512_sllv_epi64(last, _mm512_sub_epi64(all(64), skip)));
    lanes size = _mm512_sub_epi64(all(16), _mm512_srli_epi64(skip, 3));
    lanes out = hash_8_to_16(first, last, size);
    /* Fewer than 8: zero itself has one digit. */
    __mmask8 some = _mm512_test_epi64_mask(low, low);
    skip = _mm512_mask_mov_epi64(all(56), some, zero_bytes(low));
    size = _mm512_sub_epi64(all(8), _mm512_srli_epi64(skip, 3));
    lanes digits = _mm512_srlv_epi64(last, skip);
    __mmask8 small = (__mmask8)(~wide & _mm512_cmplt_epi64_mask(size, all(8)));
    __mmask8 tiny = _mm512_cmplt_epi64_mask(size, all(4));
    lanes middle = _mm512_srlv_epi64(digits, _mm512_slli_epi64(_mm512_srli_epi64(size, 1), 3));
    lanes seven = hash_4_to_7(of_low(digits, 0xffffffff), _mm512_srli_epi64(last, 32), size);
    lanes three =
        hash_1_to_3(of_low(digits, 0xff), of_low(middle, 0xff), _mm512_srli_epi64(last, 56), size);
    return _mm512_mask_mov_epi64(out, small, _mm512_mask_mov_epi64(seven, tiny, three));
}

void td_fingerprints_int__avx512(const int64_t *values, int64_t n, uint64_t *out) {
    enum { LANES = 8, DOUBLE_BITS = 53 };
    for (int64_t i = 0; i < n; i += LANES) {
        __mmask8 there = n - i >= LANES ? 0xff : (__mmask8)((1u << (n - i)) - 1);
        lanes value = _mm512_maskz_loadu_epi64(there, values + i);
        /* Negative ones have their highest bit set. */
        if (_mm512_test_epi64_mask(value, all(~UINT64_C(0) << DOUBLE_BITS)) == 0) {
            _mm512_mask_storeu_epi64(out + i, there, fingerprints(value));
            continue;
        }
        for (int64_t j = i; j < n && j < i + LANES; j++) {
            out[j] = td_fingerprint64_int(values[j]);
        }
    }
}
