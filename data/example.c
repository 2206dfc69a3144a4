/* SPDX-License-Identifier: Apache-2.0 */
#include "data/example.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum {
    WIRE_VARINT = 0,
    WIRE_I64 = 1,
    WIRE_LEN = 2,
    WIRE_GROUP = 3,
    WIRE_END_GROUP = 4,
    WIRE_I32 = 5
};
enum { VARINT_BYTES_MAX = 10 };

td_span td_span_text(const char *text) {
    return (td_span){(const uint8_t *)text, strlen(text)};
}

/* Part of the serialized Example that is being read; origin is byte 0, for messages. */
typedef struct wire {
    const uint8_t *at, *end, *origin;
} wire;

/* The status is returned here, not through td_fail, so that the compiler sees that it is not TD_OK.
 */
static td_status corrupt(const wire *in, const char *reason) {
    td_fail(TD_EINPUT, "Example, byte %lld: %s", (long long)(in->at - in->origin), reason);
    return TD_EINPUT;
}

/* A varint may be padded with zero groups up to ten bytes; bits above the 64th are dropped. */
static td_status read_varint(wire *in, uint64_t *out) {
    uint64_t value = 0;
    for (int i = 0; i < VARINT_BYTES_MAX && in->at + i < in->end; i++) {
        uint8_t byte = in->at[i];
        value |= (uint64_t)(byte & 0x7f) << 7 * i;
        if (byte < 0x80) {
            in->at += i + 1;
            *out = value;
            return TD_OK;
        }
    }
    return corrupt(in, in->end - in->at < VARINT_BYTES_MAX ? "cut number"
                                                           : "number of more than ten bytes");
}

typedef struct tag {
    uint32_t field, type;
} tag;

static td_status read_tag(wire *in, tag *out) {
    const wire start = *in;
    uint64_t value;
    TD_TRY(read_varint(in, &value));
    if (value > UINT32_MAX || value >> 3 == 0 || (value & 7) > WIRE_I32) {
        return corrupt(&start, "not a field tag");
    }
    *out = (tag){(uint32_t)value >> 3, (uint32_t)value & 7};
    return TD_OK;
}

static td_status take(wire *in, uint64_t bytes, wire *out) {
    if (bytes > (uint64_t)(in->end - in->at)) {
        return corrupt(in, "a value runs past the end of what contains it");
    }
    *out = (wire){in->at, in->at + bytes, in->origin};
    in->at += bytes;
    return TD_OK;
}

static td_status read_len(wire *in, wire *out) {
    const wire start = *in;
    uint64_t length;
    TD_TRY(read_varint(in, &length));
    if (length > (uint64_t)(in->end - in->at)) {
        return corrupt(&start, "a length runs past the end of what contains it");
    }
    return take(in, length, out);
}

/* Skips the value of a field nothing here asks for. A group is skipped with everything inside it.
 */
static td_status skip_value(wire *in, tag first) {
    uint32_t open_groups[TD_EXAMPLE_DEPTH_MAX];
    int depth = 0;
    tag field = first;
    for (;;) {
        uint64_t number;
        wire ignored;
        switch (field.type) {
        case WIRE_VARINT:
            TD_TRY(read_varint(in, &number));
            break;
        case WIRE_I64:
            TD_TRY(take(in, 8, &ignored));
            break;
        case WIRE_LEN:
            TD_TRY(read_len(in, &ignored));
            break;
        case WIRE_GROUP:
            if (depth == TD_EXAMPLE_DEPTH_MAX) {
                return corrupt(in, "groups nest too deep");
            }
            open_groups[depth++] = field.field;
            break;
        case WIRE_END_GROUP:
            if (depth == 0 || open_groups[--depth] != field.field) {
                return corrupt(in, "end of a group that is not open");
            }
            break;
        default:
            TD_TRY(take(in, 4, &ignored));
        }
        if (depth == 0) {
            return TD_OK;
        }
        TD_TRY(read_tag(in, &field));
    }
}

/* Makes room for one more item; the array may move. */
static td_status grow(void **items, int64_t *capacity, int64_t count, size_t item_bytes) {
    if (count < *capacity) {
        return TD_OK;
    }
    int64_t more = count < 16 ? 16 : count * 2;
    void *moved = td_realloc(*items, (size_t)more * item_bytes);
    if (moved == NULL) {
        return td_fail(TD_ENOMEM, "no memory for %lld values of an Example", (long long)more);
    }
    *items = moved;
    *capacity = more;
    return TD_OK;
}

