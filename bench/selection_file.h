/* SPDX-License-Identifier: Apache-2.0
 * Selection tables as files: JSON that tandem tune writes and tandem bench --select reads. Schema:
 * docs/collectives.md.
 */
#ifndef TD_BENCH_SELECTION_FILE_H
#define TD_BENCH_SELECTION_FILE_H

#include <stdio.h>

#include "bench/coll_records.h"
#include "collectives/selection.h"

/* The fastest row of each operation, layout and size of the records, hot buffers, streaming; and
 * what the default would have cost beside it. Written under another name and renamed. A table of
 * the same on out, where that is not NULL. TD_EINPUT when no operation has two rows to choose
 * from. */
td_status td_selection_write(const char *path, const td_coll_records *records, FILE *out);

/* TD_EINPUT says where and what was expected; also when the table was measured on another machine.
 */
td_status td_selection_read(const char *path, td_selection *out);
void td_selection_destroy(td_selection *selection);

/* What the cases coll/OPERATION/chosen call, in every rank: set before ranks start. NULL: the
 * default. */
void td_selection_use(const td_selection *selection);
const td_selection *td_selection_in_use(void);

#endif
