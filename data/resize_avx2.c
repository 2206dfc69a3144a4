/* SPDX-License-Identifier: Apache-2.0
 * Both passes on 16-bit products. A weight w of 23 bits is w = upper * 2^11 + lower, both of which
 * fit 16 bits; the instruction that adds two products of 16 bits takes two inputs at once, and
 * 2^11 * (sum of upper products) + (sum of lower products) is the sum itself, as none overflows:
 * upper sums stay below 2^21, lower ones below 255 * 2^11 * taps.
 */
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "data/resize_pass.h"

enum { LOW_BITS = 11, LOW_MASK = (1 << LOW_BITS) - 1, GROUP = 4, ABREAST = 4 };

/* Two weights side by side, for two inputs side by side. */
static int32_t pair_of(int32_t first, int32_t second) {
    return (int32_t)((uint32_t)(first & 0xFFFF) | (uint32_t)second << 16);
}

/* Sums to bytes: 16-bit saturation first, which keeps what is out of range out of range. */
static __m256i levels(__m256i upper, __m256i lower) {
    const __m256i half = _mm256_set1_epi32(1 << (TD_RESIZE_BITS - 1));
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(upper, LOW_BITS), lower);
    return _mm256_srai_epi32(_mm256_add_epi32(sum, half), TD_RESIZE_BITS);
}

/* The two halves of a added up, and those of b beside them. */
static __m256i joined(__m256i a, __m256i b) {
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                            _mm256_permute2x128_si256(a, b, 0x31));
}

/* Of 12 bytes, four pixels, in both halves: the red, green and blue of pixels 0 and 1 as pairs of
 * 16 bits in one half, of 2 and 3 in the other. */
static __m256i pixel_pairs(const unsigned char *at) {
    const __m256i places =
        _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7,
                         -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    __m128i pixels = _mm_loadu_si128((const __m128i *)at);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(pixels), places);
}

/* One output pixel of ABREAST rows; `lines` are their first inputs. */
static void column(const unsigned char *const lines[ABREAST], const int32_t *weights, int64_t n,
                   int32_t out[ABREAST]) {
    __m256i upper[ABREAST], lower[ABREAST];
    for (int r = 0; r < ABREAST; r++) {
        upper[r] = lower[r] = _mm256_setzero_si256();
    }
    for (int64_t x = 0; x < n; x += GROUP) {
        __m128i w = _mm_loadu_si128((const __m128i *)(weights + x));
        /* Pairs of the upper parts in the low half, of the lower ones in the high half. */
        __m128i split = _mm_packs_epi32(_mm_srai_epi32(w, LOW_BITS),
                                        _mm_and_si128(w, _mm_set1_epi32(LOW_MASK)));
        __m256i both = _mm256_castsi128_si256(split);
        __m256i high = _mm256_permutevar8x32_epi32(both, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
        __m256i low = _mm256_permutevar8x32_epi32(both, _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3));
        for (int r = 0; r < ABREAST; r++) {
            __m256i pixels = pixel_pairs(lines[r] + 3 * x);
            upper[r] = _mm256_add_epi32(upper[r], _mm256_madd_epi16(pixels, high));
            lower[r] = _mm256_add_epi32(lower[r], _mm256_madd_epi16(pixels, low));
        }
    }
    /* Both halves joined; two rows side by side from here on. */
    __m256i first = levels(joined(upper[0], upper[1]), joined(lower[0], lower[1]));
    __m256i second = levels(joined(upper[2], upper[3]), joined(lower[2], lower[3]));
    __m256i words = _mm256_packs_epi32(first, second);
    __m256i bytes = _mm256_packus_epi16(words, words);
    out[0] = _mm256_extract_epi32(bytes, 0);
    out[1] = _mm256_extract_epi32(bytes, 4);
    out[2] = _mm256_extract_epi32(bytes, 1);
    out[3] = _mm256_extract_epi32(bytes, 5);
}

/* The rows named; rows that are not there are one row twice. */
static void columns_of(const unsigned char *const rows[ABREAST], const td_resize_axis *a,
                       unsigned char *const out[ABREAST]) {
    for (int64_t i = 0; i < a->count; i++) {
        const unsigned char *at[ABREAST];
        int32_t pixel[ABREAST];
        for (int r = 0; r < ABREAST; r++) {
            at[r] = rows[r] + 3 * a->spans[i].first;
        }
        column(at, a->weights + i * a->stride, a->spans[i].n, pixel);
        for (int r = 0; r < ABREAST; r++) {
            /* Four bytes at a time: the last is overwritten by the next pixel. */
            memcpy(out[r] + 3 * i, &pixel[r], i + 1 < a->count ? 4 : 3);
        }
    }
}

