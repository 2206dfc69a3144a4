/* SPDX-License-Identifier: Apache-2.0
 * Short strings and numbers, which are hashed here, against the library that defines the hash.
 */
#include "data/hash.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"

/* util::Fingerprint64(const char *, size_t) of libfarmhash. */
uint64_t library_fingerprint(const char *data, size_t size) __asm__("_ZN4util13Fingerprint64EPKcm");

Test(hash, strings_of_every_short_length) {
    td_rng rng = td_rng_make(1, TD_PURPOSE_TEST, 0);
    for (size_t size = 0; size <= 40; size++) {
        for (int i = 0; i < 500; i++) {
            char text[40];
            for (size_t k = 0; k < size; k++) {
                text[k] = (char)td_rng_u32(&rng);
            }
            cr_assert_eq(td_fingerprint64(text, size), library_fingerprint(text, size), "%zu bytes",
                         size);
        }
    }
}

static void check_number(int64_t value) {
    char text[24], digits[TD_DECIMAL_BYTES_MAX];
    size_t size = (size_t)snprintf(text, sizeof text, "%" PRId64, value);
    cr_assert_eq((size_t)td_decimal(value, digits), size);
    cr_assert_arr_eq(digits, text, size);
    cr_assert_eq(td_fingerprint64_int(value), library_fingerprint(text, size), "%s", text);
}

Test(hash, numbers_of_every_length) {
    td_rng rng = td_rng_make(2, TD_PURPOSE_TEST, 0);
    for (int64_t value = 0; value < 20000; value++) {
        check_number(value);
        check_number(-value);
    }
    int64_t power = 1;
    for (int digits = 0; digits < 18; digits++, power *= 10) {
        check_number(power - 1);
        check_number(power);
        check_number(power + 1);
    }
    for (int i = 0; i < 200000; i++) {
        check_number((int64_t)td_rng_u64(&rng) >> td_rng_below(&rng, 64));
    }
    check_number(INT64_MAX);
    check_number(INT64_MIN);
}

/* Numbers of every length in every lane, next to others, against one at a time. */
Test(hash, many_numbers_at_once) {
    enum { N = 4099 };
    static int64_t values[N];
    static uint64_t out[N];
    td_rng rng = td_rng_make(3, TD_PURPOSE_TEST, 0);
    for (int round = 0; round < 60; round++) {
        int64_t power = 1;
        for (int64_t i = 0; i < N;
             i++, power = power >= INT64_C(1000000000000000) ? 1 : power * 10) {
            int64_t any = (int64_t)(td_rng_u64(&rng) >> (11 + td_rng_below(&rng, 53)));
            values[i] = round % 3 == 0   ? any
                        : round % 3 == 1 ? power - 2 + (int64_t)td_rng_below(&rng, 4)
                                         : any / 100000000 * 100000000 - (int64_t)(i % 2);
        }
        /* Some that go one at a time: too large, or with a sign. */
        values[round] = round % 2 == 0 ? INT64_MIN + round : (INT64_C(1) << 53) - 1 + round % 4;
        int64_t n = N - round;
        td_fingerprints_int(values, n, out);
        for (int64_t i = 0; i < n; i++) {
            cr_assert_eq(out[i], td_fingerprint64_int(values[i]), "%" PRId64, values[i]);
        }
        td_fingerprints_int(values, n, (uint64_t *)values);
        cr_assert_arr_eq(values, out, (size_t)n * sizeof *out);
    }
}

/* Every divisor's reciprocal against the division itself. */
Test(hash, remainders) {
    static const uint64_t by[] = {1,
                                  2,
                                  3,
                                  7,
                                  10,
                                  1000,
                                  1024,
                                  999983,
                                  (1u << 31) - 1,
                                  UINT64_C(1) << 32,
                                  6700417,
                                  INT64_MAX,
                                  UINT64_C(1) << 63,
                                  UINT64_MAX - 1,
                                  UINT64_MAX};
    td_rng rng = td_rng_make(9, TD_PURPOSE_TEST, 0);
    for (size_t i = 0; i < sizeof by / sizeof by[0]; i++) {
        td_divisor divisor = td_divisor_of(by[i]);
        for (int64_t j = 0; j < 20000; j++) {
            /* Around multiples, where an estimate is wrong first, at both ends, and anywhere. */
            uint64_t any = td_rng_u64(&rng), multiple = any / by[i] * by[i];
            const uint64_t values[] = {any,          multiple,    multiple - 1,
                                       multiple + 1, (uint64_t)j, UINT64_MAX - (uint64_t)j};
            for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
                cr_assert_eq(td_remainder(values[v], divisor), values[v] % by[i], "%llu mod %llu",
                             (unsigned long long)values[v], (unsigned long long)by[i]);
            }
        }
    }
}
