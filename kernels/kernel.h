/* SPDX-License-Identifier: Apache-2.0
 * Kernels: pure functions over a range of tiles of a grid that the arguments' shape alone fixes. A
 * kernel never waits, never allocates, and knows nothing of threads; who runs which tile is the
 * caller's business, so results cannot depend on it. kernels.inc is the one list; this header,
 * dispatch, tests, benchmarks and docs derive from it.
 *
 * Canonical order. Every implementation of an operation produces the same bits:
 *   - a GEMM element is one chain of FMAs in ascending k (from C when accumulating); with
 *     k_blocks > 1 each block is its own chain from zero, and blocks are summed by a balanced
 *     binary tree;
 *   - of gemm_bf16 the chain goes by pairs of k, (0, 1), (2, 3), ... from the start of each block,
 *     an odd block being padded with a zero: an FMA of the second product, then one of the first,
 *     denormals being zero wherever they appear;
 *   - of gemm_amx the chain goes by steps of 32 k from the start of each block, the last one padded
 *     with zeros: one chain of FMAs over the products of even k of the step and one over those of
 *     odd k, both from zero, their sum, and its sum with the chain; denormals as above;
 *   - a row reduction has 16 lanes, lane = index mod 16, combined by the fixed tree of td_v16_sum;
 *   - a sum over rows (samples, tokens) is sequential inside each of `blocks` equal row blocks,
 *     and a balanced binary tree across blocks;
 *   - exp, log, erf are one FMA sequence on every ISA.
 */
#ifndef TD_KERNELS_KERNEL_H
#define TD_KERNELS_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"
#include "base/status.h"
#include "base/text.h"
#include "kernels/args.h"
#include "kernels/mix.h"

/* One operation: name, mix of loads and stores, what it computes. For each, args.h gives struct
 * td_<op>_args, and the cost file of its family int64_t td_<op>_tiles(args)    number of tiles,
 * from the shape alone double  td_<op>_flops(args)    executed floating-point operations double
 * td_<op>_bytes(args)    minimal memory traffic int64_t td_<op>_scratch(args)  scratch bytes one
 * worker needs, 0 for most
 */
#define TD_OP(op, mix, doc) TD_OP_##op,
#define TD_KERNEL(op, isa, suffix)
typedef enum td_op_id {
#include "kernels/kernels.inc"
    TD_OP_COUNT
} td_op_id;
#undef TD_OP
#undef TD_KERNEL

/* The contract of an operation is a function type, so an implementation with another signature does
 * not compile. */
#define TD_OP(op, mix, doc)                                                                        \
    typedef void td_##op##_fn(const td_##op##_args *args, int64_t first, int64_t last,             \
                              void *scratch);                                                      \
    int64_t td_##op##_tiles(const td_##op##_args *args);                                           \
    double td_##op##_flops(const td_##op##_args *args);                                            \
    double td_##op##_bytes(const td_##op##_args *args);                                            \
    int64_t td_##op##_scratch(const td_##op##_args *args);
#define TD_KERNEL(op, isa, suffix) td_##op##_fn td_##op##__##suffix;
#include "kernels/kernels.inc"
#undef TD_OP
#undef TD_KERNEL

typedef void td_kernel_fn(const void *args, int64_t first, int64_t last, void *scratch);

/* Type-erased view of one operation; run goes to the implementation chosen by td_kernels_select. */
typedef struct td_op {
    const char *name, *doc;
    td_kernel_fn *run;
    int64_t (*tiles)(const void *args);
    double (*flops)(const void *args);
    double (*bytes)(const void *args);
    int64_t (*scratch)(const void *args);
    size_t args_bytes;
    td_mix mix;
} td_op;

/* Type-erased view of one implementation row. */
typedef struct td_kernel {
    td_op_id op;
    td_isa isa;        /* needed */
    const char *name;  /* the text after "__": "avx2", "avx512_14x32" */
    td_kernel_fn *run; /* calls this very row */
} td_kernel;

extern const td_op td_ops[TD_OP_COUNT];
const td_kernel *td_kernels(int *count);

/* Chooses, for every operation, the first row of the table whose ISA is at most `isa`. Call once
 * before use. */
td_status td_kernels_select(td_isa isa);

/* "Kernel rows native on this host: 68 of 101 (portable 33 of 33, ...)": of every level the rows of
 * the table, and those that run at `native`; then how many of them `active` leaves out. */
void td_kernels_describe(td_isa native, td_isa active, td_text *out);

/* Takes, for one operation and of the rows that the selection allowed, the one whose level has the
 * highest rate (TD_ISA_COUNT, in any unit; 0: not known), the earlier in the table where rates are
 * equal. Rows have the same bits, so the choice is free; it is worth measuring where rows differ in
 * the instruction that does the work, which a CPU may have and yet run at half the rate of others.
 */
void td_kernel_choose(td_op_id op, const double rate[TD_ISA_COUNT]);

/* The row in use for an operation. */
const td_kernel *td_kernel_selected(td_op_id op);

#endif
