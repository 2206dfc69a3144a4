/* SPDX-License-Identifier: Apache-2.0
 * The way most records go: every entry well formed, no key twice, every value as asked for.
 * Whatever is otherwise makes the record go the whole way in example_slice.c, from its start, so
 * there is one place that says what is right.
 */
#include "data/example_slice.h"
#include "data/example_values.h"

static inline void copy_row(char *to, const uint8_t *from, size_t bytes) {
    if (bytes == 4) {
        memcpy(to, from, 4);
    } else if (bytes == 8) {
        memcpy(to, from, 8);
    } else {
        memcpy(to, from, bytes);
    }
}

/* A feature of one packed list, every length in one byte: tag, length, tag, length, values. */
static inline bool short_packed(td_span value, uint8_t tag) {
    return value.size >= 4 && value.size <= 0x81 && value.data[0] == tag &&
           value.data[1] == value.size - 2 && value.data[2] == TD_TAG_LEN(1) &&
           value.data[3] == value.size - 4;
}

static inline bool fixed_value(const td_fast_slot *slot, int64_t example, td_span value) {
    char *row = slot->base + (size_t)example * slot->row_bytes;
    if (slot->dtype == TD_ELEMENT_FLOAT32 && short_packed(value, TD_TAG_LEN(2)) &&
        value.size - 4 == slot->row_bytes) {
        copy_row(row, value.data + 4, slot->row_bytes);
        return true;
    }
    if (slot->dtype == TD_ELEMENT_INT64 && short_packed(value, TD_TAG_LEN(3))) {
        td_wire in = {value.data + 4, value.data + value.size};
        return td_ints_packed(&in, (int64_t *)(void *)row, slot->elements) == slot->elements;
    }
    td_element_type dtype;
    return td_feature_dtype(&value, &dtype) && dtype == slot->dtype &&
           td_list_values(dtype, value, row, slot->elements) == slot->elements;
}

static inline bool varying_value(const td_fast_slot *slot, td_column_buffer *column,
                                 td_span value) {
    td_element_type dtype;
    if (!td_feature_dtype(&value, &dtype) || dtype != slot->dtype) {
        return false;
    }
    int64_t bound = td_list_bound(dtype, value.size);
    if (column->count + bound >= column->capacity && !td_column_reserve(column, dtype, bound)) {
        return false;
    }
    char *to = (char *)column->data + (size_t)column->count * td_element_bytes(dtype);
    int64_t count = td_list_values(dtype, value, to, INT64_MAX / 8);
    if (count < 0 || (slot->elements > 1 && count % slot->elements != 0)) {
        return false;
    }
    column->count += count;
    return true;
}

/* The only field of an Example: a tag and a length that reaches the record's end. */
static inline const uint8_t *open_record(td_span record) {
    td_wire in = td_wire_of(record);
    uint32_t length;
    if (!td_wire_expect(&in, TD_TAG_LEN(1)) || !td_wire_varint32(&in, &length) ||
        length != (size_t)(in.end - in.at)) {
        return NULL;
    }
    return in.at;
}

/* Key and value of the entry at *at, when all its lengths are one byte. */
static inline bool short_entry(const uint8_t **at, const uint8_t *end, td_span *key,
                               td_span *value) {
    const uint8_t *p = *at;
    if (end - p < 6 || p[0] != TD_TAG_LEN(1) || p[1] >= 0x80 || p[1] > end - p - 2 ||
        p[2] != TD_TAG_LEN(1) || p[3] + 4 > p[1]) {
        return false;
    }
    const uint8_t *v = p + 4 + p[3], *after = p + 2 + p[1];
    if (v[0] != TD_TAG_LEN(2) || v[1] >= 0x80 || v + 2 + v[1] != after) {
        return false;
    }
    *key = (td_span){p + 4, p[3]};
    *value = (td_span){v + 2, v[1]};
    *at = after;
    return true;
}

bool td_slice_fast(const td_example_parser *parser, td_slice *slice, int64_t example,
                   td_span record) {
    const uint8_t *at = open_record(record), *end = record.data + record.size;
    int fixed = 0;
    if (at == NULL) {
        return false;
    }
    for (int64_t place = 0; at < end; place++) {
        td_span key, value;
        if (!short_entry(&at, end, &key, &value)) {
            td_wire in = {at, end};
            if (!td_wire_expect(&in, TD_TAG_LEN(1)) || !td_slice_entry(&in, &key, &value)) {
                return false;
            }
            at = in.at;
        }
        int number = td_slice_slot(parser, slice, place, key);
        if (number < 0) {
            continue;
        }
        const td_fast_slot *slot = &slice->fast[number];
        if (slice->seen[number] == example) {
            return false;
        }
        slice->seen[number] = example;
        if (slot->fixed ? !fixed_value(slot, example, value)
                        : !varying_value(slot, &slice->columns[number], value)) {
            return false;
        }
        fixed += slot->fixed;
    }
    return fixed == slice->n_fixed;
}
