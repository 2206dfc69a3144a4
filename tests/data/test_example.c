/* SPDX-License-Identifier: Apache-2.0 */
#include "data/example.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "base/memory.h"
#include "base/rng.h"
#include "tests/data/recorded_cases.h"

static bool same_text(td_span span, const char *text) {
    return span.size == strlen(text) && memcmp(span.data, text, span.size) == 0;
}

Test(example, round_trip) {
    const td_span bytes[] = {td_span_text("x"), {NULL, 0}, {(const uint8_t *)"a\0b", 3}};
    const float floats[] = {1.5f, -0.0f, 3e38f};
    const int64_t ints[] = {0, 127, 128, -1, INT64_MAX, INT64_MIN};
    const td_feature features[] = {
        {.key = td_span_text("zeta"), .kind = TD_FEATURE_BYTES, .count = 3, .bytes = bytes},
        {.key = td_span_text("alpha"), .kind = TD_FEATURE_FLOAT, .count = 3, .floats = floats},
        {.key = td_span_text(""), .kind = TD_FEATURE_INT64, .count = 6, .ints = ints},
        {.key = td_span_text("none"), .kind = TD_FEATURE_NONE},
        {.key = td_span_text("empty"), .kind = TD_FEATURE_FLOAT},
    };
    td_text record = {0}, again = {0};
    cr_assert_eq(td_example_encode(features, 5, &record), TD_OK, "%s", td_error());
    td_example example = {0};
    cr_assert_eq(td_example_decode(record.data, record.size, &example), TD_OK, "%s", td_error());
    cr_assert_eq(example.count, 5);
    const td_feature *zeta = td_example_find(&example, "zeta");
    cr_assert_not_null(zeta);
    cr_assert_eq(zeta->count, 3);
    cr_expect(same_text(zeta->bytes[0], "x"));
    cr_expect_eq(zeta->bytes[1].size, 0u);
    cr_expect_eq(zeta->bytes[2].size, 3u);
    const td_feature *alpha = td_example_find(&example, "alpha");
    cr_assert(alpha != NULL && alpha->kind == TD_FEATURE_FLOAT && alpha->count == 3);
    cr_expect_arr_eq(alpha->floats, floats, sizeof floats);
    const td_feature *unnamed = td_example_find(&example, "");
    cr_assert(unnamed != NULL && unnamed->kind == TD_FEATURE_INT64 && unnamed->count == 6);
    cr_expect_arr_eq(unnamed->ints, ints, sizeof ints);
    cr_expect_eq(td_example_find(&example, "none")->kind, TD_FEATURE_NONE);
    cr_expect_eq(td_example_find(&example, "empty")->kind, TD_FEATURE_FLOAT);
    cr_expect_null(td_example_find(&example, "absent"));
    cr_assert_eq(td_example_encode(example.features, example.count, &again), TD_OK);
    cr_assert_eq(again.size, record.size);
    cr_expect_arr_eq(again.data, record.data, record.size);
    td_example_destroy(&example);
    td_text_destroy(&record);
    td_text_destroy(&again);
}

Test(example, equal_names_are_refused_by_the_writer) {
    const td_feature features[] = {
        {.key = td_span_text("a")}, {.key = td_span_text("b")}, {.key = td_span_text("a")}};
    td_text record = {0};
    cr_expect_eq(td_example_encode(features, 3, &record), TD_EINPUT);
    cr_expect_not_null(strstr(td_error(), "\"a\""));
    td_text_destroy(&record);
}

/* Decodes from a block of exactly the record's size, so that a sanitizer sees every read beyond it.
 */
static td_status decode_exact(const uint8_t *bytes, size_t size, td_example *example,
                              uint8_t **copy) {
    *copy = td_alloc(size);
    memcpy(*copy, bytes, size);
    return td_example_decode(*copy, size, example);
}

/* Reads every value, so that a sanitizer sees what decoding left behind. */
static uint64_t touch(const td_example *example) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < example->count; i++) {
        const td_feature *feature = &example->features[i];
        for (int64_t v = 0; v < feature->count; v++) {
            if (feature->kind == TD_FEATURE_BYTES) {
                for (size_t b = 0; b < feature->bytes[v].size; b++) {
                    sum += feature->bytes[v].data[b];
                }
            } else if (feature->kind == TD_FEATURE_FLOAT) {
                sum += feature->floats[v] > 0;
            } else {
                sum += (uint64_t)feature->ints[v];
            }
        }
    }
    return sum;
}

static void sample_record(td_text *record) {
    const td_span bytes[] = {td_span_text("caption text"), td_span_text("second")};
    const float floats[] = {1, 2, 3};
    const int64_t ints[] = {-5, 300, 7};
    const td_feature features[] = {
        {.key = td_span_text("bytes"), .kind = TD_FEATURE_BYTES, .count = 2, .bytes = bytes},
        {.key = td_span_text("floats"), .kind = TD_FEATURE_FLOAT, .count = 3, .floats = floats},
        {.key = td_span_text("ints"), .kind = TD_FEATURE_INT64, .count = 3, .ints = ints},
    };
    cr_assert_eq(td_example_encode(features, 3, record), TD_OK);
}

