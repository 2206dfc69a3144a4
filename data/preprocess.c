/* SPDX-License-Identifier: Apache-2.0 */
#include "data/preprocess.h"

#include <math.h>
#include <string.h>

#include "data/hash.h"
#include "data/text_number.h"
#include "data/tf_error.h"

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
 * over the last dimension. */
static int encoded_shape(const td_tensor *ids, td_encoding encoding, int64_t depth,
                         int64_t shape[TD_RANK_MAX], int64_t *group) {
    int rank = ids->rank;
    memcpy(shape, ids->shape, sizeof ids->shape);
    *group = 1;
    if (encoding == TD_ENCODE_ONE_HOT) {
        rank -= rank > 1 && ids->shape[rank - 1] == 1;
    } else if (rank > 0) {
        *group = ids->shape[--rank];
    }
    if (rank < TD_RANK_MAX) {
        shape[rank] = depth;
    }
    return rank + 1;
}

td_status td_encode_ids(const td_tensor *ids, td_encoding encoding, int64_t depth,
                        const td_tensor *weights, td_element_type dtype, td_pool *pool,
                        td_tensor *out) {
    int64_t shape[TD_RANK_MAX], group;
    int rank = encoded_shape(ids, encoding, depth, shape, &group);
    if (rank > TD_RANK_MAX || (weights != NULL && weights->count != ids->count)) {
        return td_tf_fail(TD_TF_VALUE, "ids of %d dimensions, %lld of them, cannot be encoded",
                          ids->rank, (long long)ids->count);
    }
    TD_TRY(td_tensor_take(pool, dtype, rank, shape, out));
    memset(out->data, 0, (size_t)out->count * td_element_bytes(dtype));
    for (int64_t i = 0; i < ids->count; i++) {
        int64_t id = td_tensor_int(ids, i);
        if (id >= 0 && id < depth) {
            add_to(out, i / (group + !group) * depth + id,
                   weights == NULL ? 1 : td_tensor_real(weights, i),
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
    td_tensor given = *input, text, ids;
    if (input->dtype == TD_ELEMENT_FLOAT32 || input->dtype == TD_ELEMENT_FLOAT64) {
        TD_TRY(td_cast(input, TD_ELEMENT_INT64, pool, &given));
    }
    TD_TRY(td_as_string(&given, pool, &text));
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_INT64, input->rank, input->shape, &ids));
    bool shifted = layer->masked && layer->bins > 1;
    uint64_t bins = (uint64_t)(shifted ? layer->bins - 1 : layer->bins);
    for (int64_t i = 0; i < input->count; i++) {
        td_span word = td_tensor_spans(&text)[i];
        uint64_t hash = layer->salted ? td_siphash(layer->salt, word.data, word.size)
                                      : td_fingerprint64(word.data, word.size);
        bool is_mask = layer->masked && (given.dtype == TD_ELEMENT_BYTES
                                             ? td_span_equal(word, layer->mask_text)
                                             : td_tensor_int(&given, i) == layer->mask_int);
        ((int64_t *)ids.data)[i] = is_mask ? 0 : (int64_t)(hash % bins) + (shifted ? 1 : 0);
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

/* Where ids of words start: behind the mask's, when it has one, and those of unknown words. */
static int64_t oov_start(const td_token_lookup *layer) {
    return layer->masked && layer->encoding == TD_ENCODE_INT ? 1 : 0;
}

static bool is_mask(const td_token_lookup *layer, const td_tensor *input, int64_t i) {
    return layer->masked && (input->dtype == TD_ELEMENT_BYTES
                                 ? td_span_equal(td_tensor_spans(input)[i], layer->mask_text)
                                 : td_tensor_int(input, i) == layer->mask_int);
}

/* Unknown words: strings by their fingerprint, integers by what is left of their division. */
static int64_t oov_id(const td_token_lookup *layer, const td_tensor *input, int64_t i) {
    if (layer->oov == 1) {
        return 0;
    }
    if (input->dtype == TD_ELEMENT_BYTES) {
        td_span word = td_tensor_spans(input)[i];
        return (int64_t)(td_fingerprint64(word.data, word.size) % (uint64_t)layer->oov);
    }
    int64_t left = td_tensor_int(input, i) % layer->oov;
    return left < 0 ? left + layer->oov : left;
}

static td_status look_up(const td_token_lookup *layer, const td_tensor *input, td_pool *pool,
                         td_tensor *ids) {
    td_vocabulary *words;
    TD_TRY(td_vocabulary_from_list(&layer->vocabulary, pool, &words));
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_INT64, input->rank, input->shape, ids));
    int64_t start = oov_start(layer);
    for (int64_t i = 0; i < input->count; i++) {
        int64_t *to = (int64_t *)ids->data + i;
        if (is_mask(layer, input, i)) {
            *to = layer->encoding == TD_ENCODE_INT ? 0 : -1;
            continue;
        }
        int64_t row = input->dtype == TD_ELEMENT_BYTES
                          ? td_vocabulary_find(words, td_tensor_spans(input)[i])
                          : td_vocabulary_find_int(words, td_tensor_int(input, i));
        if (row < 0 && layer->oov == 0) {
            return td_tf_fail(
                TD_TF_INVALID_ARGUMENT,
                "When `num_oov_indices=0` all inputs should be in vocabulary, found an "
                "OOV value at position %lld, consider setting `num_oov_indices=1`.",
                (long long)i);
        }
        *to = row < 0 ? start + oov_id(layer, input, i) : start + layer->oov + row;
    }
    return TD_OK;
}

/* Counts times the weight of each word; unknown words have the mean of all. */
static void weigh(const td_token_lookup *layer, td_tensor *counts) {
    float sum = 0;
    int64_t words = layer->vocabulary.count, depth = words + layer->oov;
    for (int64_t i = 0; i < words; i++) {
        sum += layer->idf[i];
    }
    for (int64_t i = 0; i < counts->count; i++) {
        int64_t word = i % depth - layer->oov;
        ((float *)counts->data)[i] *= word < 0 ? sum / (float)words : layer->idf[word];
    }
}

td_status td_token_lookup_apply(const td_token_lookup *layer, const td_tensor *input, td_pool *pool,
                                td_tensor *out) {
    if ((input->dtype == TD_ELEMENT_BYTES) != (layer->vocabulary.dtype == TD_ELEMENT_BYTES)) {
        return td_tf_fail(TD_TF_VALUE, "a vocabulary of %s, input of %s",
                          td_element_tf(layer->vocabulary.dtype), td_element_tf(input->dtype));
    }
    td_tensor ids;
    TD_TRY(look_up(layer, input, pool, &ids));
    bool weighed = layer->encoding == TD_ENCODE_TF_IDF;
    if (weighed && layer->idf == NULL) {
        return td_tf_fail(TD_TF_VALUE, "`idf_weights` must be set if output_mode is 'tf_idf'.");
    }
    TD_TRY(finish(&ids, layer->encoding, layer->vocabulary.count + layer->oov,
                  weighed ? TD_ELEMENT_FLOAT32 : TD_ELEMENT_INT64, pool, out));
    if (weighed) {
        weigh(layer, out);
    }
    return TD_OK;
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
    for (int64_t i = 0; i < numbers.count; i++) {
        float x = ((const float *)numbers.data)[i], m = mean[i % n];
        float deviation = fmaxf(sqrtf(variance[i % n]), 1e-7f);
        ((float *)out->data)[i] = invert ? m + x * deviation : (x - m) / deviation;
    }
    return TD_OK;
}
