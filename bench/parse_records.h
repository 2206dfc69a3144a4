/* SPDX-License-Identifier: Apache-2.0
 * The records that parsing and feature columns are measured on: about 300 bytes and ten features
 * each, as tables for ads and ranking have them: 26 floats and 6 integers of fixed number, two
 * lists of strings and one of floats that vary.
 */
#ifndef TD_BENCH_PARSE_RECORDS_H
#define TD_BENCH_PARSE_RECORDS_H

#include "data/example_batch.h"

enum {
    TD_PARSE_BATCH = 1024,
    TD_PARSE_BATCHES = 8,
    TD_PARSE_RECORDS = TD_PARSE_BATCH * TD_PARSE_BATCHES,
    TD_PARSE_FEATURES = 10
};

typedef struct td_parse_field {
    const char *key;
    td_element_type dtype;
    int64_t values; /* 0: varies */
    int most;
} td_parse_field;

extern const td_parse_field td_parse_fields[TD_PARSE_FEATURES];

/* TD_PARSE_RECORDS records, in bytes; the list of them in the pool. */
td_status td_parse_records_make(td_pool *pool, td_text *bytes, td_span **records);

#endif
