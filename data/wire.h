/* SPDX-License-Identifier: Apache-2.0
 * Protocol-buffer wire form as TensorFlow's parsers read it. A length that runs past the end of
 * what contains it is cut to what is there, and one of 2^31 or more is ignored, as its stream class
 * does; what that makes of damaged input is part of the results that are reproduced. Nothing here
 * reads outside [at, end).
 */
#ifndef TD_DATA_WIRE_H
#define TD_DATA_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "data/example.h"

enum { TD_WIRE_VARINT_BYTES_MAX = 10 };

typedef struct td_wire {
    const uint8_t *at, *end;
} td_wire;

#define TD_TAG_VARINT(field) ((uint8_t)((field) << 3))
#define TD_TAG_LEN(field)    ((uint8_t)((field) << 3 | 2))
#define TD_TAG_I32(field)    ((uint8_t)((field) << 3 | 5))

static inline td_wire td_wire_of(td_span span) {
    const uint8_t *at = span.data != NULL ? span.data : (const uint8_t *)"";
    return (td_wire){at, at + span.size};
}

/* False when it is cut or longer than ten bytes; bits above the 64th are dropped. */
static inline bool td_wire_varint_slow(td_wire *in, uint64_t *out) {
    uint64_t value = 0;
    for (int i = 0; i < TD_WIRE_VARINT_BYTES_MAX && in->at + i < in->end; i++) {
        uint8_t byte = in->at[i];
        value |= (uint64_t)(byte & 0x7f) << 7 * i;
        if (byte < 0x80) {
            in->at += i + 1;
            *out = value;
            return true;
        }
    }
    return false;
}

static inline bool td_wire_varint(td_wire *in, uint64_t *out) {
    if (in->at < in->end && *in->at < 0x80) {
        *out = *in->at++;
        return true;
    }
    return td_wire_varint_slow(in, out);
}

/* Of a longer number the low 32 bits. */
static inline bool td_wire_varint32(td_wire *in, uint32_t *out) {
    uint64_t value;
    bool ok = td_wire_varint(in, &value);
    *out = ok ? (uint32_t)value : 0;
    return ok;
}

/* Takes one byte when it is the expected tag. */
static inline bool td_wire_expect(td_wire *in, uint8_t tag) {
    if (in->at < in->end && *in->at == tag) {
        in->at++;
        return true;
    }
    return false;
}

/* Any tag; 0 at the end or when it is malformed. */
static inline uint32_t td_wire_tag(td_wire *in) {
    uint32_t tag;
    return td_wire_varint32(in, &tag) ? tag : 0;
}

/* Bounds what is read next; returns the former bound, to be put back. */
static inline const uint8_t *td_wire_limit(td_wire *in, uint32_t length) {
    const uint8_t *outer = in->end;
    if (length <= INT32_MAX && length < (size_t)(in->end - in->at)) {
        in->end = in->at + length;
    }
    return outer;
}

/* A length and that many bytes, all of which must be there. */
static inline bool td_wire_string(td_wire *in, td_span *out) {
    uint32_t length;
    if (!td_wire_varint32(in, &length) || length > (size_t)(in->end - in->at)) {
        return false;
    }
    *out = (td_span){in->at, length};
    in->at += length;
    return true;
}

static inline bool td_wire_skip(td_wire *in, size_t bytes) {
    bool ok = bytes <= (size_t)(in->end - in->at);
    in->at = ok ? in->at + bytes : in->end;
    return ok;
}

/* Skips a field at the top of a message. Groups are an error; a length too large ends the message.
 */
static inline bool td_wire_skip_field(td_wire *in) {
    uint32_t length;
    switch (td_wire_tag(in) & 7) {
    case 0:
        return td_wire_varint32(in, &length);
    case 1:
        return td_wire_skip(in, 8);
    case 2:
        if (!td_wire_varint32(in, &length)) {
            return false;
        }
        if (length <= INT32_MAX) {
            td_wire_skip(in, length);
        }
        return true;
    case 5:
        return td_wire_skip(in, 4);
    default:
        return false;
    }
}

#endif
