/* SPDX-License-Identifier: Apache-2.0
 * Realistic arguments for every operation of the table: the one place where tests and benchmarks
 * get their shapes and inputs from. Inputs have full 24-bit significands, ids are valid, quantities
 * that another kernel computes (log-sum-exp, sorted positions) are computed by its portable row.
 * Around and between the rows of every buffer lie canaries, so that td_kernel_example_check also
 * tells who wrote where it must not, or left something unwritten.
 */
#ifndef TD_KERNELS_KERNEL_EXAMPLE_H
#define TD_KERNELS_KERNEL_EXAMPLE_H

#include "kernels/kernel.h"

/* edge: around tile and lane boundaries; quick: shapes of vit-s-32-alt and vit-b-32; full: larger
 * models as well. */
typedef enum td_kernel_example_size {
    TD_EXAMPLE_EDGE,
    TD_EXAMPLE_QUICK,
    TD_EXAMPLE_FULL,
    TD_EXAMPLE_SIZES
} td_kernel_example_size;

/* aligned: every buffer starts on a cache line; offset: one element behind it; guarded: every
 * buffer ends where a page without access begins, so that reading one byte too many ends the
 * process; guarded before: every buffer begins where such a page ends. */
typedef enum td_kernel_example_placement {
    TD_EXAMPLE_ALIGNED,
    TD_EXAMPLE_OFFSET,
    TD_EXAMPLE_GUARDED,
    TD_EXAMPLE_GUARDED_BEFORE,
    TD_EXAMPLE_PLACEMENTS
} td_kernel_example_placement;

typedef enum td_kernel_example_role {
    TD_EXAMPLE_IN,
    TD_EXAMPLE_OUT,
    TD_EXAMPLE_INOUT,
    TD_EXAMPLE_SCRATCH
} td_kernel_example_role;

/* rows x cols elements, rows ld elements apart. */
typedef struct td_kernel_example_buffer {
    const char *name;
    td_kernel_example_role role;
    int64_t rows, cols, ld;
    size_t element_bytes;
    void *data;
} td_kernel_example_buffer;

typedef struct td_kernel_example td_kernel_example; /* opaque: owns its buffers */

/* Cases of one size; their indices are 0 .. count - 1, and equal arguments give equal inputs on
 * every machine. */
int64_t td_kernel_example_cases(td_op_id op, int size_class);

td_status td_kernel_example_create(td_op_id op, int size_class, int64_t case_index, uint64_t seed,
                                   td_kernel_example **out);
td_status td_kernel_example_create_at(td_op_id op, int size_class, int64_t case_index,
                                      uint64_t seed, td_kernel_example_placement placement,
                                      td_kernel_example **out);
/* One without data: its shape, its arguments with pointers that say only whether there is a buffer,
 * and its buffers but for scratch. */
td_status td_kernel_example_outline(td_op_id op, int size_class, int64_t case_index,
                                    td_kernel_example **out);

/* One of numbers that are in no list, given in the order of the operation's cases; the caller
 * sees to it that they fit together. */
enum { TD_EXAMPLE_DIMS = 8 };
td_status td_kernel_example_create_of(td_op_id op, const int64_t numbers[TD_EXAMPLE_DIMS],
                                      uint64_t seed, td_kernel_example_placement placement,
                                      td_kernel_example **out);
void td_kernel_example_destroy(td_kernel_example *example);

/* The td_<op>_args; the shape as a part of a case id ("m512-n512-k512"), unique among the cases of
 * an operation. */
const void *td_kernel_example_args(const td_kernel_example *example);
const char *td_kernel_example_shape(const td_kernel_example *example);
const td_kernel_example_buffer *td_kernel_example_buffers(const td_kernel_example *example,
                                                          int *count);

/* The portable row of an operation: what every other row must equal. */
const td_kernel *td_kernel_example_portable(td_op_id op);

/* Puts outputs and in-out buffers back to what they were after creation. */
void td_kernel_example_reset(td_kernel_example *example);

/* Runs a row over all tiles, in `parts` calls, the last part first. */
void td_kernel_example_run(td_kernel_example *example, const td_kernel *row, int64_t parts);

/* The streams of an example: its large buffers, those that are read and written first; small ones
 * stay in a cache. Fills in stream and n; TD_MIX_NONE when no mix has as many. */
td_mix td_kernel_example_mix(const td_kernel_example *example, td_mix_pass *out);

/* Keeps a copy of the outputs and in-out buffers as they are now. */
td_status td_kernel_example_keep(td_kernel_example *example);

/* A hash of what td_kernel_example_keep has kept: equal results give equal hashes on every machine.
 */
uint64_t td_kernel_example_hash(const td_kernel_example *kept);

/* TD_ECHECK with buffer, place and values unless the outputs equal, bit for bit, those that `kept`
 * (the same case, perhaps placed otherwise, perhaps itself) has kept, every output was written, and
 * inputs and canaries are intact. */
td_status td_kernel_example_check(const td_kernel_example *example, const td_kernel_example *kept);

#endif