#define ADD(example, list, capacity, n, value)                                                     \
    do {                                                                                           \
        void *items_ = (example)->list;                                                            \
        TD_TRY(grow(&items_, &(example)->capacity, (example)->n, sizeof *(example)->list));        \
        (example)->list = items_;                                                                  \
        (example)->list[(example)->n++] = (value);                                                 \
    } while (0)

static td_status add_float(td_example *example, wire *in) {
    wire raw;
    TD_TRY(take(in, 4, &raw));
    uint32_t bits = (uint32_t)raw.at[0] | (uint32_t)raw.at[1] << 8 | (uint32_t)raw.at[2] << 16 |
                    (uint32_t)raw.at[3] << 24;
    float value;
    memcpy(&value, &bits, sizeof value);
    ADD(example, floats, floats_capacity, n_floats, value);
    return TD_OK;
}

static td_status add_int(td_example *example, wire *in) {
    uint64_t value;
    TD_TRY(read_varint(in, &value));
    ADD(example, ints, ints_capacity, n_ints, (int64_t)value);
    return TD_OK;
}

/* Reads a BytesList, FloatList or Int64List and appends its values. */
static td_status read_list(wire *in, td_feature_kind kind, td_example *example) {
    while (in->at < in->end) {
        tag field;
        wire values;
        TD_TRY(read_tag(in, &field));
        if (field.field == 1 && kind == TD_FEATURE_BYTES && field.type == WIRE_LEN) {
            TD_TRY(read_len(in, &values));
            td_span span = {values.at, (size_t)(values.end - values.at)};
            ADD(example, bytes, bytes_capacity, n_bytes, span);
        } else if (field.field == 1 && kind == TD_FEATURE_FLOAT && field.type == WIRE_I32) {
            TD_TRY(add_float(example, in));
        } else if (field.field == 1 && kind == TD_FEATURE_INT64 && field.type == WIRE_VARINT) {
            TD_TRY(add_int(example, in));
        } else if (field.field == 1 && kind != TD_FEATURE_BYTES && field.type == WIRE_LEN) {
            TD_TRY(read_len(in, &values));
            while (values.at < values.end) {
                TD_TRY(kind == TD_FEATURE_FLOAT ? add_float(example, &values)
                                                : add_int(example, &values));
            }
        } else {
            TD_TRY(skip_value(in, field));
        }
    }
    return TD_OK;
}

/* Where a feature's values start in the three lists; they are turned into pointers once the lists
 * no longer move. */
typedef struct mark {
    int64_t bytes, floats, ints;
} mark;

static mark mark_here(const td_example *example) {
    return (mark){example->n_bytes, example->n_floats, example->n_ints};
}

/* Reads a Feature. A list of another kind replaces what was there; one of the same kind is
 * appended. */
static td_status read_feature(wire *in, mark start, td_example *example, td_feature_kind *kind) {
    while (in->at < in->end) {
        tag field;
        TD_TRY(read_tag(in, &field));
        if (field.field >= TD_FEATURE_BYTES && field.field <= TD_FEATURE_INT64 &&
            field.type == WIRE_LEN) {
            wire list;
            TD_TRY(read_len(in, &list));
            td_feature_kind found = (td_feature_kind)field.field;
            if (found != *kind) {
                example->n_bytes = start.bytes;
                example->n_floats = start.floats;
                example->n_ints = start.ints;
                *kind = found;
            }
            TD_TRY(read_list(&list, found, example));
        } else {
            TD_TRY(skip_value(in, field));
        }
    }
    return TD_OK;
}

/* Reads one map entry. Until all entries are read, the list pointers of a feature hold no address:
 * the index of its first value is the count of values before it, which bind_values recovers in the
 * same order. */
static td_status read_entry(wire *in, td_example *example) {
    mark start = mark_here(example);
    td_feature feature = {.key = {in->at, 0}};
    while (in->at < in->end) {
        tag field;
        wire part;
        TD_TRY(read_tag(in, &field));
        if (field.field == 1 && field.type == WIRE_LEN) {
            TD_TRY(read_len(in, &part));
            feature.key = (td_span){part.at, (size_t)(part.end - part.at)};
        } else if (field.field == 2 && field.type == WIRE_LEN) {
            TD_TRY(read_len(in, &part));
            TD_TRY(read_feature(&part, start, example, &feature.kind));
        } else {
            TD_TRY(skip_value(in, field));
        }
    }
    feature.count = example->n_bytes - start.bytes + example->n_floats - start.floats +
                    example->n_ints - start.ints;
    ADD(example, features, capacity, count, feature);
    return TD_OK;
}

