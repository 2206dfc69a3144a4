/* SPDX-License-Identifier: Apache-2.0
 * tf.Example: a map from names to lists of byte strings, of floats or of 64-bit integers, in
 * protocol-buffer wire form. What a protocol-buffer parser accepts is accepted and nothing is
 * dropped silently: the last of equal keys wins, packed and unpacked values of a list are joined,
 * unknown fields are skipped. Keys need not be UTF-8, as in TensorFlow's parser.
 */
#ifndef TD_DATA_EXAMPLE_H
#define TD_DATA_EXAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

enum {
    TD_EXAMPLE_DEPTH_MAX = 100,        /* nesting of groups in unknown fields */
    TD_EXAMPLE_BYTES_MAX = 0x7fffffff, /* of one serialized Example */
};

typedef struct td_span {
    const uint8_t *data;
    size_t size;
} td_span;

/* The bytes of a C string, without its NUL. */
td_span td_span_text(const char *text);

/* The value is the field's number inside Feature. */
typedef enum td_feature_kind {
    TD_FEATURE_NONE = 0, /* a feature without a list */
    TD_FEATURE_BYTES = 1,
    TD_FEATURE_FLOAT = 2,
    TD_FEATURE_INT64 = 3,
} td_feature_kind;

/* One feature; the list that kind names holds count values. Lists without values may be NULL. */
typedef struct td_feature {
    td_span key;
    td_feature_kind kind;
    int64_t count;
    const td_span *bytes;
    const float *floats;
    const int64_t *ints;
} td_feature;

/* A decoded Example. Zero-initialise once; decoding another record reuses the memory. Keys and byte
 * strings point into the record, so they live as long as it does. */
typedef struct td_example {
    td_feature *features; /* sorted as td_example_encode writes them, keys distinct */
    int64_t count, capacity;
    td_span *bytes;
    float *floats;
    int64_t *ints;
    int64_t n_bytes, n_floats, n_ints;
    int64_t bytes_capacity, floats_capacity, ints_capacity;
} td_example;

/* TD_EINPUT names the byte and the reason; out then holds no features. */
td_status td_example_decode(const void *data, size_t size, td_example *out);
void td_example_destroy(td_example *example);

/* The feature of a name, or NULL. */
const td_feature *td_example_find(const td_example *example, const char *key);

/* Appends the serialized Example: keys in order of their bytes, a key after longer ones that start
 * with it, lists packed. That is TensorFlow's deterministic serialization, byte for byte. Two equal
 * keys are TD_EINPUT. */
td_status td_example_encode(const td_feature *features, int64_t count, td_text *out);

#endif
