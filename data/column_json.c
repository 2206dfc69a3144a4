/* SPDX-License-Identifier: Apache-2.0 */
#include "data/column_json.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "data/tf_error.h"

td_json_place td_json_below(const td_json_place *at, const char *member) {
    td_json_place out;
    snprintf(out.text, sizeof out.text, "%.200s.%.50s", at->text, member);
    return out;
}

td_json_place td_json_item(const td_json_place *at, size_t i) {
    td_json_place out;
    snprintf(out.text, sizeof out.text, "%.200s[%zu]", at->text, i);
    return out;
}

td_status td_json_expected(const td_json_place *at, const char *member, const char *what) {
    return td_tf_fail(TD_TF_VALUE, "%s.%s: expected %s", at->text, member, what);
}

/* A copy with a NUL behind it. */
td_status td_json_copy(const td_column_builder *to, const char *text, size_t size, td_span *out) {
    char *copy = td_pool_take(to->pool, size + 1);
    if (copy == NULL) {
        return td_tf_no_memory("feature columns");
    }
    memcpy(copy, text, size);
    copy[size] = '\0';
    *out = (td_span){(const uint8_t *)copy, size};
    return TD_OK;
}

td_status td_json_copy_string(const td_column_builder *to, const json_t *value, td_span *out) {
    return td_json_copy(to, json_string_value(value), json_string_length(value), out);
}

bool td_json_given(const json_t *value) {
    return value != NULL && !json_is_null(value);
}

td_status td_json_key(const td_column_builder *to, const json_t *spec, const char *member,
                      const td_json_place *at, td_span *out) {
    const json_t *value = json_object_get(spec, member);
    if (!json_is_string(value)) {
        return td_json_expected(at, member, "the name of a feature");
    }
    return td_json_copy_string(to, value, out);
}

td_status td_json_int(const json_t *spec, const char *member, const td_json_place *at,
                      int64_t missing, int64_t *out) {
    const json_t *value = json_object_get(spec, member);
    if (td_json_given(value) && !json_is_integer(value)) {
        return td_json_expected(at, member, "a whole number");
    }
    *out = td_json_given(value) ? (int64_t)json_integer_value(value) : missing;
    return TD_OK;
}

td_status td_json_dtype(const json_t *spec, const td_json_place *at, td_element_type missing,
                        td_element_type *out) {
    const json_t *value = json_object_get(spec, "dtype");
    *out = missing;
    if (td_json_given(value)) {
        *out = json_is_string(value) ? td_element_find(json_string_value(value)) : TD_ELEMENT_NONE;
        if (*out == TD_ELEMENT_NONE) {
            return td_json_expected(at, "dtype", "the name of a type");
        }
    }
    return TD_OK;
}

td_status td_json_shape(const json_t *spec, const td_json_place *at, td_column *column) {
    const json_t *shape = json_object_get(spec, "shape");
    size_t n = json_is_array(shape) ? json_array_size(shape) : 1;
    if (n > TD_RANK_MAX - 2) {
        return td_json_expected(at, "shape", "at most 6 dimensions");
    }
    column->rank = (int)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *dim = json_is_array(shape) ? json_array_get(shape, i) : shape;
        if (td_json_given(dim) && !json_is_integer(dim)) {
            return td_tf_fail(TD_TF_TYPE, "shape dimensions must be integer. key: %s",
                              (const char *)column->key.data);
        }
        column->shape[i] = td_json_given(dim) ? (int64_t)json_integer_value(dim) : 1;
        if (column->shape[i] < 1) {
            return td_tf_fail(TD_TF_VALUE,
                              "shape dimensions must be greater than 0. found %lld, key: %s",
                              (long long)column->shape[i], (const char *)column->key.data);
        }
    }
    return TD_OK;
}

td_status td_json_words(const td_column_builder *to, const json_t *list, const td_json_place *at,
                        td_tensor *out) {
    int64_t n = (int64_t)json_array_size(list);
    bool numbers = json_is_integer(json_array_get(list, 0));
    TD_TRY(td_tensor_take(to->pool, numbers ? TD_ELEMENT_INT64 : TD_ELEMENT_BYTES, 1, &n, out));
    for (size_t i = 0; i < (size_t)n; i++) {
        const json_t *value = json_array_get(list, i);
        if (numbers ? !json_is_integer(value) : !json_is_string(value)) {
            return td_json_expected(at, "vocabulary", "strings, or whole numbers, throughout");
        }
        if (numbers) {
            ((int64_t *)out->data)[i] = (int64_t)json_integer_value(value);
        } else {
            TD_TRY(td_json_copy_string(to, value, (td_span *)out->data + i));
        }
    }
    return TD_OK;
}

td_status td_column_name(const td_column_builder *to, td_column *column, const char *suffix,
                         td_span tail) {
    td_span base = column->source != NULL ? column->source->name : column->key;
    td_text text = {0};
    td_text_append(&text, (const char *)base.data, base.size);
    td_text_puts(&text, suffix);
    td_text_append(&text, (const char *)tail.data, tail.size);
    td_status status = td_text_status(&text);
    if (status == TD_OK) {
        status = td_json_copy(to, text.data, text.size, &column->name);
    }
    td_text_destroy(&text);
    return status;
}
