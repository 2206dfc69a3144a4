/* SPDX-License-Identifier: Apache-2.0
 * The layout of a run that trains rather than measures.
 */
#ifndef TD_BENCH_RUN_LAYOUT_H
#define TD_BENCH_RUN_LAYOUT_H

#include "threads/layout.h"

/* A run may want more workers than there are CPUs, to show that the answer stays: allowed here, and
 * said on stderr, where a measurement would refuse. */
td_status td_run_layout_parse(const char *text, td_layout *out);

#endif
