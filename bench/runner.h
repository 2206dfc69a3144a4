/* SPDX-License-Identifier: Apache-2.0
 * The runner: one case on one layout, in a process of its own, or, when MPI has started the ranks,
 * in all of them, where each calls td_runner_run and rank 0 has the outcome. It proves the case
 * first and times nothing that fails; then warms up, samples until the budget is used, and tells
 * what disturbed it.
 */
#ifndef TD_BENCH_RUNNER_H
#define TD_BENCH_RUNNER_H

#include "bench/case.h"

/* A fault put in on purpose, to show that it is found. */
typedef enum td_inject_kind {
    TD_INJECT_NONE,
    TD_INJECT_SLOW,  /* every step takes `share` longer */
    TD_INJECT_WRONG, /* the check fails */
    TD_INJECT_CRASH, /* the process of the case dies */
} td_inject_kind;

typedef struct td_inject {
    td_inject_kind kind;
    double share;
} td_inject;

typedef struct td_runner_options {
    const td_bench_settings *settings;
    const td_topology *topology;
    int64_t min_time_ns; /* of all samples together */
    int64_t samples;     /* exactly so many; 0: by time, at least 5 unless a step is very slow */
    int64_t limit_ns;    /* a case that takes longer in all is ended and has failed */
    td_inject inject;
} td_runner_options;

/* Called about 20 times a second while a case runs. */
typedef void td_runner_tick(void *arg);

/* out lies in memory of td_runner_outcome. Returns an error only when the machinery fails: a case
 * that fails, crashes or cannot run here says so in out. After an interrupt out may be
 * TD_OUTCOME_NONE, or hold fewer samples. */
td_status td_runner_run(const td_case *subject, const td_layout *layout,
                        const td_runner_options *options, const char *expected_sha256,
                        td_runner_tick *tick, void *arg, td_outcome *out);

/* One outcome in memory that forked processes share. */
td_status td_runner_outcome_create(td_outcome **out);
void td_runner_outcome_destroy(td_outcome *outcome);

#endif