/* The whole message is one field, so no proper prefix of it but the empty one is an Example. */
Test(example, every_truncation) {
    td_text record = {0};
    sample_record(&record);
    td_example example = {0};
    for (size_t size = 0; size <= record.size; size++) {
        uint8_t *copy;
        td_status status = decode_exact((const uint8_t *)record.data, size, &example, &copy);
        cr_assert_eq(status, size == 0 || size == record.size ? TD_OK : TD_EINPUT, "%zu bytes",
                     size);
        if (status != TD_OK) {
            cr_assert_eq(example.count, 0);
            cr_assert_not_null(strstr(td_error(), "byte"));
        }
        td_free(copy);
    }
    td_example_destroy(&example);
    td_text_destroy(&record);
}

Test(example, every_changed_byte_is_an_example_or_an_error) {
    td_text record = {0};
    sample_record(&record);
    td_example example = {0};
    uint64_t sum = 0;
    for (size_t at = 0; at < record.size; at++) {
        for (int flip = 1; flip < 256; flip++) {
            record.data[at] = (char)(record.data[at] ^ flip);
            uint8_t *copy;
            td_status status =
                decode_exact((const uint8_t *)record.data, record.size, &example, &copy);
            cr_assert(status == TD_OK || status == TD_EINPUT);
            sum += touch(&example);
            td_free(copy);
            record.data[at] = (char)(record.data[at] ^ flip);
        }
    }
    cr_expect_neq(sum, 0u);
    td_example_destroy(&example);
    td_text_destroy(&record);
}

Test(example, random_bytes_never_crash) {
    td_rng rng = td_rng_make(6, TD_PURPOSE_TEST, 0);
    td_example example = {0};
    static const uint8_t likely[] = {0x0a, 0x12, 0x1a, 0x08, 0x0d, 0x00,
                                     0x01, 0x02, 0x04, 0x0b, 0x0c, 0x80};
    for (int round = 0; round < 200000; round++) {
        uint8_t bytes[48], *copy;
        size_t size = td_rng_below(&rng, sizeof bytes);
        for (size_t i = 0; i < size; i++) {
            uint32_t draw = td_rng_u32(&rng);
            bytes[i] = draw % 4 != 0 ? likely[(draw >> 8) % sizeof likely] : (uint8_t)(draw >> 16);
        }
        decode_exact(bytes, size, &example, &copy);
        touch(&example);
        td_free(copy);
    }
    td_example_destroy(&example);
}

Test(example, groups_are_skipped_to_a_depth) {
    uint8_t bytes[2 * (TD_EXAMPLE_DEPTH_MAX + 1)];
    for (int depth = 1; depth <= TD_EXAMPLE_DEPTH_MAX + 1; depth++) {
        memset(bytes, 5 << 3 | 3, (size_t)depth);
        memset(bytes + depth, 5 << 3 | 4, (size_t)depth);
        td_example example = {0};
        cr_expect_eq(td_example_decode(bytes, (size_t)depth * 2, &example),
                     depth <= TD_EXAMPLE_DEPTH_MAX ? TD_OK : TD_EINPUT);
        cr_expect_eq(td_example_decode(bytes, (size_t)depth * 2 - 1, &example), TD_EINPUT);
        bytes[2 * depth - 1] = 6 << 3 | 4;
        cr_expect_eq(td_example_decode(bytes, (size_t)depth * 2, &example), TD_EINPUT);
        td_example_destroy(&example);
    }
}

Test(example, decoding_again_allocates_nothing) {
    td_text record = {0};
    sample_record(&record);
    td_example example = {0};
    cr_assert_eq(td_example_decode(record.data, record.size, &example), TD_OK);
    uint64_t before = td_alloc_count();
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(td_example_decode(record.data, record.size, &example), TD_OK);
    }
    cr_expect_eq(td_alloc_count(), before);
    td_example_destroy(&example);
    td_text_destroy(&record);
}

/* One list of a feature against its recorded values. */
static void check_list(const char *id, const char *key, const td_feature *got,
                       const json_t *wanted) {
    const json_t *kind_name = json_object_get(wanted, "kind");
    const char *name = json_is_null(kind_name) ? "none" : json_string_value(kind_name);
    static const char *const kinds[] = {"none", "bytes_list", "float_list", "int64_list"};
    cr_assert_not_null(got, "%s: no feature %s", id, key);
    cr_assert_str_eq(kinds[got->kind], name, "%s: %s", id, key);
    const json_t *values =
                     json_object_get(wanted, got->kind == TD_FEATURE_FLOAT ? "bits" : "values"),
                 *value;
    cr_assert_eq((size_t)got->count, json_array_size(values), "%s: %s", id, key);
    size_t i, size;
    json_array_foreach(values, i, value) {
        if (got->kind == TD_FEATURE_INT64) {
            cr_expect_eq(got->ints[i], json_integer_value(value), "%s: %s", id, key);
        } else if (got->kind == TD_FEATURE_FLOAT) {
            uint32_t bits;
            memcpy(&bits, &got->floats[i], 4);
            cr_expect_eq(bits, strtoul(json_string_value(value), NULL, 16), "%s: %s", id, key);
        } else {
            uint8_t *bytes = recorded_bytes(value, &size);
            cr_expect_eq(got->bytes[i].size, size, "%s: %s", id, key);
            cr_expect_arr_eq(got->bytes[i].data, bytes, size, "%s: %s", id, key);
            td_free(bytes);
        }
    }
}

