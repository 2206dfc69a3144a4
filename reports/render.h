/* SPDX-License-Identifier: Apache-2.0
 * From records to pages. The only input is <directory>/records.jsonl; the same records give the
 * same bytes.
 */
#ifndef TD_REPORTS_RENDER_H
#define TD_REPORTS_RENDER_H

#include "base/status.h"

/* Writes report.html (one self-contained page), report.md and records.csv into directory. title:
 * the heading's first words, or NULL for the machine's own name. ring: HTML that shows a ring
 * allreduce on four ranks round by round, for runs with collectives; NULL: no picture. Records that
 * cannot be read: the status of td_record_read. */
td_status td_report_render(const char *directory, const char *title, const char *ring);

#endif
