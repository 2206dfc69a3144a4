/* SPDX-License-Identifier: Apache-2.0
 * What records of collectives say, for who chooses algorithms or models a machine.
 */
#ifndef TD_BENCH_COLL_RECORDS_H
#define TD_BENCH_COLL_RECORDS_H

#include "base/status.h"
#include "collectives/comm.h"
#include "threads/layout.h"

/* One of ours, measured and proved, called in place on f32 numbers. */
typedef struct td_coll_record {
    const td_collective *row;
    td_layout layout;
    char layout_text[TD_LAYOUT_TEXT];
    char how[40]; /* the end of the id, "-written-isolated"; "" for hot buffers, streaming */
    int64_t bytes;
    double ns; /* median */
} td_coll_record;

typedef struct td_coll_records {
    td_coll_record *at;
    int n, capacity;
    char machine[80]; /* fingerprint id, "" where the records have none */
} td_coll_records;

/* DIR/records.jsonl. TD_EIO, TD_EINPUT with the line. */
td_status td_coll_records_read(const char *directory, td_coll_records *out);
void td_coll_records_destroy(td_coll_records *records);

/* ns + ns_per_byte * bytes through the smallest and the largest size that a row was measured with
 * on so many ranks. TD_EINPUT when there are not two. */
typedef struct td_coll_fit {
    double ns, ns_per_byte;
} td_coll_fit;
td_status td_coll_records_fit(const char *directory, const char *operation, const char *algorithm,
                              int ranks, td_coll_fit *out);

#endif