static void check_decoding(const char *id, const json_t *serialized, const json_t *wanted) {
    size_t size;
    uint8_t *bytes = recorded_bytes(serialized, &size);
    td_example example = {0};
    td_status status = td_example_decode(bytes, size, &example);
    if (json_object_get(wanted, "error") != NULL) {
        cr_expect_eq(status, TD_EINPUT, "%s", id);
    } else {
        cr_expect_eq(status, TD_OK, "%s: %s", id, td_error());
        json_t *features = json_object_get(wanted, "features"), *feature;
        const char *key;
        cr_expect_eq((size_t)example.count, json_object_size(features), "%s", id);
        json_object_foreach(features, key, feature) {
            check_list(id, key, td_example_find(&example, key), feature);
        }
    }
    td_example_destroy(&example);
    td_free(bytes);
}

/* What a protocol-buffer parser makes of well-formed, odd and broken Examples. */
Test(example, recorded_decodings) {
    json_t *cases = recorded_cases("parse_example"), *one, *wanted;
    size_t i, s;
    int checked = 0;
    json_array_foreach(cases, i, one) {
        const char *id = json_string_value(json_object_get(one, "id"));
        const json_t *serialized = json_object_get(json_object_get(one, "input"), "serialized");
        json_array_foreach(json_object_get(json_object_get(one, "expected"), "protobuf"), s,
                           wanted) {
            check_decoding(id, json_array_get(serialized, s), wanted);
            checked++;
        }
    }
    cr_expect_gt(checked, 150);
    json_decref(cases);
}

/* The features of a recorded Example as this library writes them. */
static void encode_recorded(json_t *features, td_text *out) {
    enum { MAX = 8 };
    td_feature list[MAX] = {0};
    td_span spans[MAX][MAX];
    float floats[MAX][MAX];
    int64_t ints[MAX][MAX];
    int64_t n = 0;
    size_t i;
    const char *key;
    json_t *feature, *value;
    json_object_foreach(features, key, feature) {
        const char *kind = json_string_value(json_object_get(feature, "kind"));
        td_feature *to = &list[n];
        *to = (td_feature){
            .key = td_span_text(key), .bytes = spans[n], .floats = floats[n], .ints = ints[n]};
        to->kind = kind == NULL                      ? TD_FEATURE_NONE
                   : strcmp(kind, "bytes_list") == 0 ? TD_FEATURE_BYTES
                   : strcmp(kind, "float_list") == 0 ? TD_FEATURE_FLOAT
                                                     : TD_FEATURE_INT64;
        const json_t *values =
            json_object_get(feature, to->kind == TD_FEATURE_FLOAT ? "bits" : "values");
        json_array_foreach(values, i, value) {
            cr_assert_lt(i, (size_t)MAX);
            if (to->kind == TD_FEATURE_BYTES) {
                spans[n][i].data = recorded_bytes(value, &spans[n][i].size);
            } else if (to->kind == TD_FEATURE_FLOAT) {
                uint32_t bits = (uint32_t)strtoul(json_string_value(value), NULL, 16);
                memcpy(&floats[n][i], &bits, 4);
            } else {
                ints[n][i] = json_integer_value(value);
            }
            to->count++;
        }
        n++;
    }
    cr_assert_eq(td_example_encode(list, n, out), TD_OK, "%s", td_error());
    for (int64_t f = 0; f < n; f++) {
        for (int64_t v = 0; v < list[f].count && list[f].kind == TD_FEATURE_BYTES; v++) {
            td_free((void *)(uintptr_t)spans[f][v].data);
        }
    }
}

Test(example, recorded_encodings) {
    json_t *cases = recorded_cases("serialize_example"), *one;
    size_t i, size;
    json_array_foreach(cases, i, one) {
        const char *id = json_string_value(json_object_get(one, "id"));
        td_text record = {0};
        encode_recorded(json_object_get(json_object_get(one, "input"), "features"), &record);
        uint8_t *wanted =
            recorded_bytes(json_object_get(json_object_get(one, "expected"), "bytes"), &size);
        cr_expect_eq(record.size, size, "%s", id);
        if (size > 0) {
            cr_expect_arr_eq(record.data, wanted, size, "%s", id);
        }
        td_free(wanted);
        td_text_destroy(&record);
    }
    json_decref(cases);
}
