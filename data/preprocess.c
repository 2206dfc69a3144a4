/* SPDX-License-Identifier: Apache-2.0 */
#include "data/preprocess.h"

#include <math.h>
#include <string.h>

#include "data/hash.h"
#include "data/text_number.h"
#include "data/tf_error.h"

const char *td_encoding_text(td_encoding encoding) {
    static const char *const names[] = {[TD_ENCODE_INT] = "int",
                                        [TD_ENCODE_ONE_HOT] = "one_hot",
                                        [TD_ENCODE_MULTI_HOT] = "multi_hot",
                                        [TD_ENCODE_COUNT] = "count",
                                        [TD_ENCODE_TF_IDF] = "tf_idf"};
    return names[encoding];
}

static void add_to(td_tensor *out, int64_t at, double value, bool once) {
    if (out->dtype == TD_ELEMENT_INT64) {
        int64_t *cell = (int64_t *)out->data + at;
        *cell = once ? 1 : *cell + (int64_t)value;
    } else {
        float *cell = (float *)out->data + at;
        *cell = once ? 1 : *cell + (float)value;
    }
}

/* A one-hot row for every id takes the place of a last dimension of one; the other encodings sum
 * over the last of up to two dimensions, of more over the second, as Keras does. inner: how many
 * numbers follow each of that dimension's. */
static int encoded_shape(const td_tensor *ids, td_encoding encoding, int64_t depth,
                         int64_t shape[TD_RANK_MAX], int64_t *group, int64_t *inner) {
    int rank = ids->rank > 0 ? ids->rank : 1;
    memcpy(shape, ids->shape, sizeof ids->shape);
    shape[0] = ids->rank > 0 ? shape[0] : 1;
    *group = *inner = 1;
    if (encoding == TD_ENCODE_ONE_HOT) {
        rank -= rank > 1 && shape[rank - 1] == 1;
    } else {
        int summed = rank > 1 ? 1 : 0;
        *group = shape[summed];
        for (int d = summed + 1; d < rank; d++) {
            *inner *= shape[d];
            shape[d - 1] = shape[d];
        }
        rank--;
    }
    if (rank < TD_RANK_MAX) {
        shape[rank] = depth;
    }
    return rank + 1;
}

int td_encoded_shape(const td_tensor *ids, td_encoding encoding, int64_t depth,
                     int64_t shape[TD_RANK_MAX]) {
    int64_t group, inner;
    return encoded_shape(ids, encoding, depth, shape, &group, &inner);
}

td_status td_encode_ids(const td_tensor *ids, td_encoding encoding, int64_t depth,
                        const td_tensor *weights, td_element_type dtype, td_pool *pool,
                        td_tensor *out) {
    int64_t shape[TD_RANK_MAX], group, inner;
    int rank = encoded_shape(ids, encoding, depth, shape, &group, &inner);
    if (weights != NULL && weights->rank == 0) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT, "weights of an id that stands alone");
    }
    if (rank > TD_RANK_MAX || (weights != NULL && weights->count != ids->count)) {
        return td_tf_fail(TD_TF_VALUE, "ids of %d dimensions, %lld of them, cannot be encoded",
                          ids->rank, (long long)ids->count);
    }
    TD_TRY(td_tensor_take(pool, dtype, rank, shape, out));
    memset(out->data, 0, (size_t)out->count * td_element_bytes(dtype));
    for (int64_t i = 0; i < ids->count; i++) {
        int64_t id = td_tensor_int(ids, i);
        if (id >= 0 && id < depth) {
            int64_t row = i / (group * inner) * inner + i % inner;
            add_to(out, row * depth + id, weights == NULL ? 1 : td_tensor_real(weights, i),
                   encoding == TD_ENCODE_MULTI_HOT);
        }
    }
    return TD_OK;
}

static td_status finish(const td_tensor *ids, td_encoding encoding, int64_t depth,
                        td_element_type dtype, td_pool *pool, td_tensor *out) {
    if (encoding == TD_ENCODE_INT) {
        *out = *ids;
        return TD_OK;
    }
    return td_encode_ids(ids, encoding, depth, NULL, dtype, pool, out);
}

