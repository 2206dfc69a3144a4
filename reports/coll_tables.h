/* SPDX-License-Identifier: Apache-2.0
 * Records of collectives as the tables of the benchmarks people have parsers for: nccl-tests, the
 * OSU micro-benchmarks, the Intel MPI benchmarks; and as CSV and JSON with every column.
 */
#ifndef TD_REPORTS_COLL_TABLES_H
#define TD_REPORTS_COLL_TABLES_H

#include "reports/facts.h"

#define TD_COLL_FORMATS "nccl|osu|imb|csv|json"

/* Appends the records that are collectives and came out well: one table for every operation,
 * algorithm, provider, type, layout and way of calling, sizes ascending. Times are medians over
 * calls, each at its slowest rank; where the format has columns for the least and the most, those
 * over calls. TD_EUSAGE for another format, or when there is no such record. */
td_status td_coll_tables(const td_facts *facts, const char *format, td_text *out);

/* The same of directory/records.jsonl. */
td_status td_coll_tables_of(const char *directory, const char *format, td_text *out);

#endif
