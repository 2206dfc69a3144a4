/* SPDX-License-Identifier: Apache-2.0
 * The values of one serialized Feature, decoded to where they belong. Private to the parsers.
 *
 * Every function takes what follows the oneof's tag: a length and a list. It gives the number of
 * values the list claims, of which the first `room` are written, or -1 when it cannot be parsed.
 * What comes behind a packed chunk is not looked at, as in TensorFlow.
 */
#ifndef TD_DATA_EXAMPLE_VALUES_H
#define TD_DATA_EXAMPLE_VALUES_H

#include "data/tensor.h"
#include "data/wire.h"

/* The type a feature declares by its first byte; NONE for an empty feature. False for a byte that
 * is none of the three. On success the byte is taken. */
static inline bool td_feature_dtype(td_span *feature, td_element_type *out) {
    *out = TD_ELEMENT_NONE;
    if (feature->size == 0) {
        return true;
    }
    switch (feature->data[0]) {
    case TD_TAG_LEN(1):
        *out = TD_ELEMENT_BYTES;
        break;
    case TD_TAG_LEN(2):
        *out = TD_ELEMENT_FLOAT32;
        break;
    case TD_TAG_LEN(3):
        *out = TD_ELEMENT_INT64;
        break;
    default:
        return false;
    }
    feature->data++;
    feature->size--;
    return true;
}

static inline bool td_list_open(td_span list, td_wire *out) {
    *out = td_wire_of(list);
    uint32_t length;
    if (!td_wire_varint32(out, &length)) {
        return false;
    }
    td_wire_limit(out, length);
    return true;
}

/* The most values a list of this type can hold in so many bytes. */
static inline int64_t td_list_bound(td_element_type dtype, size_t bytes) {
    return (int64_t)(dtype == TD_ELEMENT_FLOAT32 ? bytes / 4
                     : dtype == TD_ELEMENT_BYTES ? bytes / 2
                                                 : bytes);
}

/* Floats without a length of their own: a tag and four bytes each. */
static inline int64_t td_floats_unpacked(td_wire *in, float *out, int64_t room) {
    int64_t count = 0;
    while (in->at < in->end) {
        if (!td_wire_expect(in, TD_TAG_I32(1)) || in->end - in->at < 4) {
            return -1;
        }
        if (count < room) {
            memcpy(out + count, in->at, sizeof *out);
        }
        in->at += 4;
        count++;
    }
    return count;
}

static inline int64_t td_list_floats(td_span list, float *out, int64_t room) {
    td_wire in;
    if (!td_list_open(list, &in)) {
        return -1;
    }
    if (in.at == in.end) {
        return 0;
    }
    if (*in.at == TD_TAG_I32(1)) {
        return td_floats_unpacked(&in, out, room);
    }
    uint32_t length;
    if (!td_wire_expect(&in, TD_TAG_LEN(1)) || !td_wire_varint32(&in, &length)) {
        return -1;
    }
    int64_t count = length / 4;
    int64_t written = count < room ? count : room;
    td_wire_limit(&in, length);
    if (written * 4 > in.end - in.at) {
        return -1;
    }
    if (written > 0) {
        memcpy(out, in.at, (size_t)written * sizeof *out);
    }
    return count;
}

/* One varint of at most ten bytes, of which eight or more may be read at once. The bits that carry
 * are found in one word, and the groups of seven bits are pushed together in three steps. */
static inline bool td_varint_wide(td_wire *in, uint64_t *out) {
    if (in->end - in->at < 8) {
        return td_wire_varint_slow(in, out);
    }
    uint64_t word;
    memcpy(&word, in->at, sizeof word);
    uint64_t stops = ~word & UINT64_C(0x8080808080808080);
    if (stops == 0) {
        return td_wire_varint_slow(in, out);
    }
    int bits = __builtin_ctzll(stops); /* 7, 15, ..., 63 */
    word &= UINT64_C(0x7f7f7f7f7f7f7f7f) & (UINT64_MAX >> (63 - bits));
    word = (word & UINT64_C(0x007f007f007f007f)) | (word & UINT64_C(0x7f007f007f007f00)) >> 1;
    word = (word & UINT64_C(0x00003fff00003fff)) | (word & UINT64_C(0x3fff00003fff0000)) >> 2;
    word = (word & UINT64_C(0x000000000fffffff)) | (word & UINT64_C(0x0fffffff00000000)) >> 4;
    in->at += (bits + 1) / 8;
    *out = word;
    return true;
}

static inline int64_t td_ints_packed(td_wire *in, int64_t *out, int64_t room) {
    int64_t count = 0;
    while (in->at < in->end) {
        uint64_t value = *in->at;
        if (value < 0x80) {
            in->at++;
        } else if (!td_varint_wide(in, &value)) {
            return -1;
        }
        if (count < room) {
            out[count] = (int64_t)value;
        }
        count++;
    }
    return count;
}

static inline int64_t td_ints_unpacked(td_wire *in, int64_t *out, int64_t room) {
    int64_t count = 0;
    while (in->at < in->end) {
        uint64_t value;
        if (!td_wire_expect(in, TD_TAG_VARINT(1)) || !td_wire_varint(in, &value)) {
            return -1;
        }
        if (count < room) {
            out[count] = (int64_t)value;
        }
        count++;
    }
    return count;
}

static inline int64_t td_list_ints(td_span list, int64_t *out, int64_t room) {
    td_wire in;
    if (!td_list_open(list, &in)) {
        return -1;
    }
    if (in.at == in.end) {
        return 0;
    }
    if (*in.at == TD_TAG_VARINT(1)) {
        return td_ints_unpacked(&in, out, room);
    }
    uint32_t length;
    if (!td_wire_expect(&in, TD_TAG_LEN(1)) || !td_wire_varint32(&in, &length)) {
        return -1;
    }
    td_wire_limit(&in, length);
    return td_ints_packed(&in, out, room);
}

/* A byte string more than there is room for cannot be parsed; this is what sets bytes apart. */
static inline int64_t td_bytes_all(td_wire *in, td_span *out, int64_t room) {
    int64_t count = 0;
    while (in->at < in->end) {
        td_span value;
        if (!td_wire_expect(in, TD_TAG_LEN(1)) || !td_wire_string(in, &value) || count >= room) {
            return -1;
        }
        out[count++] = value;
    }
    return count;
}

static inline int64_t td_list_spans(td_span list, td_span *out, int64_t room) {
    td_wire in;
    return td_list_open(list, &in) ? td_bytes_all(&in, out, room) : -1;
}

static inline int64_t td_list_values(td_element_type dtype, td_span list, void *out, int64_t room) {
    switch (dtype) {
    case TD_ELEMENT_FLOAT32:
        return td_list_floats(list, out, room);
    case TD_ELEMENT_INT64:
        return td_list_ints(list, out, room);
    default:
        return td_list_spans(list, out, room);
    }
}

#endif
