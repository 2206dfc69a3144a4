/* SPDX-License-Identifier: Apache-2.0
 * From an outcome to a record: the value, the ceilings it stands beside, and the rule that nothing
 * may be above its roof.
 */
#ifndef TD_BENCH_EMIT_H
#define TD_BENCH_EMIT_H

#include "bench/case.h"
#include "bench/ceiling.h"
#include "reports/record.h"

/* What the table at the end of a run shows of a record. */
typedef struct td_row {
    char id[TD_CASE_ID], layout[TD_LAYOUT_TEXT], provider[TD_CASE_PROVIDER], unit[16];
    double value, low, high; /* low, high: interval of the median that holds it with 95 % */
    double share;            /* of the binding ceiling; 0: none */
    char roof[48];
    bool disturbed; /* a ceiling that may be too low; reason tells why */
    int state;      /* td_outcome_state */
    char reason[TD_OUTCOME_TEXT];
} td_row;

/* Writes the record of one case on one layout. command repeats it. A value more than 1 % above its
 * roof is measured against a fresh roof, and failed if it stays above. outcome must not be
 * TD_OUTCOME_NONE. */
td_status td_emit_outcome(td_record_writer *writer, const td_case *subject, const td_layout *layout,
                          const td_outcome *outcome, const char *command, td_row *row);

/* The record of a library that was timed in alternation with a case: the same case, its own
 * provider. */
td_status td_emit_companion(td_record_writer *writer, const td_case *subject,
                            const td_layout *layout, const td_outcome *outcome, int which,
                            const char *command, td_row *row);

/* Writes the record of a ceiling. */
td_status td_emit_peak(td_record_writer *writer, const td_peak *peak, const char *command,
                       td_row *row);

#endif
