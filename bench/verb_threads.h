/* SPDX-License-Identifier: Apache-2.0
 * The actions of `tandem threads`.
 */
#ifndef TD_BENCH_VERB_THREADS_H
#define TD_BENCH_VERB_THREADS_H

#include <stdbool.h>
#include <stdint.h>

#include <stddef.h>

#include "base/options.h"
#include "base/status.h"

typedef struct td_threads_options {
    bool mutants, brief, json;
    int64_t repeat;
} td_threads_options;

/* word: the second word of the command line, or NULL. */
td_status td_threads_list(const td_threads_options *options, const char *word);
td_status td_threads_run(const td_threads_options *options, const char *word);

/* word: process ids. TD_ECHECK when there is a deadlock. */
td_status td_threads_dump(const td_threads_options *options, const char *word);
td_status td_threads_deadlocks(const td_threads_options *options, const char *word);

/* word: one process id, or NULL for all processes. */
td_status td_threads_tree(const td_threads_options *options, const char *word);

#endif
