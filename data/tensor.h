/* SPDX-License-Identifier: Apache-2.0
 * What parsing and feature columns give and take: dense, sparse and ragged arrays, all memory of
 * one result in one pool. Byte strings are spans, which point into the records they came from.
 */
#ifndef TD_DATA_TENSOR_H
#define TD_DATA_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "data/example.h"
#include "data/mempool.h"

enum { TD_RANK_MAX = 8, TD_RAGGED_DEPTH_MAX = 8 };

/*      name              short      TensorFlow's  C type */
#define TD_ELEMENT_MAP(X)                                                                          \
    X(TD_ELEMENT_NONE, "none", "invalid", char)                                                    \
    X(TD_ELEMENT_BYTES, "bytes", "string", td_span)                                                \
    X(TD_ELEMENT_FLOAT32, "float32", "float", float)                                               \
    X(TD_ELEMENT_FLOAT64, "float64", "double", double)                                             \
    X(TD_ELEMENT_INT32, "int32", "int32", int32_t)                                                 \
    X(TD_ELEMENT_INT64, "int64", "int64", int64_t)                                                 \
    X(TD_ELEMENT_BOOL, "bool", "bool", bool)                                                       \
    X(TD_ELEMENT_UINT8, "uint8", "uint8", uint8_t)

typedef enum td_element_type {
#define TD_ELEMENT_ENUM(name, text, tf, type) name,
    TD_ELEMENT_MAP(TD_ELEMENT_ENUM)
#undef TD_ELEMENT_ENUM
        TD_ELEMENT_COUNT
} td_element_type;

const char *td_element_text(td_element_type dtype);
const char *td_element_tf(td_element_type dtype); /* as TensorFlow's messages call it */
size_t td_element_bytes(td_element_type dtype);
/* TD_ELEMENT_NONE for a name that is not in the table; "string" is bytes. */
td_element_type td_element_find(const char *text);
bool td_element_is_int(td_element_type dtype);

/* Row-major. count is the product of shape. */
typedef struct td_tensor {
    td_element_type dtype;
    int rank;
    int64_t shape[TD_RANK_MAX];
    int64_t count;
    void *data;
} td_tensor;

/* values[i] stands at indices[i * rank .. i * rank + rank - 1]. */
typedef struct td_sparse {
    int rank;
    int64_t *indices;
    td_tensor values; /* rank 1 */
    int64_t dense_shape[TD_RANK_MAX];
} td_sparse;

typedef struct td_splits {
    int64_t count; /* rows + 1 */
    int64_t *data;
} td_splits;

/* Row i of splits[k] is rows [splits[k].data[i], splits[k].data[i + 1]) of splits[k + 1], the
 * innermost of values. */
typedef struct td_ragged {
    int depth;
    td_element_type
        splits_dtype; /* TD_ELEMENT_INT32 or TD_ELEMENT_INT64, what the numbers are limited to */
    td_splits splits[TD_RAGGED_DEPTH_MAX];
    td_tensor values;
} td_ragged;

typedef enum td_array_kind {
    TD_ARRAY_NONE,
    TD_ARRAY_TENSOR,
    TD_ARRAY_SPARSE,
    TD_ARRAY_RAGGED
} td_array_kind;

typedef struct td_array {
    td_array_kind kind;
    union {
        td_tensor tensor;
        td_sparse sparse;
        td_ragged ragged;
    };
} td_array;

/* Takes memory for dtype and shape; the values are not set. */
td_status td_tensor_take(td_pool *pool, td_element_type dtype, int rank, const int64_t *shape,
                         td_tensor *out);
/* nnz values of rank dimensions; indices, values and dense_shape are not set. */
td_status td_sparse_take(td_pool *pool, td_element_type dtype, int rank, int64_t nnz,
                         td_sparse *out);
td_status td_splits_take(td_pool *pool, int64_t count, td_splits *out);

/* The number of elements of a shape; -1 when it does not fit or a dimension is negative. */
int64_t td_shape_count(int rank, const int64_t *shape);

/* Element i of a tensor of integers of any width, or as a double of any number. */
int64_t td_tensor_int(const td_tensor *tensor, int64_t i);
double td_tensor_real(const td_tensor *tensor, int64_t i);

static inline const td_span *td_tensor_spans(const td_tensor *tensor) {
    return (const td_span *)tensor->data;
}

bool td_span_equal(td_span a, td_span b);
int td_span_compare(td_span a, td_span b); /* by bytes, the shorter first */

#endif
