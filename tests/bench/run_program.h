/* SPDX-License-Identifier: Apache-2.0
 * Programs that a test starts and reads the output of.
 */
#ifndef TD_TESTS_RUN_PROGRAM_H
#define TD_TESTS_RUN_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/text.h"

/* Starts a program, which ends with the test. words: its name and arguments, NULL at the end.
 * before: what it does to itself first, or NULL. *output: a descriptor of what it prints on
 * standard output and, with both, on standard error. */
typedef void before_fn(const void *arg);
pid_t start_program(const char *const *words, before_fn *before, const void *arg, bool both,
                    int *output);

/* Runs one to its end and returns its exit code; the test fails when a signal ends it. out: all
 * that it printed. */
int run_program(const char *const *words, before_fn *before, const void *arg, td_text *out);

/* Starts one that prints a line when it is ready, and waits for that. */
pid_t plant_program(const char *const *words);
void uproot_program(pid_t pid);

#define EXPECT_SAYS(out, what)                                                                     \
    cr_expect_not_null(strstr((out)->data, what), "no \"%s\" in: %s", what, (out)->data)

#endif
