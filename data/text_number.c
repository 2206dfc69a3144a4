/* SPDX-License-Identifier: Apache-2.0 */
#include "data/text_number.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/hash.h"
#include "data/tf_error.h"

static int format_one(const td_tensor *values, int64_t i, char *out, size_t bytes) {
    if (values->dtype == TD_ELEMENT_BOOL) {
        return snprintf(out, bytes, "%s", td_tensor_int(values, i) ? "true" : "false");
    }
    if (values->dtype == TD_ELEMENT_FLOAT32 || values->dtype == TD_ELEMENT_FLOAT64) {
        return snprintf(out, bytes, "%f", td_tensor_real(values, i));
    }
    return td_decimal(td_tensor_int(values, i), out);
}

td_status td_as_string(const td_tensor *values, td_pool *pool, td_tensor *out) {
    if (values->dtype == TD_ELEMENT_BYTES) {
        *out = *values;
        return TD_OK;
    }
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_BYTES, values->rank, values->shape, out));
    for (int64_t i = 0; i < values->count; i++) {
        char text[400];
        int n = format_one(values, i, text, sizeof text);
        const uint8_t *copy = td_pool_copy(pool, text, (size_t)n);
        if (copy == NULL) {
            return td_tf_no_memory("numbers as text");
        }
        ((td_span *)out->data)[i] = (td_span){copy, (size_t)n};
    }
    return TD_OK;
}

static bool is_blank(uint8_t byte) {
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/* The digits, with blanks around them taken off, and a NUL. */
static bool trimmed(td_span text, char *out, size_t bytes) {
    size_t start = 0, end = text.size;
    while (start < end && is_blank(text.data[start])) {
        start++;
    }
    while (end > start && is_blank(text.data[end - 1])) {
        end--;
    }
    if (start == end || end - start >= bytes || memchr(text.data, '\0', text.size) != NULL) {
        return false;
    }
    memcpy(out, text.data + start, end - start);
    out[end - start] = '\0';
    return true;
}

static bool parse_real(const char *text, td_element_type dtype, void *out) {
    char *end;
    if (dtype == TD_ELEMENT_FLOAT32) {
        *(float *)out = strtof(text, &end);
    } else {
        *(double *)out = strtod(text, &end);
    }
    return end != text && *end == '\0';
}

static bool parse_int(const char *text, td_element_type dtype, void *out) {
    const char *digits = text + (text[0] == '-' || text[0] == '+');
    if (*digits < '0' || *digits > '9') {
        return false;
    }
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    bool ok = errno == 0 && *end == '\0';
    if (dtype == TD_ELEMENT_INT32) {
        ok = ok && value >= INT32_MIN && value <= INT32_MAX;
        *(int32_t *)out = (int32_t)value;
    } else {
        *(int64_t *)out = value;
    }
    return ok;
}

td_status td_to_number(td_span text, td_element_type dtype, void *out) {
    char digits[1024];
    bool real = dtype == TD_ELEMENT_FLOAT32 || dtype == TD_ELEMENT_FLOAT64;
    bool ok = trimmed(text, digits, sizeof digits) &&
              (real ? parse_real(digits, dtype, out) : parse_int(digits, dtype, out));
    return ok ? TD_OK
              : td_tf_fail(TD_TF_INVALID_ARGUMENT,
                           "StringToNumberOp could not correctly convert string: %.*s",
                           (int)(text.size < 200 ? text.size : 200), (const char *)text.data);
}

/* Out of range is the smallest integer, as the processor's conversion gives it. */
static int64_t real_to_int(double value) {
    return value >= -9223372036854775808.0 && value < 9223372036854775808.0 ? (int64_t)value
                                                                            : INT64_MIN;
}

static void cast_one(const td_tensor *values, int64_t i, td_tensor *out) {
    bool real = values->dtype == TD_ELEMENT_FLOAT32 || values->dtype == TD_ELEMENT_FLOAT64;
    double x = !real                                 ? 0
               : values->dtype == TD_ELEMENT_FLOAT32 ? td_flush_float(((float *)values->data)[i])
                                                     : td_flush_double(((double *)values->data)[i]);
    int64_t n = real ? real_to_int(x) : td_tensor_int(values, i);
    switch (out->dtype) {
    case TD_ELEMENT_FLOAT32:
        ((float *)out->data)[i] = real ? td_flush_float((float)x) : (float)n;
        break;
    case TD_ELEMENT_FLOAT64:
        ((double *)out->data)[i] = real ? x : (double)n;
        break;
    case TD_ELEMENT_INT32:
        ((int32_t *)out->data)[i] =
            real ? (x > -2147483649.0 && x < 2147483648.0 ? (int32_t)x : INT32_MIN) : (int32_t)n;
        break;
    case TD_ELEMENT_INT64:
        ((int64_t *)out->data)[i] = n;
        break;
    case TD_ELEMENT_UINT8:
        ((uint8_t *)out->data)[i] = (uint8_t)n;
        break;
    default:
        ((bool *)out->data)[i] = real ? x != 0 : n != 0;
    }
}

td_status td_cast(const td_tensor *values, td_element_type to, td_pool *pool, td_tensor *out) {
    if (values->dtype == to) {
        *out = *values;
        return TD_OK;
    }
    if (values->dtype == TD_ELEMENT_BYTES || to == TD_ELEMENT_BYTES || to == TD_ELEMENT_NONE) {
        return td_tf_fail(TD_TF_UNIMPLEMENTED, "Cast %s to %s is not supported",
                          td_element_tf(values->dtype), td_element_tf(to));
    }
    TD_TRY(td_tensor_take(pool, to, values->rank, values->shape, out));
    for (int64_t i = 0; i < values->count; i++) {
        cast_one(values, i, out);
    }
    return TD_OK;
}
