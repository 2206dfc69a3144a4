/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/data/recorded_cases.h"

#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"

json_t *recorded_cases(const char *op) {
    json_error_t error;
    json_t *file = json_load_file(TD_GOLDEN "/tensorflow.json", 0, &error);
    cr_assert_not_null(file, "tensorflow.json: %s", error.text);
    json_t *found = json_array();
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(file, "cases"), i, item) {
        if (strcmp(json_string_value(json_object_get(item, "op")), op) == 0) {
            json_array_append(found, item);
        }
    }
    json_decref(file);
    cr_assert_gt(json_array_size(found), 0, "no case of %s", op);
    return found;
}

static unsigned hex_digit(char digit) {
    const char *digits = "0123456789abcdef";
    const char *at = strchr(digits, digit);
    cr_assert(at != NULL && digit != '\0', "not a hex digit: %c", digit);
    return (unsigned)(at - digits);
}

static uint8_t *generate(const json_t *data, size_t *size) {
    const char *generator = json_string_value(json_object_get(data, "generator"));
    cr_assert_str_eq(generator, "lcg");
    uint64_t x = (uint64_t)json_integer_value(json_object_get(data, "seed"));
    *size = (size_t)json_integer_value(json_object_get(data, "length"));
    uint8_t *bytes = td_alloc(*size);
    for (size_t i = 0; i < *size; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (uint8_t)(x >> 56);
    }
    return bytes;
}

uint8_t *recorded_bytes(const json_t *data, size_t *size) {
    if (!json_is_string(data)) {
        return generate(data, size);
    }
    const char *hex = json_string_value(data);
    *size = strlen(hex) / 2;
    uint8_t *bytes = td_alloc(*size);
    for (size_t i = 0; i < *size; i++) {
        bytes[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    }
    return bytes;
}
