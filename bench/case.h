/* SPDX-License-Identifier: Apache-2.0
 * Cases: what can be measured. A workload lists them and knows how to set one up, prove it, run it
 * once and cost it; it never loops, times, prints or pins: that is the runner's part.
 */
#ifndef TD_BENCH_CASE_H
#define TD_BENCH_CASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sha256.h"
#include "base/status.h"
#include "models/config.h"
#include "threads/group.h"
#include "threads/team.h"

enum { TD_CASE_ID = 128, TD_CASE_PARAMS = 4, TD_CASE_PROVIDER = 24 };

typedef struct td_workload td_workload;

typedef struct td_case {
    const td_workload *workload;
    char id[TD_CASE_ID];             /* without the layout: "kernel/gemm_f32/avx512/m64-n64-k64" */
    char provider[TD_CASE_PROVIDER]; /* "tandem", or a library's name */
    int64_t param[TD_CASE_PARAMS];   /* the workload's own: indices into its tables */
    bool quick;                      /* part of the quick suite */
    bool summed;                     /* part of its workload's summary */
    double seconds;                  /* about how long one layout takes, for the progress display */
} td_case;

/* Zero-initialise to start. failed: memory ran out. */
typedef struct td_case_list {
    td_case *at;
    int64_t count, capacity;
    bool failed;
} td_case_list;

/* Appends a case of tandem's own; the caller fills in the rest. Never NULL: with no memory it gives
 * a case that is not in the list, and sets failed. */