static td_status read_features(wire *in, td_example *example) {
    while (in->at < in->end) {
        tag field;
        TD_TRY(read_tag(in, &field));
        if (field.field == 1 && field.type == WIRE_LEN) {
            wire entry;
            TD_TRY(read_len(in, &entry));
            TD_TRY(read_entry(&entry, example));
        } else {
            TD_TRY(skip_value(in, field));
        }
    }
    return TD_OK;
}

static void bind_values(td_example *example) {
    mark next = {0};
    for (int64_t i = 0; i < example->count; i++) {
        td_feature *feature = &example->features[i];
        if (feature->count == 0) {
            continue; /* the lists may not exist yet */
        }
        if (feature->kind == TD_FEATURE_BYTES) {
            feature->bytes = example->bytes + next.bytes;
            next.bytes += feature->count;
        } else if (feature->kind == TD_FEATURE_FLOAT) {
            feature->floats = example->floats + next.floats;
            next.floats += feature->count;
        } else if (feature->kind == TD_FEATURE_INT64) {
            feature->ints = example->ints + next.ints;
            next.ints += feature->count;
        }
    }
}

/* By bytes; of two keys one of which starts the other, the longer first. */
static int compare_keys(td_span a, td_span b) {
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order == 0 && a.size != b.size) {
        order = a.size > b.size ? -1 : 1;
    }
    return order;
}

static int compare_features(const void *a, const void *b) {
    const td_feature *x = a, *y = b;
    int order = compare_keys(x->key, y->key);
    /* Entries with equal keys keep their order in the record, which is that of the keys' addresses.
     */
    return order != 0 ? order : (x->key.data > y->key.data) - (x->key.data < y->key.data);
}

static void keep_last_of_equal_keys(td_example *example) {
    if (example->count == 0) {
        return;
    }
    qsort(example->features, (size_t)example->count, sizeof *example->features, compare_features);
    int64_t kept = 0;
    for (int64_t i = 1; i < example->count; i++) {
        if (compare_keys(example->features[kept].key, example->features[i].key) != 0) {
            kept++;
        }
        example->features[kept] = example->features[i];
    }
    example->count = kept + 1;
}

static td_status read_example(wire *in, td_example *example) {
    while (in->at < in->end) {
        tag field;
        TD_TRY(read_tag(in, &field));
        if (field.field == 1 && field.type == WIRE_LEN) {
            wire features;
            TD_TRY(read_len(in, &features));
            TD_TRY(read_features(&features, example));
        } else {
            TD_TRY(skip_value(in, field));
        }
    }
    return TD_OK;
}

td_status td_example_decode(const void *data, size_t size, td_example *out) {
    out->count = out->n_bytes = out->n_floats = out->n_ints = 0;
    if (size > TD_EXAMPLE_BYTES_MAX) {
        return td_fail(TD_EINPUT, "an Example of %zu bytes, at most %d are accepted", size,
                       TD_EXAMPLE_BYTES_MAX);
    }
    if (size == 0) {
        return TD_OK;
    }
    wire in = {data, (const uint8_t *)data + size, data};
    td_status status = read_example(&in, out);
    if (status != TD_OK) {
        out->count = 0;
        return status;
    }
    bind_values(out);
    keep_last_of_equal_keys(out);
    return TD_OK;
}

void td_example_destroy(td_example *example) {
    td_free(example->features);
    td_free(example->bytes);
    td_free(example->floats);
    td_free(example->ints);
    *example = (td_example){0};
}

const td_feature *td_example_find(const td_example *example, const char *key) {
    td_span wanted = td_span_text(key);
    int64_t low = 0, high = example->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = compare_keys(example->features[middle].key, wanted);
        if (order == 0) {
            return &example->features[middle];
        }
        *(order < 0 ? &low : &high) = order < 0 ? middle + 1 : middle;
    }
    return NULL;
}

static size_t varint_bytes(uint64_t value) {
    size_t bytes = 1;
    for (; value >= 0x80; value >>= 7) {
        bytes++;
    }
    return bytes;
}

