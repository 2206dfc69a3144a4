/* SPDX-License-Identifier: Apache-2.0
 * Records: one line of JSON about one case on one layout, appended to records.jsonl. The writer is
 * what bench uses; the reader is what reports, compare and gate use. Schema 1 is written down in
 * docs/records.md.
 */
#ifndef TD_REPORTS_RECORD_H
#define TD_REPORTS_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/status.h"

enum { TD_RECORD_SCHEMA = 1 };

typedef struct td_ceiling {
    const char *name; /* "fma_f32", "read", "copy", "allreduce_2pn" */
    double value;
    const char *unit;
    const char *disturbed; /* why it may be too low; NULL: it is not */
} td_ceiling;

typedef struct td_op_time { /* one op family, or one op, of a step */
    const char *name, *family;
    double ns; /* per step, summed over its instances, of the slowest worker */
    double wait_ns;
    double flops, bytes;
    int64_t count;
} td_op_time;

/* What is known of one result. Pointers borrow; zero or NULL means "not applicable" and is left out
 * of the line. */
typedef struct td_record {
    const char *case_id; /* without the layout: "kernel/gemm_f32/avx512/m1024-n1024-k1024" */
    const char *layout;  /* canonical text, may be "" for machine-wide facts */
    const char *isa, *provider, *provider_version;
    const char *status; /* "ok", "failed" (its check), "skipped" */
    const char *reason; /* why failed or skipped */
    double value;       /* from the median time */
    const char *unit;   /* "GFLOP/s", "GB/s", "pairs/s", "us" */
    bool lower_is_better;
    const double *samples_ns;
    int64_t n_samples;
    double flops, bytes; /* of one sample's unit of work */
    const td_ceiling *ceilings;
    int64_t n_ceilings;
    bool check_ok;
    const char *check_method; /* "memcmp:portable", "bound:f64" */
    double max_ulp;           /* negative: not measured */
    const char *answer_sha256, *answer_class;
    double steal_pct;
    int64_t involuntary_switches;
    const td_op_time *ops; /* steps only */
    int64_t n_ops;
    json_t *extra;       /* further members ("mfu", "data_wait_ns", "busbw"), borrowed; or NULL */
    const char *command; /* repeats this very row */
} td_record;

typedef struct td_record_writer td_record_writer;

/* Appends to path; the first line of a new file is {"schema": 1, "machine": {...}, "run": {...}}.
 * Every line is flushed, so a partial run keeps its records. machine and run are borrowed. */
td_status td_record_open(const char *path, json_t *machine, json_t *run, td_record_writer **out);
td_status td_record_write(td_record_writer *writer, const td_record *record);
td_status td_record_close(td_record_writer *writer);

/* All lines of a file. A bad line is TD_EINPUT with file, line and reason; a cut last line is
 * dropped with a note in *warning (td_free it). */
typedef struct td_record_set {
    json_t *header;  /* the first line */
    json_t *records; /* array of the others, in order */
} td_record_set;
td_status td_record_read(const char *path, td_record_set *out, char **warning);
void td_record_set_free(td_record_set *set);

#endif