td_case *td_case_add(td_case_list *list, const td_workload *workload, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* All cases of all workloads, in order. */
td_status td_case_list_all(td_case_list *out);
void td_case_list_destroy(td_case_list *list);

/* "*" and "?" match within and across '/', as in a shell without special slashes; a glob without
 * either also matches as a prefix that ends at a '/'. */
bool td_case_matches(const char *glob, const char *id);

/* What a step of a case is worth. */
typedef enum td_value {
    TD_VALUE_FLOPS,  /* GFLOP/s, under the FMA peak and the bandwidth at its working set */
    TD_VALUE_BYTES,  /* GB/s, under the same */
    TD_VALUE_BUS,    /* GB/s of bus bandwidth: bytes * bus_factor / time, under roof_bytes of memory
                        traffic */
    TD_VALUE_ITEMS,  /* items a second, named by `unit` */
    TD_VALUE_TIME,   /* us, lower is better */
    TD_VALUE_CYCLES, /* cycles an item, named by `unit`, lower is better */
} td_value;

typedef struct td_cost {
    td_value value;
    double flops, bytes; /* of one step, as executed; 0: not applicable */
    double nominal;      /* training steps: FLOPs of the dense, padded model, by convention */
    double working_set;  /* bytes that a step touches, over all workers; 0: no bandwidth roof, as of
                            ranks on several hosts */
    double items;        /* of one step */
    double bus_factor, roof_bytes;
    int like; /* the td_peak_kind that loads and stores as this does, its second roof; 0: none */
    double clock_ghz; /* measured beside, for cycles */
    char mix[16];     /* of loads and stores, when its rate was measured beside the case */
    double mix_gbps;  /* of the fastest pass */
    char unit[16];
    int isa; /* td_isa of the code: chooses the peak of arithmetic, with the next */
    td_precision precision;
} td_cost;

enum {
    TD_OUTCOME_SAMPLES = 2048,
    TD_OUTCOME_OPS = 128,
    TD_OUTCOME_PARTS = 16,
    TD_OUTCOME_SPANS = 32768,
    TD_OUTCOME_NUMBERS = 24,
    TD_OUTCOME_TEXT = 512,
    TD_OUTCOME_ACCOUNT = 6144
};

enum { TD_COMPANIONS = 8, TD_COMPANION_SAMPLES = 512, TD_ROUND_CALLS = 32 };

/* What is timed in alternation with a case, one sample of each in turn, so that what disturbs one
 * disturbs the others: a library, which gets a record of its own, or another way, whose ratio
 * becomes a number of the case. */
typedef struct td_companion {
    char name[TD_CASE_PROVIDER], version[64];
    bool library;
    bool probe; /* what the machine gives just now: no more samples are taken for its sake */
    int state;  /* td_outcome_state; only TD_OUTCOME_OK is timed */
    char reason[160], method[96];
    int64_t n;
    double samples_ns[TD_COMPANION_SAMPLES]; /* of one step; sample i beside sample i of the case */
} td_companion;

typedef struct td_outcome_op {
    char name[32], family[24];
    double ns, wait_ns, flops, bytes;
    double alone_flops, alone_ns; /* of all times one of them was run when nothing else did */
    int64_t count;
    td_precision precision; /* of a product */
} td_outcome_op;

/* A part of a step: mean over workers of work and waits. */
typedef struct td_outcome_part {
    char name[24];
    double ns;
} td_outcome_part;

/* One op of one worker in the last step, as td_tsc: which is one clock for all processes. */
typedef struct td_outcome_span {
    char name[32], family[24];
    int rank, worker;
    uint64_t start, end;
} td_outcome_span;

/* What one case on one layout came to. Lies in memory that the ranks share with the runner, so it
 * holds no pointers. */
typedef struct td_outcome {
    int state;                    /* td_outcome_state */
    char reason[TD_OUTCOME_TEXT]; /* why it failed or was skipped */
    char method[96];              /* how it was proved */
    double max_ulp;               /* negative: not measured */
    char sha256[TD_SHA256_HEX], answer_class[16];
    char provider_version[64];
    td_cost cost;
    int64_t repeat; /* steps in a sample; samples_ns are of one step */
    int64_t n_samples;
    double samples_ns[TD_OUTCOME_SAMPLES];
    double steal_pct;
    _Atomic int64_t involuntary_switches;
    /* Of all ranks, as re-read when all was measured: the PU of each worker (-1: not bound to one),
     * how many were read, how many are where the layout says; and the first refusal. */
    int binding[TD_MAX_WORKERS];
    _Atomic int workers_read, workers_bound;
    char binding_note[128];
    int64_t n_ops;
    td_outcome_op ops[TD_OUTCOME_OPS];
    int64_t n_parts;
    td_outcome_part parts[TD_OUTCOME_PARTS];
    int64_t n_phases;
    double barrier_ns;       /* of one phase; 0: not measured */
    _Atomic int64_t n_spans; /* of all ranks; those beyond TD_OUTCOME_SPANS are not kept */
    td_outcome_span spans[TD_OUTCOME_SPANS];
    int n_companions;
    td_companion companions[TD_COMPANIONS];
    int64_t n_numbers;
    struct {
        char name[24];
        double value;
    } numbers[TD_OUTCOME_NUMBERS];
    char account[TD_OUTCOME_ACCOUNT]; /* what an experiment saw, a line each; "": none */
} td_outcome;

typedef enum td_outcome_state {
    TD_OUTCOME_NONE, /* interrupted before anything was measured */
    TD_OUTCOME_OK,
    TD_OUTCOME_FAILED,  /* its check failed, or it died: it was not timed */
    TD_OUTCOME_SKIPPED, /* cannot run here */
} td_outcome_state;

/* Further members of the record. */
void td_outcome_number(td_outcome *outcome, const char *name, double value);

/* Adds to a part of the step. */
void td_outcome_add_part(td_outcome *outcome, const char *name, double ns);

/* One of them, 0 when there is none of the name. */
double td_outcome_number_of(const td_outcome *outcome, const char *name);

/* What a workload is told of the run. */
typedef struct td_bench_settings {
    const char *data; /* directory of shards, or NULL: the procedural set */
    const char *mpi;  /* directory of MPI libraries to measure beside collectives, or NULL */
    bool profile;     /* keep the spans of a step */
} td_bench_settings;

/* One rank of one case on one layout. */
typedef struct td_bench {
    const td_case *subject;
    const td_bench_settings *settings;
    td_rank *rank;
    td_team *team;               /* after set-up, unless the workload has its own */
    int64_t scratch_bytes;       /* of each worker; set by set-up */
    void *state;                 /* the workload's */
    td_outcome *outcome;         /* written by rank 0 */
    const char *expected_sha256; /* of the same case on an earlier layout, "" for the first */
} td_bench;

struct td_workload {
    const char *name, *doc;
    bool own_team; /* set-up creates workers itself */
    bool apart;    /* ranks may be on several hosts: it needs no memory in common */
    td_status (*list)(const td_workload *self, td_case_list *list);
    /* Whether a case makes sense on a layout; every default layout is asked. */
    bool (*fits)(const td_case *subject, const td_layout *layout);
    /* Bytes of each rank's segment; NULL: none. */
    td_status (*segment)(const td_case *subject, const td_layout *layout, int64_t *bytes);
    /* In every rank. TD_ESKIP: cannot run here. The state is torn down whenever set. */
    td_status (*setup)(td_bench *bench);
    /* Runs the case and proves the answer; TD_ECHECK when it is wrong. Writes method. */
    td_status (*verify)(td_bench *bench);
    /* One of the two: a step as a region, called by all workers, or by the rank's own thread. */
    void (*region)(td_bench *bench, td_worker *worker);
    td_status (*step)(td_bench *bench);
    /* Or so many calls, 1 to TD_ROUND_CALLS, in every rank, timed by itself: nanoseconds of each,
     * in rank 0. Companions are asked for as many beside it. */
    td_status (*rounds)(td_bench *bench, int64_t calls, double *ns);
    /* Instead of them: a case that is no repetition of a step has written its samples in verify. */
    bool observes;
    /* One sample of a companion, `repeat` steps: nanoseconds of one, or, beside rounds, of each.
     * NULL: there are none. Called by rank 0's own thread while the team rests. */
    td_status (*beside)(td_bench *bench, int companion, int64_t repeat, double *ns);
    void (*cost)(const td_bench *bench, td_cost *out); /* rank 0, after verify */
    void (*begin)(td_bench *bench);                    /* just before sampling; may be NULL */
    void (*finish)(td_bench *bench);                   /* just after; may be NULL */
    void (*teardown)(td_bench *bench);
};

/* `fits` of what one rank does, with any number of workers. */
bool td_case_fits_one_rank(const td_case *subject, const td_layout *layout);

#define TD_WORKLOAD(name, doc) extern const td_workload td_workload_##name;
#include "bench/workloads.inc"
#undef TD_WORKLOAD

#endif
