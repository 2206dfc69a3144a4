/* SPDX-License-Identifier: Apache-2.0
 * Numbers and text, orders of tf.data, Keras' layers.
 */
#include <string.h>

#include "base/memory.h"
#include "data/dataset_order.h"
#include "data/preprocess.h"
#include "data/text_number.h"
#include "data/tf_error.h"
#include "tests/oracle/oracle.h"

json_t *oracle_as_string(const oracle_case *item) {
    td_tensor values = oracle_tensor(item, json_object_get(item->input, "values")), out;
    return td_as_string(&values, item->pool, &out) == TD_OK
               ? json_pack("{s:o}", "strings", oracle_tensor_json(&out))
               : NULL;
}

json_t *oracle_to_number(const oracle_case *item) {
    td_tensor values = oracle_tensor(item, json_object_get(item->input, "values"));
    td_element_type dtype =
        td_element_find(json_string_value(json_object_get(item->config, "out_type")));
    json_t *out = json_array();
    for (int64_t i = 0; i < values.count; i++) {
        td_tensor one;
        if (td_tensor_take(item->pool, dtype, 0, NULL, &one) == TD_OK &&
            td_to_number(td_tensor_spans(&values)[i], dtype, one.data) == TD_OK) {
            json_array_append_new(out, oracle_tensor_json(&one));
        } else {
            json_array_append_new(out, json_pack("{s:o}", "error", oracle_error_json()));
        }
    }
    return json_pack("{s:o}", "values", out);
}

json_t *oracle_cast(const oracle_case *item) {
    td_tensor values = oracle_tensor(item, json_object_get(item->input, "values")), out;
    td_element_type to = td_element_find(json_string_value(json_object_get(item->config, "to")));
    return td_cast(&values, to, item->pool, &out) == TD_OK
               ? json_pack("{s:o}", "values", oracle_tensor_json(&out))
               : NULL;
}

static int64_t int_of(const json_t *from, const char *member, int64_t missing) {
    const json_t *value = json_object_get(from, member);
    return value == NULL || json_is_null(value) ? missing : (int64_t)oracle_u64(value);
}

json_t *oracle_interleave(const oracle_case *item) {
    const json_t *lists = json_object_get(item->input, "lists");
    size_t n = json_array_size(lists), total = 0;
    int64_t *counts = td_pool_take(item->pool, (n + 1) * sizeof *counts);
    for (size_t i = 0; i < n; i++) {
        counts[i] = (int64_t)json_array_size(json_array_get(lists, i));
        total += (size_t)counts[i];
    }
    td_interleaved *order = td_pool_take(item->pool, (total + 1) * sizeof *order);
    if (td_interleave(counts, (int64_t)n, int_of(item->config, "cycle_length", 1),
                      int_of(item->config, "block_length", 1), order) != TD_OK) {
        td_tf_refail(TD_TF_INVALID_ARGUMENT, td_error());
        return NULL;
    }
    json_t *values = json_array();
    for (size_t i = 0; i < total; i++) {
        const json_t *list = json_array_get(lists, (size_t)order[i].input);
        json_array_append(values, json_array_get(list, (size_t)order[i].element));
    }
    return json_pack("{s:o}", "values", values);
}

json_t *oracle_shard(const oracle_case *item) {
    int64_t n = int_of(item->input, "range", 0), shards = int_of(item->config, "num_shards", 1);
    json_t *values = json_array();
    for (int64_t i = int_of(item->config, "index", 0); i < n; i += shards) {
        json_array_append_new(values, json_integer(i));
    }
    return json_pack("{s:o}", "values", values);
}

static td_status shuffle_epoch(const oracle_case *item, uint64_t seed, uint64_t seed2,
                               json_t *values) {
    td_shuffle *shuffle;
    int64_t n = int_of(item->input, "range", 0), element;
    TD_TRY(td_shuffle_create(int_of(item->config, "buffer_size", 1), seed, seed2, &shuffle));
    for (int64_t i = 0; i < n;) {
        if (td_shuffle_put(shuffle, i)) {
            i++;
        } else if (td_shuffle_take(shuffle, &element)) {
            json_array_append_new(values, json_integer(element));
        }
    }
    while (td_shuffle_take(shuffle, &element)) {
        json_array_append_new(values, json_integer(element));
    }
    td_shuffle_destroy(shuffle);
    return TD_OK;
}