/* Vectors read up to 13 bytes behind the last input, so the last row is read from a copy. Rows
 * shorter than that would need several. */
void td_resize_columns__avx2(const unsigned char *in, int64_t width, int64_t rows,
                             const td_resize_axis *a, unsigned char *out, unsigned char *line) {
    int64_t in_bytes = 3 * width, out_bytes = 3 * a->count;
    if (in_bytes < TD_RESIZE_PADDING) {
        td_resize_columns__portable(in, width, rows, a, out, line);
        return;
    }
    memcpy(line, in + (rows - 1) * in_bytes, (size_t)in_bytes);
    memset(line + in_bytes, 0, TD_RESIZE_PADDING);
    for (int64_t y = 0; y < rows; y += ABREAST) {
        const unsigned char *from[ABREAST];
        unsigned char *to[ABREAST];
        for (int r = 0; r < ABREAST; r++) {
            int64_t row = y + r < rows ? y + r : rows - 1;
            from[r] = row + 1 < rows ? in + row * in_bytes : line;
            to[r] = out + row * out_bytes;
        }
        columns_of(from, a, to);
    }
}

/* 32 columns from `taps` lines: eight vectors of sums, kept in registers. */
static void row_block(const unsigned char *lines, int64_t line_bytes, const int32_t *weights,
                      int64_t taps, unsigned char *out) {
    __m256i upper[4], lower[4];
    const __m256i zero = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++) {
        upper[i] = lower[i] = zero;
    }
    for (int64_t y = 0; y < taps; y += 2) {
        /* A line that is missing is the last one again, with a weight of zero. */
        bool two = y + 1 < taps;
        const unsigned char *first = lines + y * line_bytes;
        const unsigned char *second = two ? first + line_bytes : first;
        int32_t w0 = weights[y], w1 = two ? weights[y + 1] : 0;
        __m256i high = _mm256_set1_epi32(pair_of(w0 >> LOW_BITS, w1 >> LOW_BITS));
        __m256i low = _mm256_set1_epi32(pair_of(w0 & LOW_MASK, w1 & LOW_MASK));
        __m256i a = _mm256_loadu_si256((const __m256i *)first);
        __m256i b = _mm256_loadu_si256((const __m256i *)second);
        __m256i even = _mm256_unpacklo_epi8(a, b), odd = _mm256_unpackhi_epi8(a, b);
        __m256i pairs[4] = {_mm256_unpacklo_epi8(even, zero), _mm256_unpackhi_epi8(even, zero),
                            _mm256_unpacklo_epi8(odd, zero), _mm256_unpackhi_epi8(odd, zero)};
        for (int i = 0; i < 4; i++) {
            upper[i] = _mm256_add_epi32(upper[i], _mm256_madd_epi16(pairs[i], high));
            lower[i] = _mm256_add_epi32(lower[i], _mm256_madd_epi16(pairs[i], low));
        }
    }
    for (int i = 0; i < 4; i++) {
        upper[i] = levels(upper[i], lower[i]);
    }
    /* Packing interleaves within halves as unpacking did. */
    __m256i left = _mm256_packs_epi32(upper[0], upper[1]);
    __m256i right = _mm256_packs_epi32(upper[2], upper[3]);
    _mm256_storeu_si256((__m256i *)out, _mm256_packus_epi16(left, right));
}

void td_resize_rows__avx2(const unsigned char *lines, int64_t row, int64_t line_bytes,
                          const td_resize_axis *a, unsigned char *out) {
    enum { BLOCK = 32 };
    if (line_bytes < BLOCK) {
        td_resize_rows__portable(lines, row, line_bytes, a, out);
        return;
    }
    for (int64_t i = 0; i < a->count; i++) {
        const unsigned char *from = lines + line_bytes * (a->spans[i].first - row);
        const int32_t *weights = a->weights + i * a->stride;
        for (int64_t x = 0; x < line_bytes; x += BLOCK) {
            int64_t at = x + BLOCK <= line_bytes ? x : line_bytes - BLOCK; /* some twice */
            row_block(from + at, line_bytes, weights, a->spans[i].n, out + i * line_bytes + at);
        }
    }
}
