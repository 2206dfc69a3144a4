/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tf_error.h"
#include "tests/oracle/oracle.h"

static int hex_digit(char digit) {
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                                          : 0;
}

uint64_t oracle_u64(const json_t *value) {
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        return text[0] == '-' ? 0 - strtoull(text + 1, NULL, 10) : strtoull(text, NULL, 10);
    }
    return (uint64_t)json_integer_value(value);
}

static void fill_repeat(const json_t *data, uint8_t *out, size_t size, size_t unit_size) {
    const char *unit = json_string_value(json_object_get(data, "unit"));
    for (size_t i = 0; i < size; i++) {
        const char *at = unit + 2 * (i % unit_size);
        out[i] = (uint8_t)(hex_digit(at[0]) << 4 | hex_digit(at[1]));
    }
}

static void fill_lcg(uint64_t x, uint8_t *out, size_t size) {
    for (size_t i = 0; i < size; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        out[i] = (uint8_t)(x >> 56);
    }
}

/* A slice of the buffer that farmhashna's own test hashes. */
static void fill_selftest(uint64_t offset, uint8_t *out, size_t size) {
    uint64_t a = 9, b = 777;
    const uint64_t k0 = UINT64_C(0xc3a5c85c97cb3127);
    for (uint64_t i = 0; i < offset + size && i < 1 << 20; i++) {
        a += b;
        b += a;
        a = (a ^ (a >> 41)) * k0;
        b = (b ^ (b >> 41)) * k0 + i;
        if (i >= offset) {
            out[i - offset] = (uint8_t)(b >> 37);
        }
    }
}

static td_span generate(const oracle_case *item, const json_t *data) {
    const char *name = json_string_value(json_object_get(data, "generator"));
    size_t size = (size_t)json_integer_value(json_object_get(data, "length"));
    const char *unit = json_string_value(json_object_get(data, "unit"));
    size_t unit_size = unit == NULL ? 0 : strlen(unit) / 2;
    if (unit_size > 0) {
        size = unit_size * (size_t)json_integer_value(json_object_get(data, "count"));
    }
    uint8_t *bytes = td_pool_take_zero(item->pool, size);
    if (bytes == NULL || name == NULL) {
        return (td_span){(const uint8_t *)"", 0};
    }
    if (strcmp(name, "repeat") == 0 && unit_size > 0) {
        fill_repeat(data, bytes, size, unit_size);
    } else if (strcmp(name, "lcg") == 0) {
        fill_lcg(oracle_u64(json_object_get(data, "seed")), bytes, size);
    } else if (strcmp(name, "farmhashna_selftest") == 0) {
        fill_selftest(oracle_u64(json_object_get(data, "offset")), bytes, size);
    }
    return (td_span){bytes, size};
}

td_span oracle_bytes(const oracle_case *item, const json_t *data) {
    if (json_is_object(data)) {
        return generate(item, data);
    }
    const char *hex = json_is_string(data) ? json_string_value(data) : "";
    size_t size = strlen(hex) / 2;
    uint8_t *bytes = td_pool_take(item->pool, size);
    for (size_t i = 0; i < size && bytes != NULL; i++) {
        bytes[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    }
    return (td_span){bytes, bytes == NULL ? 0 : size};
}

static double real_of(const json_t *value) {
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        return strcmp(text, "NaN") == 0 ? NAN : text[0] == '-' ? -INFINITY : INFINITY;
    }
    return json_number_value(value);
}

