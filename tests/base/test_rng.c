/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <math.h>

#include "base/memory.h"
#include "base/rng.h"

/* Known answers published with Random123 for philox4x32-10. */
Test(rng, philox_known_answers) {
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } rows[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t out[4];
        td_philox(rows[i].counter, rows[i].key, out);
        cr_assert_arr_eq(out, rows[i].out, sizeof out);
    }
}

Test(rng, streams_differ_by_seed_purpose_and_id) {
    td_rng a = td_rng_make(1, TD_PURPOSE_TEST, 5), b = td_rng_make(2, TD_PURPOSE_TEST, 5);
    td_rng c = td_rng_make(1, TD_PURPOSE_INIT, 5), d = td_rng_make(1, TD_PURPOSE_TEST, 6);
    td_rng again = td_rng_make(1, TD_PURPOSE_TEST, 5);
    uint64_t first = td_rng_u64(&a);
    cr_assert_eq(first, td_rng_u64(&again));
    cr_assert_neq(first, td_rng_u64(&b));
    cr_assert_neq(first, td_rng_u64(&c));
    cr_assert_neq(first, td_rng_u64(&d));
}

Test(rng, moments_are_right) {
    enum { N = 200000 };
    td_rng rng = td_rng_make(3, TD_PURPOSE_TEST, 0);
    double mean = 0, second = 0, fourth = 0, uniform = 0;
    for (int i = 0; i < N; i++) {
        double x = td_rng_normal(&rng);
        mean += x / N;
        second += x * x / N;
        fourth += x * x * x * x / N;
        uniform += td_rng_uniform(&rng) / N;
    }
    /* Five standard errors each: 1, sqrt 2, sqrt 96 and sqrt(1/12) over sqrt N. */
    cr_assert_float_eq(mean, 0, 5 * 1 / sqrt(N));
    cr_assert_float_eq(second, 1, 5 * sqrt(2) / sqrt(N));
    cr_assert_float_eq(fourth, 3, 5 * sqrt(96) / sqrt(N));
    cr_assert_float_eq(uniform, 0.5, 5 * sqrt(1.0 / 12) / sqrt(N));
}

Test(rng, below_is_uniform) {
    enum { BOUND = 7, N = 70000 };
    int64_t count[BOUND] = {0};
    td_rng rng = td_rng_make(4, TD_PURPOSE_TEST, 0);
    for (int i = 0; i < N; i++) {
        uint64_t draw = td_rng_below(&rng, BOUND);
        cr_assert_lt(draw, BOUND);
        count[draw]++;
    }
    for (int i = 0; i < BOUND; i++) {
        cr_assert_float_eq((double)count[i], N / BOUND, 5 * sqrt(N / BOUND));
    }
}

Test(rng, permutation_is_a_bijection_and_mixes) {
    static const uint64_t counts[] = {1, 2, 3, 4, 5, 16, 17, 1000, 4096, 8101};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        char *seen = td_alloc_zero(counts[c]);
        uint64_t fixed = 0;
        for (uint64_t i = 0; i < counts[c]; i++) {
            uint64_t to = td_rng_permute(9, TD_PURPOSE_SHUFFLE, counts[c], i);
            cr_assert_lt(to, counts[c]);
            cr_assert_eq(seen[to], 0, "%lu hit twice of %lu", to, counts[c]);
            seen[to] = 1;
            fixed += to == i;
        }
        cr_assert(counts[c] < 1000 || fixed < 12, "%lu fixed points; one is expected", fixed);
        td_free(seen);
    }
    cr_assert_neq(td_rng_permute(9, TD_PURPOSE_SHUFFLE, 8101, 77),
                  td_rng_permute(10, TD_PURPOSE_SHUFFLE, 8101, 77));
}