json_t *oracle_shuffle(const oracle_case *item) {
    uint64_t seeds[2];
    td_shuffle_seeds(int_of(item->config, "seed", 0), int_of(item->config, "seed2", 0), seeds);
    bool reshuffle = json_is_true(json_object_get(item->config, "reshuffle"));
    int64_t repeat = int_of(item->config, "repeat", 1);
    json_t *values = json_array();
    for (int64_t epoch = 0; epoch < repeat; epoch++) {
        uint64_t of_epoch[2] = {seeds[0], seeds[1]};
        if (reshuffle) {
            td_shuffle_epoch(seeds[0], seeds[1], epoch, of_epoch);
        }
        if (shuffle_epoch(item, of_epoch[0], of_epoch[1], values) != TD_OK) {
            td_tf_refail(TD_TF_INVALID_ARGUMENT, td_error());
            json_decref(values);
            return NULL;
        }
    }
    return json_pack("{s:o}", "values", values);
}

json_t *oracle_batch(const oracle_case *item) {
    int64_t n = int_of(item->input, "range", 0), size = int_of(item->config, "batch_size", 1);
    bool drop = json_is_true(json_object_get(item->config, "drop_remainder"));
    json_t *batches = json_array();
    for (int64_t i = 0; i < n && (!drop || i + size <= n); i += size) {
        json_t *batch = json_array();
        for (int64_t j = i; j < i + size && j < n; j++) {
            json_array_append_new(batch, json_integer(j));
        }
        json_array_append_new(batches, batch);
    }
    return json_pack("{s:o}", "batches", batches);
}

static td_encoding encoding_of(const json_t *args, td_encoding missing) {
    const char *word = json_string_value(json_object_get(args, "output_mode"));
    for (int i = TD_ENCODE_INT; word != NULL && i <= TD_ENCODE_TF_IDF; i++) {
        if (strcmp(word, td_encoding_text((td_encoding)i)) == 0) {
            return (td_encoding)i;
        }
    }
    return missing;
}

typedef struct keras_case {
    const oracle_case *item;
    const json_t *args;
    td_tensor *inputs;
    int n_inputs;
} keras_case;

/* A mask of either type; absent: none. */
static bool mask_of(const keras_case *keras, const char *member, td_span *text, int64_t *number) {
    const json_t *mask = json_object_get(keras->args, member);
    *text = td_span_text(json_is_string(mask) ? json_string_value(mask) : "");
    *number = json_integer_value(mask);
    return mask != NULL && !json_is_null(mask);
}

/* Salt of a layer: two numbers, or one for both. */
static bool salt_of(const keras_case *keras, uint64_t out[2]) {
    const json_t *salt = json_object_get(keras->args, "salt");
    out[0] = oracle_u64(json_is_array(salt) ? json_array_get(salt, 0) : salt);
    out[1] = oracle_u64(json_is_array(salt) ? json_array_get(salt, 1) : salt);
    return salt != NULL && !json_is_null(salt);
}

static td_status run_hashing(const keras_case *keras, td_tensor *out) {
    td_hashing layer = {.bins = int_of(keras->args, "num_bins", 0),
                        .encoding = encoding_of(keras->args, TD_ENCODE_INT)};
    layer.masked = mask_of(keras, "mask_value", &layer.mask_text, &layer.mask_int);
    layer.salted = salt_of(keras, layer.salt);
    return td_hashing_apply(&layer, &keras->inputs[0], keras->item->pool, out);
}

static td_status run_discretization(const keras_case *keras, td_tensor *out) {
    td_tensor boundaries = oracle_nested(
        keras->item, json_object_get(keras->args, "bin_boundaries"), TD_ELEMENT_FLOAT32);
    return td_discretization_apply(boundaries.data, boundaries.count,
                                   encoding_of(keras->args, TD_ENCODE_INT), &keras->inputs[0],
                                   keras->item->pool, out);
}

/* Text as it stands in the JSON, not hexadecimal digits. */
static td_tensor words_of(const keras_case *keras, const json_t *list, bool text) {
    int64_t n = (int64_t)(json_array_size(list));
    td_tensor out = {0};
    if (td_tensor_take(keras->item->pool, text ? TD_ELEMENT_BYTES : TD_ELEMENT_INT64, 1, &n,
                       &out) != TD_OK) {
        return out;
    }
    for (int64_t i = 0; i < n; i++) {
        const json_t *word = json_array_get(list, (size_t)i);
        if (text) {
            ((td_span *)out.data)[i] = td_span_text(json_string_value(word));
        } else {
            ((int64_t *)out.data)[i] = json_integer_value(word);
        }
    }
    return out;
}