static void set_element(const oracle_case *item, td_tensor *out, int64_t i, const json_t *value,
                        const json_t *bits) {
    uint64_t pattern = json_is_string(bits) ? strtoull(json_string_value(bits), NULL, 16) : 0;
    switch (out->dtype) {
    case TD_ELEMENT_BYTES:
        ((td_span *)out->data)[i] = oracle_bytes(item, value);
        break;
    case TD_ELEMENT_FLOAT32: {
        uint32_t low = (uint32_t)pattern;
        float real = (float)real_of(value);
        memcpy((float *)out->data + i, json_is_string(bits) ? (void *)&low : (void *)&real, 4);
        break;
    }
    case TD_ELEMENT_FLOAT64: {
        double real = real_of(value);
        memcpy((double *)out->data + i, json_is_string(bits) ? (void *)&pattern : (void *)&real, 8);
        break;
    }
    case TD_ELEMENT_INT32:
        ((int32_t *)out->data)[i] = (int32_t)oracle_u64(value);
        break;
    case TD_ELEMENT_INT64:
        ((int64_t *)out->data)[i] = (int64_t)oracle_u64(value);
        break;
    case TD_ELEMENT_UINT8:
        ((uint8_t *)out->data)[i] = (uint8_t)oracle_u64(value);
        break;
    case TD_ELEMENT_BOOL:
        ((bool *)out->data)[i] = json_is_true(value) || json_integer_value(value) != 0;
        break;
    default:
        break;
    }
}

td_tensor oracle_tensor(const oracle_case *item, const json_t *value) {
    const char *name = json_string_value(json_object_get(value, "dtype"));
    const json_t *shape = json_object_get(value, "shape");
    const json_t *values = json_object_get(value, "values");
    const json_t *bits = json_object_get(value, "bits");
    td_tensor out = {.dtype = name == NULL ? TD_ELEMENT_NONE : td_element_find(name)};
    int64_t dims[TD_RANK_MAX] = {0};
    int rank = (int)json_array_size(shape);
    for (int i = 0; i < rank && i < TD_RANK_MAX; i++) {
        dims[i] = json_integer_value(json_array_get(shape, (size_t)i));
    }
    if (rank <= TD_RANK_MAX && td_tensor_take(item->pool, out.dtype, rank, dims, &out) == TD_OK) {
        for (int64_t i = 0; i < out.count; i++) {
            set_element(item, &out, i, json_array_get(values, (size_t)i),
                        json_array_get(bits, (size_t)i));
        }
    }
    return out;
}

static td_sparse sparse_of(const oracle_case *item, const json_t *value) {
    const json_t *shape = json_object_get(value, "dense_shape");
    const json_t *indices = json_object_get(value, "indices");
    td_tensor values = oracle_tensor(item, json_object_get(value, "values"));
    td_sparse out = {.rank = (int)json_array_size(shape)};
    if (td_sparse_take(item->pool, values.dtype, out.rank, values.count, &out) != TD_OK) {
        return out;
    }
    out.values = values;
    for (int j = 0; j < out.rank; j++) {
        out.dense_shape[j] = json_integer_value(json_array_get(shape, (size_t)j));
        for (int64_t i = 0; i < values.count; i++) {
            const json_t *index = json_array_get(indices, (size_t)i);
            out.indices[i * out.rank + j] = json_integer_value(json_array_get(index, (size_t)j));
        }
    }
    return out;
}

td_array oracle_value(const oracle_case *item, const json_t *value) {
    if (json_is_true(json_object_get(value, "sparse"))) {
        return (td_array){.kind = TD_ARRAY_SPARSE, .sparse = sparse_of(item, value)};
    }
    return (td_array){.kind = TD_ARRAY_TENSOR, .tensor = oracle_tensor(item, value)};
}

static void flatten(const oracle_case *item, const json_t *list, td_tensor *out, int64_t *at) {
    if (!json_is_array(list)) {
        if (*at < out->count) {
            set_element(item, out, (*at)++, list, NULL);
        }
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        flatten(item, json_array_get(list, i), out, at);
    }
}

td_tensor oracle_nested(const oracle_case *item, const json_t *list, td_element_type dtype) {
    int64_t shape[TD_RANK_MAX] = {0}, at = 0;
    int rank = 0;
    for (const json_t *level = list; json_is_array(level) && rank < TD_RANK_MAX;
         level = json_array_get(level, 0)) {
        shape[rank++] = (int64_t)json_array_size(level);
    }
    td_tensor out = {0};
    if (td_tensor_take(item->pool, dtype, rank, shape, &out) == TD_OK) {
        flatten(item, list, &out, &at);
    }
    return out;
}

json_t *oracle_hex(td_span bytes) {
    td_text text = {0};
    td_text_puts(&text, "");
    for (size_t i = 0; i < bytes.size; i++) {
        td_text_printf(&text, "%02x", bytes.data[i]);
    }
    json_t *out = json_string(text.data);
    td_text_destroy(&text);
    return out;
}

