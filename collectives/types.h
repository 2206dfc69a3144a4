/* SPDX-License-Identifier: Apache-2.0
 * What a collective call is made of: element types, reductions, operations, and the call itself.
 */
#ifndef TD_COLLECTIVES_TYPES_H
#define TD_COLLECTIVES_TYPES_H

#include <stdbool.h>
#include <stdint.h>

/* id, name, bytes of an element, bytes of a partial result: bf16 is summed in f32 and rounded once,
 * at the end. */
#define TD_DTYPE_MAP(X)                                                                            \
    X(TD_F32, f32, 4, 4)                                                                           \
    X(TD_BF16, bf16, 2, 4)                                                                         \
    X(TD_F64, f64, 8, 8)                                                                           \
    X(TD_I32, i32, 4, 4)                                                                           \
    X(TD_I64, i64, 8, 8)

typedef enum td_dtype {
#define TD_DTYPE_ENUM(id, name, bytes, partial) id,
    TD_DTYPE_MAP(TD_DTYPE_ENUM)
#undef TD_DTYPE_ENUM
        TD_DTYPE_COUNT
} td_dtype;

static inline int64_t td_dtype_bytes(td_dtype dtype) {
    static const int8_t bytes_of[] = {
#define TD_DTYPE_BYTES(id, name, bytes, partial) bytes,
        TD_DTYPE_MAP(TD_DTYPE_BYTES)
#undef TD_DTYPE_BYTES
    };
    return bytes_of[dtype];
}

static inline int64_t td_dtype_partial_bytes(td_dtype dtype) {
    return dtype == TD_BF16 ? 4 : td_dtype_bytes(dtype);
}
const char *td_dtype_name(td_dtype dtype);

/* avg is the sum, divided once by the number of ranks; integers divide towards zero. Integers wrap
 * around. min and max of a NaN and a number are the NaN. */
#define TD_REDUCE_MAP(X)                                                                           \
    X(TD_SUM, sum)                                                                                 \
    X(TD_PROD, prod)                                                                               \
    X(TD_MIN, min)                                                                                 \
    X(TD_MAX, max)                                                                                 \
    X(TD_AVG, avg)

typedef enum td_reduce {
#define TD_REDUCE_ENUM(id, name) id,
    TD_REDUCE_MAP(TD_REDUCE_ENUM)
#undef TD_REDUCE_ENUM
        TD_REDUCE_COUNT
} td_reduce;
const char *td_reduce_name(td_reduce reduce);

typedef enum td_blocks { TD_BLOCKS_WHOLE, TD_BLOCKS_PARTS, TD_BLOCKS_PAIRS } td_blocks;

typedef enum td_operation_id {
#define TD_OPERATION(id, blocks, rooted, sums, busbw, least, doc) TD_COLL_##id,
#include "collectives/operations.inc"
#undef TD_OPERATION
    TD_COLL_COUNT
} td_operation_id;

typedef struct td_operation {
    const char *name, *doc;
    td_blocks blocks;
    bool rooted, sums;
    double (*busbw_factor)(int ranks);
    double (*least_traffic)(int ranks); /* bytes moved per byte of the vector */
} td_operation;
const td_operation *td_operation_of(td_operation_id id);

/* Chunk c of count elements over p ranks is [count*c/p, count*(c+1)/p): sizes differ by at most
 * one, and count < p gives empty chunks. */
static inline int64_t td_chunk_first(int64_t count, int64_t c, int64_t p) {
    return count * c / p;
}

/* One call. in and out lie in the rank's segment at the same offsets in every rank; they are equal
 * (in place) or do not overlap. What in and out hold is said by the operation (operations.inc):
 * vectors of count elements, blocks at their places in them; alltoall: one block of count elements
 * for every rank. counts, when not NULL: the elements of each block, ranks of them, or for alltoall
 * ranks * ranks, counts[from * ranks + to], the same in every rank; count is then their sum
 * (alltoall: of the largest row or column). */
typedef struct td_call {
    const void *in;
    void *out;
    int64_t count;
    td_dtype dtype;
    td_reduce reduce;
    int root;
    const int64_t *counts;
} td_call;

#endif
