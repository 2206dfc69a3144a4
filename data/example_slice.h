/* SPDX-License-Identifier: Apache-2.0
 * One slice of a batch of Examples: parsed by one worker into buffers of its own, then copied to
 * its place in the result. Private to the batch parser.
 */
#ifndef TD_DATA_EXAMPLE_SLICE_H
#define TD_DATA_EXAMPLE_SLICE_H

#include "data/example_batch.h"
#include "data/tf_error.h"
#include "data/wire.h"

/* Values of one feature that is not FIXED, over the examples of a slice. */
typedef struct td_column_buffer {
    void *data;
    int64_t count, capacity; /* values */
    int64_t *ends;           /* of each example, counted from the slice's first value */
    int64_t ends_capacity;
    int64_t most;  /* values of one example */
    int64_t start; /* where the slice's values go in the result */
} td_column_buffer;

/* A feature of the record at hand that was asked for. */
typedef struct td_match {
    int slot;
    td_span value;
} td_match;

/* What stood at this place of the record before: the same writer writes the same order. */
typedef struct td_guess {
    td_span key;
    int slot; /* -1: nobody asked for it */
} td_guess;

/* What parsing needs of a feature, close together. */
typedef struct td_fast_slot {
    td_element_type dtype;
    bool fixed;
    int64_t elements;
    size_t row_bytes;
    char *base; /* of the dense output */
} td_fast_slot;

typedef struct td_slice {
    int64_t first, last; /* examples */
    td_fast_slot *fast;
    int n_fixed;
    td_column_buffer *columns;
    int64_t *seen; /* the last example that had a feature */
    td_match *matches;
    td_guess *guesses;
    int64_t n_matches, match_capacity, guess_capacity, n_guesses;
    td_tf_class failed;
    char message[1024];
} td_slice;

struct td_example_parser {
    td_parse_feature *features;
    int64_t *elements; /* values of one row */
    int count;
    int *table; /* open addressing by key: a slot, or -1 */
    uint64_t table_mask;
    td_slice *slices;
    int slice_capacity, n_prepared;
    td_pool pool;
};

typedef struct td_batch {
    const td_span *records, *names;
    int64_t n;
    td_array *out;
} td_batch;

int td_parser_slot(const td_example_parser *parser, td_span key);

/* Memory of a new slice, which is kept; then, for every batch and by the worker that parses it (the
 * lines it writes are in its own caches), the start of examples [first, last). */
td_status td_slice_prepare(td_slice *slice, int features);
void td_slice_begin(td_slice *slice, int features, int64_t first, int64_t last);
void td_slice_destroy(td_slice *slice, int features);

/* The features of one record that were asked for, in its order; false when its framing is broken or
 * (slice->failed is set) memory ran out. */
bool td_slice_scan(const td_example_parser *parser, td_slice *slice, td_span record);

int td_slice_slot_slow(const td_example_parser *parser, td_slice *slice, int64_t place,
                       td_span key);

/* Keys are short: two loads that may overlap compare up to 16 bytes without a call. */
static inline bool td_same_key(td_span a, td_span b) {
    if (a.size != b.size) {
        return false;
    }
    if (a.size >= 8 && a.size <= 16) {
        uint64_t x[2], y[2];
        memcpy(&x[0], a.data, 8);
        memcpy(&y[0], b.data, 8);
        memcpy(&x[1], a.data + a.size - 8, 8);
        memcpy(&y[1], b.data + b.size - 8, 8);
        return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
    }
    if (a.size >= 4 && a.size < 8) {
        uint32_t x[2], y[2];
        memcpy(&x[0], a.data, 4);
        memcpy(&y[0], b.data, 4);
        memcpy(&x[1], a.data + a.size - 4, 4);
        memcpy(&y[1], b.data + b.size - 4, 4);
        return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
    }
    if (a.size < 4) {
        for (size_t i = 0; i < a.size; i++) {
            if (a.data[i] != b.data[i]) {
                return false;
            }
        }
        return true;
    }
    return memcmp(a.data, b.data, a.size) == 0;
}

/* The slot of the key at place `place` of a record, -1 when nobody asked for it. */
static inline int td_slice_slot(const td_example_parser *parser, td_slice *slice, int64_t place,
                                td_span key) {
    if (place < slice->n_guesses && td_same_key(slice->guesses[place].key, key)) {
        return slice->guesses[place].slot;
    }
    return td_slice_slot_slow(parser, slice, place, key);
}

/* Key and value of a map entry behind its tag, in either order, exactly two fields. */
bool td_slice_entry(td_wire *in, td_span *key, td_span *value);
/* A record as records usually are: parsed into the slice's columns and the outputs, all features
 * that have to be there were. False: undo it, and go the whole way. */
bool td_slice_fast(const td_example_parser *parser, td_slice *slice, int64_t example,
                   td_span record);

/* Room for that many more values; false when memory runs out. */
bool td_column_reserve(td_column_buffer *column, td_element_type dtype, int64_t more);

/* Parses [first, last); a failure is left in the slice. */
void td_slice_parse(const td_example_parser *parser, const td_batch *batch, td_slice *slice);

/* The output of a feature that is not FIXED. */
td_status td_slice_take(const td_example_parser *parser, int slot, int64_t n, int64_t total,
                        int64_t most, td_pool *pool, td_array *out);
/* Copies the slice's part of a feature to its place. */
void td_slice_merge(const td_example_parser *parser, const td_slice *slice, int slot,
                    td_array *out);

#endif
