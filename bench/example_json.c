/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/example_json.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

void td_base64(td_text *out, td_span bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t n = bytes.size - i < 3 ? bytes.size - i : 3;
        uint32_t group = 0;
        for (size_t k = 0; k < 3; k++) {
            group = group << 8 | (k < n ? bytes.data[i + k] : 0U);
        }
        char text[4];
        for (size_t k = 0; k < 4; k++) {
            text[k] = k <= n ? digits[group >> (18 - 6 * k) & 63] : '=';
        }
        td_text_append(out, text, sizeof text);
    }
    td_text_append(out, "", 0);
}

static json_t *bytes_json(td_span bytes) {
    const char *data = bytes.size > 0 ? (const char *)bytes.data : "";
    json_t *text = json_stringn(data, bytes.size); /* NULL when it is not UTF-8 */
    if (text != NULL) {
        return text;
    }
    td_text coded = {0};
    td_base64(&coded, bytes);
    json_t *object = coded.failed ? NULL : json_pack("{s:s}", "base64", coded.data);
    td_text_destroy(&coded);
    return object;
}

static json_t *float_json(float value) {
    if (isnan(value)) {
        return json_string("NaN");
    }
    if (isinf(value)) {
        return json_string(value > 0 ? "Infinity" : "-Infinity");
    }
    return json_real((double)value);
}

static json_t *value_json(const td_feature *feature, int64_t v) {
    switch (feature->kind) {
    case TD_FEATURE_BYTES:
        return bytes_json(feature->bytes[v]);
    case TD_FEATURE_FLOAT:
        return float_json(feature->floats[v]);
    default:
        return json_integer(feature->ints[v]);
    }
}

static json_t *feature_json(const td_feature *feature) {
    static const char *const kinds[] = {"none", "bytes", "float", "int64"};
    json_t *values = json_array();
    for (int64_t v = 0; values != NULL && v < feature->count; v++) {
        if (json_array_append_new(values, value_json(feature, v)) != 0) {
            json_decref(values);
            return NULL;
        }
    }
    return values == NULL ? NULL
                          : json_pack("{s:s,s:o}", "kind", kinds[feature->kind], "values", values);
}

/* False when memory ran out. */
static bool add_feature(const td_feature *feature, json_t *plain, json_t *coded) {
    td_text name = {0};
    td_text_append(&name, (const char *)feature->key.data, feature->key.size);
    bool is_plain = !name.failed && memchr(name.data, '\0', name.size) == NULL;
    json_t *probe = is_plain ? json_stringn(name.data, name.size) : NULL;
    is_plain = probe != NULL;
    json_decref(probe);
    if (!is_plain) {
        td_text_destroy(&name);
        name = (td_text){0};
        td_base64(&name, feature->key);
    }
    json_t *value = name.failed ? NULL : feature_json(feature);
    bool good =
        value != NULL && json_object_set_new(is_plain ? plain : coded, name.data, value) == 0;
    td_text_destroy(&name);
    return good;
}

td_status td_example_json(const td_example *example, json_t *out) {
    json_t *plain = json_object(), *coded = json_object();
    bool good = plain != NULL && coded != NULL;
    for (int64_t i = 0; good && i < example->count; i++) {
        good = add_feature(&example->features[i], plain, coded);
    }
    good = good && json_object_set(out, "features", plain) == 0 &&
           (json_object_size(coded) == 0 || json_object_set(out, "base64_features", coded) == 0);
    json_decref(plain);
    json_decref(coded);
    return good ? TD_OK : td_fail(TD_ENOMEM, "no memory for a record as JSON");
}
