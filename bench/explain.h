/* SPDX-License-Identifier: Apache-2.0
 * Schedules of collectives as text.
 */
#ifndef TD_BENCH_EXPLAIN_H
#define TD_BENCH_EXPLAIN_H

#include <stdio.h>

#include "base/status.h"

/* Prints the schedule of every collective with a case that glob matches (NULL: of all), for so many
 * ranks. TD_EUSAGE when there is none. */
td_status td_explain(const char *glob, int ranks, FILE *out);

#endif
