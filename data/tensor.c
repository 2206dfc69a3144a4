/* SPDX-License-Identifier: Apache-2.0 */
#include "data/tensor.h"

#include <string.h>

#include "data/tf_error.h"

const char *td_element_text(td_element_type dtype) {
    static const char *const names[TD_ELEMENT_COUNT] = {
#define NAME(name, text, tf, type) [name] = text,
        TD_ELEMENT_MAP(NAME)
#undef NAME
    };
    return names[dtype];
}

const char *td_element_tf(td_element_type dtype) {
    static const char *const names[TD_ELEMENT_COUNT] = {
#define NAME(name, text, tf, type) [name] = tf,
        TD_ELEMENT_MAP(NAME)
#undef NAME
    };
    return names[dtype];
}

size_t td_element_bytes(td_element_type dtype) {
    static const size_t bytes[TD_ELEMENT_COUNT] = {
#define BYTES(name, text, tf, type) [name] = sizeof(type),
        TD_ELEMENT_MAP(BYTES)
#undef BYTES
    };
    return bytes[dtype];
}

td_element_type td_element_find(const char *text) {
    if (strcmp(text, "string") == 0) {
        return TD_ELEMENT_BYTES;
    }
    for (int dtype = TD_ELEMENT_NONE + 1; dtype < TD_ELEMENT_COUNT; dtype++) {
        if (strcmp(text, td_element_text((td_element_type)dtype)) == 0) {
            return (td_element_type)dtype;
        }
    }
    return TD_ELEMENT_NONE;
}

bool td_element_is_int(td_element_type dtype) {
    return dtype == TD_ELEMENT_INT32 || dtype == TD_ELEMENT_INT64 || dtype == TD_ELEMENT_UINT8;
}

int64_t td_shape_count(int rank, const int64_t *shape) {
    int64_t count = 1;
    bool empty = false;
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0) {
            return -1;
        }
        empty = empty || shape[i] == 0;
        if (shape[i] > 0 && __builtin_mul_overflow(count, shape[i], &count)) {
            return empty ? 0 : -1;
        }
    }
    return empty ? 0 : count;
}

td_status td_tensor_take(td_pool *pool, td_element_type dtype, int rank, const int64_t *shape,
                         td_tensor *out) {
    TD_ASSERT(rank <= TD_RANK_MAX);
    td_tensor tensor = {.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank; i++) {
        tensor.shape[i] = shape[i];
    }
    tensor.count = td_shape_count(rank, shape);
    size_t bytes;
    if (tensor.count < 0 ||
        __builtin_mul_overflow((size_t)tensor.count, td_element_bytes(dtype), &bytes)) {
        return td_tf_no_memory("a tensor larger than memory");
    }
    tensor.data = td_pool_take(pool, bytes);
    if (tensor.data == NULL) {
        return td_tf_no_memory("a tensor");
    }
    *out = tensor;
    return TD_OK;
}

td_status td_sparse_take(td_pool *pool, td_element_type dtype, int rank, int64_t nnz,
                         td_sparse *out) {
    TD_ASSERT(rank >= 0 && rank <= TD_RANK_MAX);
    td_sparse sparse = {.rank = rank};
    TD_TRY(td_tensor_take(pool, dtype, 1, &nnz, &sparse.values));
    sparse.indices = td_pool_take(pool, (size_t)nnz * (size_t)rank * sizeof *sparse.indices);
    if (sparse.indices == NULL) {
        return td_tf_no_memory("the indices of a sparse tensor");
    }
    *out = sparse;
    return TD_OK;
}

td_status td_splits_take(td_pool *pool, int64_t count, td_splits *out) {
    out->count = count;
    out->data = td_pool_take(pool, (size_t)count * sizeof *out->data);
    return out->data == NULL ? td_tf_no_memory("row splits") : TD_OK;
}

int64_t td_tensor_int(const td_tensor *tensor, int64_t i) {
    switch (tensor->dtype) {
    case TD_ELEMENT_INT64:
        return ((const int64_t *)tensor->data)[i];
    case TD_ELEMENT_INT32:
        return ((const int32_t *)tensor->data)[i];
    case TD_ELEMENT_UINT8:
        return ((const uint8_t *)tensor->data)[i];
    case TD_ELEMENT_BOOL:
        return ((const bool *)tensor->data)[i];
    case TD_ELEMENT_FLOAT32:
        return (int64_t)((const float *)tensor->data)[i];
    case TD_ELEMENT_FLOAT64:
        return (int64_t)((const double *)tensor->data)[i];
    default:
        return 0;
    }
}

double td_tensor_real(const td_tensor *tensor, int64_t i) {
    if (tensor->dtype == TD_ELEMENT_FLOAT32) {
        return (double)((const float *)tensor->data)[i];
    }
    if (tensor->dtype == TD_ELEMENT_FLOAT64) {
        return ((const double *)tensor->data)[i];
    }
    return (double)td_tensor_int(tensor, i);
}

bool td_span_equal(td_span a, td_span b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

int td_span_compare(td_span a, td_span b) {
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}
