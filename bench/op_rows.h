/* SPDX-License-Identifier: Apache-2.0
 * A program's operations as rows of a record: the same operation of all blocks of a tower is one.
 */
#ifndef TD_BENCH_OP_ROWS_H
#define TD_BENCH_OP_ROWS_H

#include "bench/case.h"
#include "models/program.h"

void td_outcome_add_ops(td_outcome *out, const td_program *program);

/* Every op of every worker of this rank in the last run. Called by all ranks. */
void td_outcome_add_spans(td_outcome *out, const td_program *program, int rank, int workers);

#endif
