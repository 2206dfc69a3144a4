/* SPDX-License-Identifier: Apache-2.0
 * Google Benchmark as registry, filter and console, behind C. It never times anything: each
 * registered benchmark is one iteration with manual time, which the runner measured. One C++ file
 * implements this.
 */
#ifndef TD_BENCH_GBENCH_H
#define TD_BENCH_GBENCH_H

#include <stdbool.h>

/* What a run of one benchmark gives back. */
typedef struct td_gbench_result {
    double seconds;     /* of one step; 0 with an error */
    const char *error;  /* NULL when good; borrowed until the call returns */
    double counters[4]; /* median_ns, mad_ns, min_ns, samples */
} td_gbench_result;

typedef void td_gbench_fn(void *user, td_gbench_result *out);

/* Registers a benchmark. The name is copied. Returns 0, or -1 when memory ran out. */
int td_gbench_register(const char *name, td_gbench_fn *fn, void *user);

/* Takes the --benchmark_* arguments out of argc, argv. Returns the first argument that Google
 * Benchmark does not know although it is spelled as one of its own, or NULL. */
const char *td_gbench_initialize(int *argc, char **argv);

/* True when --benchmark_list_tests was among them: td_gbench_run then only prints names. */
bool td_gbench_lists(void);

/* Runs what the filter matches, in order of registration, and calls the functions. Returns the
 * number of matching benchmarks, or -1 when Google Benchmark failed. */
long td_gbench_run(void);

#endif