static const double *idf_of(const keras_case *keras, const json_t *from, int64_t *n) {
    const json_t *idf = json_object_get(from, "idf_weights");
    td_tensor weights = {0};
    if (json_is_array(idf)) {
        weights = oracle_nested(keras->item, idf, TD_ELEMENT_FLOAT64);
    }
    *n = weights.count;
    return weights.data;
}

static td_status run_lookup(const keras_case *keras, bool text, td_tensor *out) {
    const json_t *set = json_object_get(keras->item->config, "set_vocabulary");
    const json_t *list = json_object_get(set != NULL ? set : keras->args, "vocabulary");
    const char *method = json_string_value(json_object_get(keras->args, "oov_method"));
    td_token_lookup layer = {.vocabulary = words_of(keras, list, text),
                             .oov = int_of(keras->args, "num_oov_indices", 1),
                             .encoding = encoding_of(keras->args, TD_ENCODE_INT),
                             .invert = json_is_true(json_object_get(keras->args, "invert")),
                             .fingerprints = method != NULL && strcmp(method, "farmhash") == 0,
                             .max_tokens = int_of(keras->args, "max_tokens", 0),
                             .padded =
                                 json_is_true(json_object_get(keras->args, "pad_to_max_tokens"))};
    layer.masked = mask_of(keras, "mask_token", &layer.mask_text, &layer.mask_int);
    if (!mask_of(keras, "oov_token", &layer.oov_text, &layer.oov_int)) {
        layer.oov_text = td_span_text("[UNK]");
        layer.oov_int = -1;
    }
    layer.salted = salt_of(keras, layer.salt);
    layer.idf = idf_of(keras, set != NULL ? set : keras->args, &layer.n_idf);
    return td_token_lookup_apply(&layer, &keras->inputs[0], keras->item->pool, out);
}

static td_status run_encoding(const keras_case *keras, td_tensor *out) {
    const json_t *given = json_object_get(keras->item->input, "count_weights");
    td_tensor weights = {0};
    if (given != NULL && !json_is_null(given)) {
        weights = oracle_tensor(keras->item, given);
    }
    return td_encode_ids(&keras->inputs[0], encoding_of(keras->args, TD_ENCODE_MULTI_HOT),
                         int_of(keras->args, "num_tokens", 0),
                         weights.data == NULL ? NULL : &weights, TD_ELEMENT_FLOAT32,
                         keras->item->pool, out);
}

static td_status run_normalization(const keras_case *keras, td_tensor *out) {
    const json_t *mean = json_object_get(keras->args, "mean");
    td_tensor means = oracle_nested(keras->item, mean, TD_ELEMENT_FLOAT32);
    td_tensor variances =
        oracle_nested(keras->item, json_object_get(keras->args, "variance"), TD_ELEMENT_FLOAT32);
    return td_normalization_apply(means.data, variances.data, means.count,
                                  json_is_true(json_object_get(keras->args, "invert")),
                                  &keras->inputs[0], keras->item->pool, out);
}

static td_status run_layer(const keras_case *keras, td_tensor *out) {
    const char *layer = json_string_value(json_object_get(keras->item->config, "layer"));
    if (strcmp(layer, "Hashing") == 0) {
        return run_hashing(keras, out);
    }
    if (strcmp(layer, "HashedCrossing") == 0) {
        return td_hashed_crossing_apply(int_of(keras->args, "num_bins", 0),
                                        encoding_of(keras->args, TD_ENCODE_INT), keras->inputs,
                                        keras->n_inputs, keras->item->pool, out);
    }
    if (strcmp(layer, "Discretization") == 0) {
        return run_discretization(keras, out);
    }
    if (strcmp(layer, "StringLookup") == 0 || strcmp(layer, "IntegerLookup") == 0) {
        return run_lookup(keras, layer[0] == 'S', out);
    }
    if (strcmp(layer, "Normalization") == 0) {
        return run_normalization(keras, out);
    }
    return run_encoding(keras, out);
}

json_t *oracle_keras_layer(const oracle_case *item) {
    const json_t *inputs = json_object_get(item->input, "inputs");
    keras_case keras = {.item = item,
                        .args = json_object_get(item->config, "args"),
                        .n_inputs = (int)json_array_size(inputs)};
    keras.inputs = td_pool_take(item->pool, (json_array_size(inputs) + 1) * sizeof *keras.inputs);
    for (int i = 0; i < keras.n_inputs; i++) {
        keras.inputs[i] = oracle_tensor(item, json_array_get(inputs, (size_t)i));
    }
    td_tensor out;
    return run_layer(&keras, &out) == TD_OK ? json_pack("{s:o}", "output", oracle_tensor_json(&out))
                                            : NULL;
}
