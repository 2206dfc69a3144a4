/* SPDX-License-Identifier: Apache-2.0
 * A program's operations as rows of a record: the same operation of all blocks of a tower is one.
 */
#ifndef TD_BENCH_OP_ROWS_H
#define TD_BENCH_OP_ROWS_H

#include "bench/case.h"
#include "models/program.h"

/* Operations and parts. workers: of the program's team. */
void td_outcome_add_ops(td_outcome *out, const td_program *program, int workers);

/* Times products and attention when nothing else runs, one of each row, and a barrier; adds to what
 * was found before. Called between steps, because it overwrites what the ops write, by all ranks at
 * the same time, others than rank 0 with NULL. */
void td_outcome_time_ops(td_outcome *out, td_program *program, td_team *team);

/* Every op of every worker of this rank in the last run. Called by all ranks. */
void td_outcome_add_spans(td_outcome *out, const td_program *program, int rank, int workers);

#endif