td_status td_hashing_apply(const td_hashing *layer, const td_tensor *input, td_pool *pool,
                           td_tensor *out) {
    if (layer->bins < 1) {
        return td_tf_fail(
            TD_TF_VALUE,
            "The `num_bins` for `Hashing` cannot be `None` or non-positive. Received: "
            "num_bins=%lld.",
            (long long)layer->bins);
    }
    if (layer->encoding == TD_ENCODE_ONE_HOT && input->rank == 0) {
        return td_tf_fail(TD_TF_INDEX, "one-hot `Hashing` of a scalar");
    }
    td_tensor given = *input, text = {0}, ids;
    if (input->dtype == TD_ELEMENT_FLOAT32 || input->dtype == TD_ELEMENT_FLOAT64) {
        TD_TRY(td_cast(input, TD_ELEMENT_INT64, pool, &given));
    }
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_INT64, input->rank, input->shape, &ids));
    if (given.dtype == TD_ELEMENT_INT64 && !layer->salted) {
        td_fingerprints_int(given.data, given.count, ids.data);
    } else {
        TD_TRY(td_as_string(&given, pool, &text));
    }
    bool shifted = layer->masked && layer->bins > 1;
    td_divisor bins = td_divisor_of((uint64_t)(shifted ? layer->bins - 1 : layer->bins));
    int64_t *to = ids.data;
    for (int64_t i = 0; i < input->count; i++) {
        uint64_t hash = (uint64_t)to[i];
        if (text.data != NULL) {
            td_span word = td_tensor_spans(&text)[i];
            hash = layer->salted ? td_siphash(layer->salt, word.data, word.size)
                                 : td_fingerprint64(word.data, word.size);
        }
        bool is_mask =
            layer->masked && (given.dtype == TD_ELEMENT_BYTES
                                  ? td_span_equal(td_tensor_spans(&text)[i], layer->mask_text)
                                  : td_tensor_int(&given, i) == layer->mask_int);
        to[i] = is_mask ? 0 : (int64_t)td_remainder(hash, bins) + (shifted ? 1 : 0);
    }
    return finish(&ids, layer->encoding, layer->bins, TD_ELEMENT_FLOAT32, pool, out);
}

td_status td_hashed_crossing_apply(int64_t bins, td_encoding encoding, const td_tensor *inputs,
                                   int count, td_pool *pool, td_tensor *out) {
    if (bins < 1 || count < 2) {
        return td_tf_fail(TD_TF_VALUE, "HashedCrossing of %d features into %lld bins", count,
                          (long long)bins);
    }
    td_array *values = td_pool_take(pool, (size_t)count * sizeof *values);
    if (values == NULL) {
        return td_tf_no_memory("a cross");
    }
    for (int i = 0; i < count; i++) {
        if (inputs[i].rank > 2 || (inputs[i].rank == 2 && inputs[i].shape[1] != 1) ||
            (inputs[i].dtype != TD_ELEMENT_BYTES && !td_element_is_int(inputs[i].dtype))) {
            return td_tf_fail(
                TD_TF_VALUE,
                "All `HashedCrossing` inputs should have shape `()`, `(batch_size)` or "
                "`(batch_size, 1)`, and be of strings or integers: input %d",
                i);
        }
        values[i] = (td_array){.kind = TD_ARRAY_TENSOR, .tensor = inputs[i]};
        values[i].tensor.rank = 2;
        values[i].tensor.shape[0] = inputs[i].count;
        values[i].tensor.shape[1] = 1;
    }
    td_cross_options options = {
        .mode = TD_CROSS_HASHED, .buckets = bins, .hash_key = TD_HASH_KEY_DEFAULT};
    td_sparse crossed;
    TD_TRY(td_sparse_cross(values, count, &options, pool, &crossed));
    td_tensor ids = inputs[0];
    ids.dtype = TD_ELEMENT_INT64;
    ids.data = crossed.values.data;
    return finish(&ids, encoding, bins, TD_ELEMENT_FLOAT32, pool, out);
}

td_status td_discretization_apply(const float *boundaries, int64_t n, td_encoding encoding,
                                  const td_tensor *input, td_pool *pool, td_tensor *out) {
    td_tensor numbers, ids;
    TD_TRY(td_to_float32(input, pool, &numbers));
    TD_TRY(td_bucketize(&numbers, boundaries, n, pool, &ids));
    return finish(&ids, encoding, n + 1, TD_ELEMENT_FLOAT32, pool, out);
}

td_status td_normalization_apply(const float *mean, const float *variance, int64_t n, bool invert,
                                 const td_tensor *input, td_pool *pool, td_tensor *out) {
    td_tensor numbers;
    TD_TRY(td_to_float32(input, pool, &numbers));
    if (n < 1 || (n > 1 && (numbers.rank == 0 || numbers.shape[numbers.rank - 1] != n))) {
        return td_tf_fail(TD_TF_VALUE,
                          "a mean of %lld values does not fit the input's last "
                          "dimension",
                          (long long)n);
    }
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_FLOAT32, numbers.rank, numbers.shape, out));
    const float *x = numbers.data;
    float *y = out->data;
    for (int64_t k = 0; k < n; k++) {
        float m = td_flush_float(mean[k]);
        float deviation = fmaxf(sqrtf(td_flush_float(variance[k])), 1e-7f);
        for (int64_t i = k; i < numbers.count; i += n) {
            float given = td_flush_float(x[i]);
            y[i] = td_flush_float(invert ? m + td_flush_float(given * deviation)
                                         : (given - m) / deviation);
        }
    }
    return TD_OK;
}
