/* SPDX-License-Identifier: Apache-2.0
 * Which row of an operation on bf16 is used: that of the faster arithmetic, measured. An Emerald
 * Rapids has VDPBF16PS and runs it at half the FLOPs of its FMAs, a Zen 5 at twice; rows of either
 * kind have the same bits.
 */
#ifndef TD_BENCH_ROW_CHOICE_H
#define TD_BENCH_ROW_CHOICE_H

#include "base/status.h"
#include "models/config.h"

/* What was found, to be printed: "gemm_bf16 by avx512: fma_f32 171, dot_bf16 85 GFLOP/s". */
enum { TD_ROW_CHOICE_TEXT = 96 };

/* Chooses the rows for a precision by the peaks of one worker, measured once in a process, some 0.2
 * s, and the same ceilings that a run records. A level named by TANDEM_ISA is taken at its word:
 * its own rows, in the order of the table. Nothing is measured either where the CPU leaves no
 * choice, or for f32. Call after td_kernels_select, before ranks start. text: "" when nothing was
 * measured. */
td_status td_rows_choose(td_precision precision, char text[TD_ROW_CHOICE_TEXT]);

#endif
