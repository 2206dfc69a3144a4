/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "data/crc32c.h"
#include "data/hash.h"
#include "data/tf_error.h"
#include "tests/oracle/oracle.h"

static json_t *hex32(uint32_t value) {
    char text[12];
    snprintf(text, sizeof text, "%08x", value);
    return json_string(text);
}

static json_t *decimal64(uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return json_string(text);
}

json_t *oracle_crc32c(const oracle_case *item) {
    td_span data = oracle_bytes(item, json_object_get(item->input, "data"));
    uint32_t crc = td_crc32c(data.data, data.size);
    return json_pack("{s:o, s:o}", "crc32c", hex32(crc), "masked", hex32(td_crc32c_mask(crc)));
}

json_t *oracle_tfrecord_header(const oracle_case *item) {
    const json_t *lengths = json_object_get(item->input, "lengths");
    json_t *masked = json_array();
    for (size_t i = 0; i < json_array_size(lengths); i++) {
        uint64_t length = oracle_u64(json_array_get(lengths, i));
        uint8_t bytes[8];
        for (int b = 0; b < 8; b++) {
            bytes[b] = (uint8_t)(length >> 8 * b);
        }
        json_array_append_new(masked, hex32(td_crc32c_mask(td_crc32c(bytes, sizeof bytes))));
    }
    return json_pack("{s:o}", "masked", masked);
}

json_t *oracle_fingerprint64(const oracle_case *item) {
    const json_t *data = json_object_get(item->input, "data");
    const json_t *mod = json_object_get(item->config, "mod");
    json_t *hashes = json_array(), *remainders = json_array();
    for (size_t i = 0; i < json_array_size(data); i++) {
        td_span bytes = oracle_bytes(item, json_array_get(data, i));
        uint64_t hash = td_fingerprint64(bytes.data, bytes.size);
        json_array_append_new(hashes, decimal64(hash));
        if (mod != NULL) {
            json_array_append_new(remainders, json_integer((json_int_t)(hash % oracle_u64(mod))));
        }
    }
    json_t *out = json_pack("{s:o}", "u64", hashes);
    if (mod != NULL) {
        json_object_set(out, "mod", remainders);
    }
    json_decref(remainders);
    return out;
}

json_t *oracle_fingerprint_cat64(const oracle_case *item) {
    const json_t *pairs = json_object_get(item->input, "pairs");
    json_t *hashes = json_array();
    for (size_t i = 0; i < json_array_size(pairs); i++) {
        const json_t *pair = json_array_get(pairs, i);
        json_array_append_new(hashes,
                              decimal64(td_fingerprint_cat64(oracle_u64(json_array_get(pair, 0)),
                                                             oracle_u64(json_array_get(pair, 1)))));
    }
    return json_pack("{s:o}", "u64", hashes);
}

static uint64_t hash_one(const char *kind, const uint64_t key[2], td_span bytes) {
    return strcmp(kind, "strong") == 0 ? td_siphash(key, bytes.data, bytes.size)
           : strcmp(kind, "legacy") == 0
               ? td_hash64_legacy(bytes.data, bytes.size, TD_HASH64_LEGACY_SEED)
               : td_fingerprint64(bytes.data, bytes.size);
}

json_t *oracle_hash_bucket(const oracle_case *item) {
    td_tensor values = oracle_tensor(item, json_object_get(item->input, "values"));
    const char *kind = json_string_value(json_object_get(item->config, "kind"));
    const json_t *key = json_object_get(item->config, "key");
    const uint64_t keys[2] = {oracle_u64(json_array_get(key, 0)),
                              oracle_u64(json_array_get(key, 1))};
    int64_t buckets = (int64_t)oracle_u64(json_object_get(item->config, "num_buckets"));
    if (buckets < 1) {
        td_tf_fail(TD_TF_INVALID_ARGUMENT,
                   "Value for attr 'num_buckets' of %lld must be at least minimum 1",
                   (long long)buckets);
        return NULL;
    }
    td_tensor ids;
    if (td_tensor_take(item->pool, TD_ELEMENT_INT64, values.rank, values.shape, &ids) != TD_OK) {
        return NULL;
    }
    json_t *full = json_array();
    for (int64_t i = 0; i < values.count; i++) {
        char digits[TD_DECIMAL_BYTES_MAX];
        td_span bytes = {(const uint8_t *)digits, 0};
        if (values.dtype == TD_ELEMENT_BYTES) {
            bytes = td_tensor_spans(&values)[i];
        } else {
            bytes.size = (size_t)td_decimal(td_tensor_int(&values, i), digits);
        }
        uint64_t hash = hash_one(kind, keys, bytes);
        ((int64_t *)ids.data)[i] = (int64_t)(hash % (uint64_t)buckets);
        json_array_append_new(full, decimal64(hash));
    }
    json_t *out = json_pack("{s:o}", "ids", oracle_tensor_json(&ids));
    if (json_is_true(json_object_get(item->config, "full"))) {
        json_object_set(out, "u64", full);
    }
    json_decref(full);
    return out;
}