static json_t *real_json(double value) {
    return isnan(value)   ? json_string("NaN")
           : isinf(value) ? json_string(value > 0 ? "Infinity" : "-Infinity")
                          : json_real(value);
}

static json_t *element_json(const td_tensor *tensor, int64_t i) {
    switch (tensor->dtype) {
    case TD_ELEMENT_BYTES:
        return oracle_hex(((const td_span *)tensor->data)[i]);
    case TD_ELEMENT_FLOAT32:
    case TD_ELEMENT_FLOAT64:
        return real_json(td_tensor_real(tensor, i));
    case TD_ELEMENT_BOOL:
        return json_boolean(((const bool *)tensor->data)[i]);
    default:
        return json_integer(td_tensor_int(tensor, i));
    }
}

static json_t *bits_json(const td_tensor *tensor, int64_t i) {
    char text[20];
    if (tensor->dtype == TD_ELEMENT_FLOAT32) {
        uint32_t pattern;
        memcpy(&pattern, (const float *)tensor->data + i, sizeof pattern);
        snprintf(text, sizeof text, "%08x", pattern);
    } else {
        uint64_t pattern;
        memcpy(&pattern, (const double *)tensor->data + i, sizeof pattern);
        snprintf(text, sizeof text, "%016llx", (unsigned long long)pattern);
    }
    return json_string(text);
}

static json_t *ints_json(const int64_t *values, int64_t n) {
    json_t *out = json_array();
    for (int64_t i = 0; i < n; i++) {
        json_array_append_new(out, json_integer(values[i]));
    }
    return out;
}

json_t *oracle_tensor_json(const td_tensor *tensor) {
    json_t *values = json_array(), *bits = json_array();
    bool real = tensor->dtype == TD_ELEMENT_FLOAT32 || tensor->dtype == TD_ELEMENT_FLOAT64;
    for (int64_t i = 0; i < tensor->count; i++) {
        json_array_append_new(values, element_json(tensor, i));
        if (real) {
            json_array_append_new(bits, bits_json(tensor, i));
        }
    }
    json_t *out = json_pack("{s:s, s:o, s:o}", "dtype", td_element_text(tensor->dtype), "shape",
                            ints_json(tensor->shape, tensor->rank), "values", values);
    if (real) {
        json_object_set(out, "bits", bits);
    }
    json_decref(bits);
    return out;
}

json_t *oracle_value_json(const td_array *value) {
    if (value->kind == TD_ARRAY_TENSOR) {
        return oracle_tensor_json(&value->tensor);
    }
    if (value->kind == TD_ARRAY_RAGGED) {
        json_t *splits = json_array();
        for (int i = 0; i < value->ragged.depth; i++) {
            json_array_append_new(
                splits, ints_json(value->ragged.splits[i].data, value->ragged.splits[i].count));
        }
        return json_pack("{s:b, s:o, s:o, s:s}", "ragged", 1, "flat_values",
                         oracle_tensor_json(&value->ragged.values), "row_splits", splits,
                         "row_splits_dtype", td_element_text(value->ragged.splits_dtype));
    }
    json_t *indices = json_array();
    for (int64_t i = 0; i < value->sparse.values.count; i++) {
        json_array_append_new(
            indices, ints_json(value->sparse.indices + i * value->sparse.rank, value->sparse.rank));
    }
    return json_pack("{s:b, s:o, s:o, s:o}", "sparse", 1, "indices", indices, "values",
                     oracle_tensor_json(&value->sparse.values), "dense_shape",
                     ints_json(value->sparse.dense_shape, value->sparse.rank));
}

json_t *oracle_error_json(void) {
    td_tf_class class = td_tf_last();
    const char *status = td_tf_status(class);
    json_t *out = json_pack("{s:s, s:o}", "class", td_tf_exception(class), "message",
                            json_stringn_nocheck(td_error(), strlen(td_error())));
    if (status != NULL) {
        json_object_set_new(out, "status", json_string(status));
    }
    return out;
}
