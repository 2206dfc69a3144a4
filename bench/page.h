/* SPDX-License-Identifier: Apache-2.0
 * The report of a run, with what only the program knows: the picture of a schedule.
 */
#ifndef TD_BENCH_PAGE_H
#define TD_BENCH_PAGE_H

#include "base/status.h"

/* td_report_render, and a ring allreduce drawn. */
td_status td_page_write(const char *directory, const char *title);

#endif
