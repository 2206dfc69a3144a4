/* SPDX-License-Identifier: Apache-2.0 */
#include "data/crc32c.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "base/memory.h"
#include "base/rng.h"
#include "tests/data/recorded_cases.h"

typedef struct row {
    const char *name;
    td_crc32c_need need;
    td_crc32c_fn *crc;
} row;

#define ROW(name, need, function) {#name, need, function},
static const row rows[] = {TD_CRC32C_MAP(ROW)};

/* Parameters cross an exec, which moves addresses: they are row numbers, never pointers. */
enum { N_ROWS = sizeof rows / sizeof rows[0] };
static int row_numbers[N_ROWS];

static struct criterion_test_params all_rows(void) {
    for (int i = 0; i < N_ROWS; i++) {
        row_numbers[i] = i;
    }
    return cr_make_param_array(int, row_numbers, N_ROWS);
}

ParameterizedTestParameters(crc32c, published_vectors) {
    return all_rows();
}

/* RFC 3720 appendix B.4 and the check value of the polynomial. */
ParameterizedTest(int *number, crc32c, published_vectors) {
    const row *param = &rows[*number];
    if (!td_crc32c_runs(param->need)) {
        cr_skip_test("%s does not run here", param->name);
    }
    uint8_t bytes[48] = {0};
    cr_expect_eq(param->crc(bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, 32);
    cr_expect_eq(param->crc(bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)i;
    }
    cr_expect_eq(param->crc(bytes, 32), 0x46dd794eu);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    cr_expect_eq(param->crc(bytes, 32), 0x113fdb5cu);
    const uint8_t command[48] = {
        0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, 0x28, [40] = 0x02};
    cr_expect_eq(param->crc(command, 48), 0xd9963a56u);
    cr_expect_eq(param->crc("123456789", 9), 0xe3069283u);
    cr_expect_eq(param->crc("a", 1), 0xc1d04330u);
    cr_expect_eq(param->crc(NULL, 0), 0u);
}

/* The definition, one bit at a time: shares nothing with the rows. */
static uint32_t crc_by_bits(const uint8_t *bytes, size_t size) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            uint32_t in = (uint32_t)(bytes[i] >> bit) & 1u;
            crc = ((crc ^ in) & 1u) != 0 ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
        }
    }
    return ~crc;
}

ParameterizedTestParameters(crc32c, every_length_and_alignment) {
    return all_rows();
}

ParameterizedTest(int *number, crc32c, every_length_and_alignment) {
    const row *param = &rows[*number];
    if (!td_crc32c_runs(param->need)) {
        cr_skip_test("%s does not run here", param->name);
    }
    enum { MAX = 2300 };
    uint8_t *bytes = td_alloc(MAX + 8);
    td_rng rng = td_rng_make(3, TD_PURPOSE_TEST, 0);
    for (int i = 0; i < MAX + 8; i++) {
        bytes[i] = (uint8_t)td_rng_u32(&rng);
    }
    for (size_t size = 0; size <= MAX; size += size < 330 ? 1 : 97) {
        for (size_t shift = 0; shift < 8; shift++) {
            cr_assert_eq(param->crc(bytes + shift, size), crc_by_bits(bytes + shift, size),
                         "%s, %zu bytes at +%zu", param->name, size, shift);
        }
    }
    td_free(bytes);
}

Test(crc32c, shift_table_is_powers_of_x) {
    for (uint64_t n = 5; n < 64; n++) {
        cr_expect_eq(td_crc32c_shift[n], td_crc32c_power(8 * n - 33), "%d bytes", (int)n);
    }
}

Test(crc32c, masking) {
    cr_expect_eq(td_crc32c_mask(0), 0xa282ead8u);
    cr_expect_eq(td_crc32c_mask(td_crc32c("foo", 3)), 0xfebe8a61u);
    cr_expect_eq(td_crc32c_mask(td_crc32c("hello world", 11)), 0x6dd87e00u);
    cr_expect_eq(td_crc32c_mask(td_crc32c("\x1a\x11"
                                          "CRC test, one two",
                                          19)),
                 0x5794d08au);
    cr_expect_eq(td_crc32c_mask(td_crc32c("Testing without index\n", 22)), 0x668b4327u);
    td_rng rng = td_rng_make(4, TD_PURPOSE_TEST, 0);
    for (int i = 0; i < 1000; i++) {
        uint32_t crc = td_rng_u32(&rng);
        cr_assert_eq(td_crc32c_unmask(td_crc32c_mask(crc)), crc);
    }
}

static uint32_t hex_u32(const json_t *text) {
    return (uint32_t)strtoul(json_string_value(text), NULL, 16);
}

Test(crc32c, recorded_cases) {
    json_t *cases = recorded_cases("crc32c"), *one;
    size_t i, size;
    json_array_foreach(cases, i, one) {
        const json_t *expected = json_object_get(one, "expected");
        uint8_t *bytes =
            recorded_bytes(json_object_get(json_object_get(one, "input"), "data"), &size);
        for (int r = 0; r < N_ROWS; r++) {
            if (!td_crc32c_runs(rows[r].need)) {
                continue;
            }
            uint32_t crc = rows[r].crc(bytes, size);
            cr_expect_eq(crc, hex_u32(json_object_get(expected, "crc32c")));
            cr_expect_eq(td_crc32c_mask(crc), hex_u32(json_object_get(expected, "masked")));
        }
        td_free(bytes);
    }
    json_decref(cases);
}