static void put_varint(td_text *out, uint64_t value) {
    char bytes[VARINT_BYTES_MAX];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7) {
        bytes[n++] = (char)(value | 0x80);
    }
    bytes[n++] = (char)value;
    td_text_append(out, bytes, n);
}

static void put_len_tag(td_text *out, unsigned field, size_t length) {
    put_varint(out, field << 3 | WIRE_LEN);
    put_varint(out, length);
}

static size_t len_field_bytes(size_t length) {
    return 1 + varint_bytes(length) + length; /* every field here has a one-byte tag */
}

/* Bytes of the packed values; for byte strings, of the repeated fields. */
static size_t values_bytes(const td_feature *feature) {
    size_t bytes = 0;
    for (int64_t i = 0; i < feature->count; i++) {
        switch (feature->kind) {
        case TD_FEATURE_BYTES:
            bytes += len_field_bytes(feature->bytes[i].size);
            break;
        case TD_FEATURE_FLOAT:
            bytes += 4;
            break;
        case TD_FEATURE_INT64:
            bytes += varint_bytes((uint64_t)feature->ints[i]);
            break;
        case TD_FEATURE_NONE:
            break;
        }
    }
    return bytes;
}

static size_t list_bytes(const td_feature *feature) {
    size_t values = values_bytes(feature);
    return feature->kind == TD_FEATURE_BYTES || feature->count == 0 ? values
                                                                    : len_field_bytes(values);
}

static size_t entry_bytes(const td_feature *feature) {
    size_t value = feature->kind == TD_FEATURE_NONE ? 0 : len_field_bytes(list_bytes(feature));
    return len_field_bytes(feature->key.size) + len_field_bytes(value);
}

static void put_float(td_text *out, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    char bytes[4] = {(char)bits, (char)(bits >> 8), (char)(bits >> 16), (char)(bits >> 24)};
    td_text_append(out, bytes, sizeof bytes);
}

static void put_entry(td_text *out, const td_feature *feature) {
    size_t list = list_bytes(feature);
    put_len_tag(out, 1, entry_bytes(feature));
    put_len_tag(out, 1, feature->key.size);
    td_text_append(out, (const char *)feature->key.data, feature->key.size);
    put_len_tag(out, 2, feature->kind == TD_FEATURE_NONE ? 0 : len_field_bytes(list));
    if (feature->kind == TD_FEATURE_NONE) {
        return;
    }
    put_len_tag(out, feature->kind, list);
    if (feature->kind != TD_FEATURE_BYTES && feature->count > 0) {
        put_len_tag(out, 1, values_bytes(feature));
    }
    for (int64_t i = 0; i < feature->count; i++) {
        if (feature->kind == TD_FEATURE_BYTES) {
            put_len_tag(out, 1, feature->bytes[i].size);
            td_text_append(out, (const char *)feature->bytes[i].data, feature->bytes[i].size);
        } else if (feature->kind == TD_FEATURE_FLOAT) {
            put_float(out, feature->floats[i]);
        } else {
            put_varint(out, (uint64_t)feature->ints[i]);
        }
    }
}

td_status td_example_encode(const td_feature *features, int64_t count, td_text *out) {
    if (count == 0) {
        return td_text_status(out);
    }
    td_feature *sorted = td_alloc((size_t)count * sizeof *sorted);
    if (sorted == NULL) {
        return td_fail(TD_ENOMEM, "no memory for %lld features", (long long)count);
    }
    memcpy(sorted, features, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_features);
    size_t bytes = 0;
    td_status status = TD_OK;
    for (int64_t i = 0; i < count && status == TD_OK; i++) {
        if (i > 0 && compare_keys(sorted[i - 1].key, sorted[i].key) == 0) {
            status = td_fail(TD_EINPUT, "two features are named \"%.*s\"", (int)sorted[i].key.size,
                             (const char *)sorted[i].key.data);
        }
        bytes += len_field_bytes(entry_bytes(&sorted[i]));
    }
    if (status == TD_OK && len_field_bytes(bytes) > TD_EXAMPLE_BYTES_MAX) {
        status = td_fail(TD_EINPUT, "an Example of %zu bytes, at most %d are accepted",
                         len_field_bytes(bytes), TD_EXAMPLE_BYTES_MAX);
    }
    if (status == TD_OK) {
        put_len_tag(out, 1, bytes);
        for (int64_t i = 0; i < count; i++) {
            put_entry(out, &sorted[i]);
        }
        status = td_text_status(out);
    }
    td_free(sorted);
    return status;
}
