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
#include "threads/concepts/lab.h"
#include "threads/monitor.h"

typedef struct td_threads_options {
    bool mutants, brief, json, stacks;
    int64_t repeat, hogs, interval_ms, count, depth; /* interval_ms 0: each action has its own */
    const char *setting; /* the third word of the command line, or NULL */
} td_threads_options;

/* word: the second word of the command line, or NULL. */
td_status td_threads_list(const td_threads_options *options, const char *word);
td_status td_threads_run(const td_threads_options *options, const char *word);

/* By id, name, or group/name; NULL: every one. */
bool td_threads_chosen(const td_concept *concept, const char *glob);

/* The experiments options->repeat times, counted and not told, beside options->hogs processes. */
td_status td_threads_repeat(const td_threads_options *options, const char *word);

typedef struct td_threads_tally {
    int passed, failed, skipped; /* claims */
    int caught, missed;          /* mutants */
} td_threads_tally;
void td_threads_count(td_threads_tally *sum, const td_lab_report *report);
bool td_threads_count_mutant(td_threads_tally *sum, const td_lab_report *report); /* caught? */

/* Prints the sum and turns it into a status. */
td_status td_threads_conclude(const td_threads_options *options, const char *word,
                              const td_threads_tally *sum);

/* "8412" or "8412,8413". pid has room for TD_MOST_PIDS. */
enum { TD_MOST_PIDS = 64 };
td_status td_threads_parse_pids(const char *word, int *pid, int *count);

/* word: process ids. TD_ECHECK when there is a deadlock. */
td_status td_threads_dump(const td_threads_options *options, const char *word);
td_status td_threads_deadlocks(const td_threads_options *options, const char *word);
td_status td_threads_locks(const td_threads_options *options, const char *word);

/* word: one process id, or NULL for all processes. */
td_status td_threads_tree(const td_threads_options *options, const char *word);

/* word: process ids. TD_OK after an interrupt. */
td_status td_threads_top(const td_threads_options *options, const char *word);

/* word: process ids. Looks for deadlocks until there is one, TD_ECHECK, or none can come. */
td_status td_threads_watch(const td_threads_options *options, const char *word);

/* What `deadlocks` prints of a list. */
void td_threads_print_deadlocks(const td_thread_list *list);

/* Becomes another program, which keeps a census (threads/census.h). program: its name and
 * arguments, NULL at the end. */
td_status td_threads_exec(char **program);

/* word: process ids; shows, and sets to options->setting, what their censuses count. */
td_status td_threads_contention(const td_threads_options *options, const char *word);

#endif
