/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "data/hash.h"
#include "data/preprocess.h"
#include "data/tf_error.h"

struct td_token_table {
    const td_token_lookup *layer;
    td_tensor words;    /* without special ones at the start */
    bool special;       /* there were such */
    int64_t oov_start;  /* ids of unknown words: behind the mask's, when it has one */
    int64_t word_start; /* of words */
    td_vocabulary *rows;
    float mean_idf;
};

static bool is_word(const td_tensor *words, int64_t i, td_span text, int64_t number) {
    return words->dtype == TD_ELEMENT_BYTES ? td_span_equal(td_tensor_spans(words)[i], text)
                                            : td_tensor_int(words, i) == number;
}

static bool is_mask(const td_token_lookup *layer, const td_tensor *words, int64_t i) {
    return layer->masked && is_word(words, i, layer->mask_text, layer->mask_int);
}

static bool is_unknown(const td_token_lookup *layer, const td_tensor *words, int64_t i) {
    return is_word(words, i, layer->oov_text, layer->oov_int);
}

/* True when the vocabulary starts with the mask and all unknown words. */
static bool starts_special(const td_token_table *made, const td_tensor *words) {
    bool all = words->count >= made->word_start;
    for (int64_t i = 0; all && i < made->word_start; i++) {
        all = i < made->oov_start ? is_mask(made->layer, words, i)
                                  : is_unknown(made->layer, words, i);
    }
    return all;
}

static td_status check_options(const td_token_lookup *layer) {
    bool strings = layer->vocabulary.dtype == TD_ELEMENT_BYTES;
    if (layer->vocabulary.count == 0) {
        return td_tf_fail(TD_TF_VALUE, "Cannot set an empty vocabulary.");
    }
    if (layer->oov < 0) {
        return td_tf_fail(TD_TF_VALUE,
                          "`num_oov_indices` must be greater than or equal to 0. Received: "
                          "num_oov_indices=%lld",
                          (long long)layer->oov);
    }
    if (layer->max_tokens == 1 || layer->max_tokens < 0 ||
        (layer->padded && layer->max_tokens == 0)) {
        return td_tf_fail(TD_TF_VALUE, "`max_tokens` must be greater than 1. Received: %lld",
                          (long long)layer->max_tokens);
    }
    if (layer->invert && layer->encoding != TD_ENCODE_INT) {
        return td_tf_fail(TD_TF_VALUE, "`output_mode` must be `'int'` when `invert` is true.");
    }
    if (layer->salted && !strings && !layer->fingerprints) {
        return td_tf_fail(TD_TF_VALUE, "`salt` can only be used when `oov_method='farmhash'`.");
    }
    if ((layer->idf != NULL) != (layer->encoding == TD_ENCODE_TF_IDF)) {
        return td_tf_fail(TD_TF_VALUE, layer->idf == NULL
                                           ? "`idf_weights` must be set if output_mode is 'tf_idf'."
                                           : "`idf_weights` should only be set if output_mode is "
                                             "'tf_idf'.");
    }
    if (layer->idf != NULL && layer->n_idf != layer->vocabulary.count) {
        return td_tf_fail(TD_TF_VALUE,
                          "`idf_weights` must be the same length as vocabulary: %lld and %lld",
                          (long long)layer->n_idf, (long long)layer->vocabulary.count);
    }
    return TD_OK;
}

/* Special words have their places at the start, or none. */
static td_status check_words(const td_token_table *made) {
    for (int64_t i = 0; i < made->words.count; i++) {
        bool mask = is_mask(made->layer, &made->words, i);
        if (mask || (made->layer->invert && is_unknown(made->layer, &made->words, i))) {
            return td_tf_fail(TD_TF_VALUE,
                              "Found reserved %s token at unexpected location in `vocabulary`: "
                              "index %lld",
                              mask ? "mask" : "OOV", (long long)i);
        }
    }
    int64_t total = made->word_start + made->words.count;
    if (made->layer->max_tokens > 0 && total > made->layer->max_tokens) {
        return td_tf_fail(TD_TF_VALUE,
                          "Attempted to set a vocabulary larger than the maximum vocab size. "
                          "Received vocabulary size is %lld; `max_tokens` is %lld.",
                          (long long)total, (long long)made->layer->max_tokens);
    }
    return TD_OK;
}

td_status td_token_table_create(const td_token_lookup *layer, td_pool *pool, td_token_table **out) {
    TD_TRY(check_options(layer));
    td_token_table made = {.layer = layer, .words = layer->vocabulary};
    made.oov_start = layer->masked && layer->encoding == TD_ENCODE_INT ? 1 : 0;
    made.word_start = made.oov_start + layer->oov;
    if (starts_special(&made, &layer->vocabulary)) {
        made.special = true;
        made.words.count -= made.word_start;
        made.words.shape[0] = made.words.count;
        made.words.data = (char *)layer->vocabulary.data +
                          (size_t)made.word_start * td_element_bytes(made.words.dtype);
    }
    TD_TRY(td_vocabulary_from_list(&made.words, pool, &made.rows));
    TD_TRY(check_words(&made));
    double sum = 0;
    for (int64_t i = 0; i < layer->n_idf; i++) {
        sum += layer->idf[i];
    }
    made.mean_idf = layer->n_idf > 0 ? (float)(sum / (double)layer->n_idf) : 0;
    *out = td_pool_copy(pool, &made, sizeof made);
    return *out == NULL ? td_tf_no_memory("a vocabulary") : TD_OK;
}

int64_t td_token_table_depth(const td_token_table *made) {
    bool padded = made->layer->padded && made->layer->encoding != TD_ENCODE_INT;
    return padded ? made->layer->max_tokens : made->word_start + made->words.count;
}

static uint64_t hash_of(const td_token_lookup *layer, td_span word) {
    return layer->salted ? td_siphash(layer->salt, word.data, word.size)
                         : td_fingerprint64(word.data, word.size);
}

/* Unknown words: by their hash, or what is left of an integer's division. */
static int64_t oov_id(const td_token_lookup *layer, const td_tensor *input, int64_t i) {
    if (layer->oov == 1) {
        return 0;
    }
    if (input->dtype == TD_ELEMENT_BYTES) {
        return (int64_t)(hash_of(layer, td_tensor_spans(input)[i]) % (uint64_t)layer->oov);
    }
    if (layer->fingerprints) {
        char digits[TD_DECIMAL_BYTES_MAX];
        size_t n = (size_t)td_decimal(td_tensor_int(input, i), digits);
        td_span word = {(const uint8_t *)digits, n};
        return (int64_t)(hash_of(layer, word) % (uint64_t)layer->oov);
    }
    int64_t left = td_tensor_int(input, i) % layer->oov;
    return left < 0 ? left + layer->oov : left;
}

td_status td_token_table_ids(const td_token_table *made, const td_tensor *input, td_pool *pool,
                             td_tensor *ids) {
    const td_token_lookup *layer = made->layer;
    if ((input->dtype == TD_ELEMENT_BYTES) != (layer->vocabulary.dtype == TD_ELEMENT_BYTES)) {
        return td_tf_fail(TD_TF_VALUE, "a vocabulary of %s, input of %s",
                          td_element_tf(layer->vocabulary.dtype), td_element_tf(input->dtype));
    }
    TD_TRY(td_tensor_take(pool, TD_ELEMENT_INT64, input->rank, input->shape, ids));
    for (int64_t i = 0; i < input->count; i++) {
        int64_t *to = (int64_t *)ids->data + i;
        if (is_mask(layer, input, i)) {
            *to = layer->encoding == TD_ENCODE_INT ? 0 : -1;
            continue;
        }
        int64_t row = input->dtype == TD_ELEMENT_BYTES
                          ? td_vocabulary_find(made->rows, td_tensor_spans(input)[i])
                          : td_vocabulary_find_int(made->rows, td_tensor_int(input, i));
        if (row < 0 && layer->oov == 0) {
            return td_tf_fail(
                TD_TF_INVALID_ARGUMENT,
                "When `num_oov_indices=0` all inputs should be in vocabulary, found an "
                "OOV value at position %lld, consider setting `num_oov_indices=1`.",
                (long long)i);
        }
        *to = row < 0 ? made->oov_start + oov_id(layer, input, i) : made->word_start + row;
    }
    return TD_OK;
}

/* Words of ids; what is no word's id has the unknown word, the mask's the mask. */
static td_status words_of(const td_token_table *made, const td_tensor *input, td_pool *pool,
                          td_tensor *out) {
    const td_token_lookup *layer = made->layer;
    if (!td_element_is_int(input->dtype)) {
        return td_tf_fail(TD_TF_VALUE, "ids are of %s", td_element_tf(input->dtype));
    }
    bool strings = layer->vocabulary.dtype == TD_ELEMENT_BYTES;
    TD_TRY(td_tensor_take(pool, layer->vocabulary.dtype, input->rank, input->shape, out));
    for (int64_t i = 0; i < input->count; i++) {
        int64_t id = td_tensor_int(input, i), row = id - made->word_start;
        bool mask = layer->masked && id == 0, word = !mask && row >= 0 && row < made->words.count;
        if (strings) {
            ((td_span *)out->data)[i] = word   ? td_tensor_spans(&made->words)[row]
                                        : mask ? layer->mask_text
                                               : layer->oov_text;
        } else {
            ((int64_t *)out->data)[i] = word   ? td_tensor_int(&made->words, row)
                                        : mask ? layer->mask_int
                                               : layer->oov_int;
        }
    }
    return TD_OK;
}

void td_token_table_weigh(const td_token_table *made, int64_t depth, float *counts, int64_t n) {
    const td_token_lookup *layer = made->layer;
    int64_t front = made->special ? 0 : made->word_start;
    for (int64_t i = 0; i < n; i++) {
        int64_t word = i % depth - front;
        counts[i] *= word < 0 ? made->mean_idf : word >= layer->n_idf ? 0 : (float)layer->idf[word];
    }
}

td_status td_token_lookup_apply(const td_token_lookup *layer, const td_tensor *input, td_pool *pool,
                                td_tensor *out) {
    td_token_table *made;
    TD_TRY(td_token_table_create(layer, pool, &made));
    if (layer->invert) {
        return words_of(made, input, pool, out);
    }
    td_tensor ids;
    TD_TRY(td_token_table_ids(made, input, pool, &ids));
    if (layer->encoding == TD_ENCODE_INT) {
        *out = ids;
        return TD_OK;
    }
    bool weighed = layer->encoding == TD_ENCODE_TF_IDF;
    int64_t depth = td_token_table_depth(made);
    TD_TRY(td_encode_ids(&ids, layer->encoding, depth, NULL,
                         weighed ? TD_ELEMENT_FLOAT32 : TD_ELEMENT_INT64, pool, out));
    if (weighed) {
        td_token_table_weigh(made, depth, out->data, out->count);
    }
    return TD_OK;
}
