/* SPDX-License-Identifier: Apache-2.0
 * Keras' preprocessing layers from their description: options, defaults and errors are its own.
 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "data/column_json.h"
#include "data/column_keras.h"
#include "data/tf_error.h"

#define MODE(encoding) (1u << (encoding))
#define COUNTED        (MODE(TD_ENCODE_ONE_HOT) | MODE(TD_ENCODE_MULTI_HOT) | MODE(TD_ENCODE_COUNT))

/* What a layer takes: options beside those of every layer, types of its input, the default first,
 * and encodings. */
typedef struct layer_kind {
    const char *options;
    td_element_type types[3];
    unsigned modes;
    td_encoding mode; /* the default */
    bool lists;       /* reads lists when it has no shape */
} layer_kind;

static bool has_word(const char *words, const char *word) {
    size_t size = strlen(word);
    for (const char *at = words; size > 0 && (at = strstr(at, word)) != NULL; at += size) {
        if ((at == words || at[-1] == ' ') && (at[size] == ' ' || at[size] == '\0')) {
            return true;
        }
    }
    return false;
}

/* A misspelt option must not become its default. */
static td_status check_options(const json_t *spec, const td_json_place *at, const char *common,
                               const char *own) {
    const char *member;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)spec, member, value) {
        if (!has_word(common, member) && !has_word(own, member)) {
            return td_tf_fail(TD_TF_VALUE, "%s.%.60s: expected one of %s %s", at->text, member,
                              common, own);
        }
    }
    return TD_OK;
}

static td_status get_type(const layer_kind *kind, const json_t *spec, const td_json_place *at,
                          td_element_type *out) {
    char names[80] = "";
    td_element_type found;
    TD_TRY(td_json_dtype(spec, at, kind->types[0], &found));
    for (int i = 0; i < 3 && kind->types[i] != TD_ELEMENT_NONE; i++) {
        if (kind->types[i] == found) {
            *out = found;
            return TD_OK;
        }
        size_t used = strlen(names);
        const char *name =
            kind->types[i] == TD_ELEMENT_BYTES ? "string" : td_element_text(kind->types[i]);
        snprintf(names + used, sizeof names - used, "%s%s", i == 0 ? "" : " or ", name);
    }
    return td_json_expected(at, "dtype", names);
}

static td_status get_mode(const layer_kind *kind, const json_t *spec, const td_json_place *at,
                          td_encoding *out) {
    const json_t *value = json_object_get(spec, "output_mode");
    const char *word = json_string_value(value);
    char names[80] = "";
    *out = kind->mode;
    for (int i = TD_ENCODE_INT; td_json_given(value) && i <= TD_ENCODE_TF_IDF; i++) {
        const char *name = td_encoding_text((td_encoding)i);
        size_t used = strlen(names);
        if ((kind->modes & MODE(i)) == 0) {
            continue;
        }
        if (word != NULL && strcmp(word, name) == 0) {
            *out = (td_encoding)i;
            return TD_OK;
        }
        snprintf(names + used, sizeof names - used, "%s%s", used == 0 ? "" : " or ", name);
    }
    return td_json_given(value) ? td_json_expected(at, "output_mode", names) : TD_OK;
}

static td_status get_flag(const json_t *spec, const char *member, const td_json_place *at,
                          bool *out) {
    const json_t *value = json_object_get(spec, member);
    *out = json_is_true(value);
    return !td_json_given(value) || json_is_boolean(value)
               ? TD_OK
               : td_json_expected(at, member, "true or false");
}

/* A number, or a list of them; n 0: neither is given. */
static td_status get_numbers(const td_column_builder *to, const json_t *spec, const char *member,
                             const td_json_place *at, double **out, int64_t *n) {
    const json_t *value = json_object_get(spec, member);
    bool list = json_is_array(value);
    *n = list ? (int64_t)json_array_size(value) : td_json_given(value);
    *out = td_pool_take(to->pool, (size_t)(*n + 1) * sizeof **out);
    if (*out == NULL) {
        return td_tf_no_memory("feature columns");
    }
    for (int64_t i = 0; i < *n; i++) {
        const json_t *one = list ? json_array_get(value, (size_t)i) : value;
        if (!json_is_number(one)) {
            return td_json_expected(at, member, "numbers");
        }
        (*out)[i] = json_number_value(one);
    }
    return TD_OK;
}

static td_status get_floats(const td_column_builder *to, const json_t *spec, const char *member,
                            const td_json_place *at, float **out, int64_t *n) {
    double *numbers;
    TD_TRY(get_numbers(to, spec, member, at, &numbers, n));
    *out = td_pool_take(to->pool, (size_t)(*n + 1) * sizeof **out);
    for (int64_t i = 0; *out != NULL && i < *n; i++) {
        (*out)[i] = (float)numbers[i];
    }
    return *out == NULL ? td_tf_no_memory("feature columns") : TD_OK;
}

/* A word of the input's type that has a meaning of its own. */
static td_status get_token(const td_column_builder *to, const json_t *spec, const char *member,
                           const td_json_place *at, td_element_type dtype, bool *has, td_span *text,
                           int64_t *number) {
    const json_t *value = json_object_get(spec, member);
    *has = td_json_given(value);
    if (*has && dtype == TD_ELEMENT_BYTES) {
        return json_is_string(value) ? td_json_copy_string(to, value, text)
                                     : td_json_expected(at, member, "a string");
    }
    *number = json_integer_value(value);
    return !*has || json_is_integer(value) ? TD_OK : td_json_expected(at, member, "a whole number");
}

/* Two numbers, or one for both. */
static td_status get_salt(const json_t *spec, const td_json_place *at, bool *salted,
                          uint64_t out[2]) {
    const json_t *value = json_object_get(spec, "salt");
    *salted = td_json_given(value);
    for (size_t i = 0; *salted && i < 2; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(one) || (json_is_array(value) && json_array_size(value) != 2)) {
            return td_json_expected(at, "salt", "a whole number, or a list of two");
        }
        out[i] = (uint64_t)json_integer_value(one);
    }
    return TD_OK;
}

/* What all layers have: the options' names, key, dtype, shape, encoding. */
static td_status start_layer(const td_column_builder *to, const layer_kind *kind,
                             const json_t *spec, const td_json_place *at, td_column *column,
                             td_column_layer **out) {
    td_column_layer *layer = td_pool_take_zero(to->pool, sizeof *layer);
    if (layer == NULL) {
        return td_tf_no_memory("feature columns");
    }
    TD_TRY(check_options(spec, at,
                         kind->modes == 0 ? "type name key dtype shape"
                                          : "type name key dtype shape output_mode",
                         kind->options));
    TD_TRY(td_json_key(to, spec, "key", at, &column->key));
    TD_TRY(get_type(kind, spec, at, &column->dtype));
    TD_TRY(get_mode(kind, spec, at, &layer->encoding));
    TD_TRY(td_json_shape(spec, at, column));
    layer->lists = kind->lists && layer->encoding != TD_ENCODE_ONE_HOT &&
                   !td_json_given(json_object_get(spec, "shape"));
    *out = layer;
    return TD_OK;
}

static td_status name_layer(const td_column_builder *to, const json_t *spec,
                            const td_json_place *at, td_column *column) {
    const json_t *name = json_object_get(spec, "name");
    char suffix[64];
    if (td_json_given(name)) {
        return json_string_length(name) > 0 ? td_json_copy_string(to, name, &column->name)
                                            : td_json_expected(at, "name", "a name");
    }
    snprintf(suffix, sizeof suffix, "_%s", json_string_value(json_object_get(spec, "type")));
    return td_column_name(to, column, suffix, (td_span){NULL, 0});
}

/* Name, and the shape of what a record becomes; buckets are known. */
static td_status finish_layer(const td_column_builder *to, const json_t *spec,
                              const td_json_place *at, td_column *column, td_column_layer *layer) {
    column->layer = layer;
    TD_TRY(name_layer(to, spec, at, column));
    td_tensor one = {.rank = column->rank + 1, .shape = {1}};
    memcpy(one.shape + 1, column->shape, (size_t)column->rank * sizeof *column->shape);
    int64_t shape[TD_RANK_MAX] = {1, column->buckets};
    int rank = 2;
    if (column->type == TD_COLUMN_NORMALIZATION) {
        rank = one.rank;
        memcpy(shape, one.shape, sizeof shape);
    } else if (!layer->lists && layer->encoding != TD_ENCODE_INT) {
        rank = td_encoded_shape(&one, layer->encoding, column->buckets, shape);
    }
    layer->rank = rank - 1;
    memcpy(layer->shape, shape + 1, (size_t)layer->rank * sizeof *shape);
    int64_t width = td_shape_count(layer->rank, layer->shape);
    return td_column_is_categorical(column) || (width >= 0 && width <= INT32_MAX)
               ? TD_OK
               : td_tf_fail(TD_TF_VALUE, "%s: more than %d numbers a record", at->text, INT32_MAX);
}

static td_status get_bins(const json_t *spec, const char *layer, const td_json_place *at,
                          int64_t *out) {
    TD_TRY(td_json_int(spec, "num_bins", at, 0, out));
    return *out >= 1 ? TD_OK
                     : td_tf_fail(TD_TF_VALUE,
                                  "%s: The `num_bins` for `%s` cannot be `None` or non-positive. "
                                  "Received: num_bins=%lld.",
                                  at->text, layer, (long long)*out);
}

td_status td_build_hashing(td_column_builder *to, const json_t *spec, const td_json_place *at,
                           td_column *column) {
    static const layer_kind kind = {"num_bins mask_value salt",
                                    {TD_ELEMENT_BYTES, TD_ELEMENT_INT64, TD_ELEMENT_FLOAT32},
                                    MODE(TD_ENCODE_INT) | COUNTED,
                                    TD_ENCODE_INT,
                                    true};
    td_column_layer *layer = NULL;
    TD_TRY(start_layer(to, &kind, spec, at, column, &layer));
    td_hashing *hashing = &layer->hashing;
    TD_TRY(get_bins(spec, "Hashing", at, &column->buckets));
    hashing->bins = column->buckets;
    TD_TRY(get_token(to, spec, "mask_value", at, column->dtype, &hashing->masked,
                     &hashing->mask_text, &hashing->mask_int));
    TD_TRY(get_salt(spec, at, &hashing->salted, hashing->salt));
    return finish_layer(to, spec, at, column, layer);
}

/* A key as a name, of strings, or with its type. */
static td_status crossed_key(const td_column_builder *to, const json_t *spec,
                             const td_json_place *at, td_cross_leaf *out) {
    static const layer_kind kind = {.types = {TD_ELEMENT_BYTES, TD_ELEMENT_INT64}};
    *out = (td_cross_leaf){.dtype = TD_ELEMENT_BYTES};
    if (json_is_string(spec)) {
        return td_json_copy_string(to, spec, &out->key);
    }
    TD_TRY(check_options(spec, at, "key", "dtype"));
    TD_TRY(td_json_key(to, spec, "key", at, &out->key));
    return get_type(&kind, spec, at, &out->dtype);
}

td_status td_build_hashed_crossing(td_column_builder *to, const json_t *spec,
                                   const td_json_place *at, td_column *column) {
    static const layer_kind kind = {.modes = MODE(TD_ENCODE_INT) | MODE(TD_ENCODE_ONE_HOT),
                                    .mode = TD_ENCODE_INT};
    const json_t *keys = json_object_get(spec, "keys");
    size_t n = json_array_size(keys);
    td_column_layer *layer = td_pool_take_zero(to->pool, sizeof *layer);
    td_cross_leaf *leaves = td_pool_take(to->pool, (n + 1) * sizeof *leaves);
    if (layer == NULL || leaves == NULL) {
        return td_tf_no_memory("feature columns");
    }
    TD_TRY(check_options(spec, at, "type name output_mode", "keys num_bins"));
    TD_TRY(get_mode(&kind, spec, at, &layer->encoding));
    TD_TRY(get_bins(spec, "HashedCrossing", at, &column->buckets));
    if (n < 2) {
        return td_json_expected(at, "keys", "two keys or more");
    }
    td_json_place list = td_json_below(at, "keys");
    td_text joined = {0};
    td_status status = TD_OK;
    for (size_t i = 0; i < n && status == TD_OK; i++) {
        td_json_place inner = td_json_item(&list, i);
        status = crossed_key(to, json_array_get(keys, i), &inner, &leaves[i]);
        if (status == TD_OK) {
            td_text_puts(&joined, i == 0 ? "" : "_X_");
            td_text_append(&joined, (const char *)leaves[i].key.data, leaves[i].key.size);
            status = td_text_status(&joined);
        }
    }
    if (status == TD_OK) {
        status = td_json_copy(to, joined.data, joined.size, &column->key);
    }
    td_text_destroy(&joined);
    TD_TRY(status);
    column->leaves = leaves;
    column->n_leaves = (int)n;
    column->dtype = leaves[0].dtype;
    column->rank = 1;
    column->shape[0] = 1;
    return finish_layer(to, spec, at, column, layer);
}

static td_status get_vocabulary(const td_column_builder *to, const json_t *spec,
                                const td_json_place *at, const td_column *column, td_tensor *out) {
    bool strings = column->dtype == TD_ELEMENT_BYTES;
    const json_t *list = json_object_get(spec, "vocabulary");
    const char *what = strings ? "a list of strings" : "a list of whole numbers";
    if (!json_is_array(list)) {
        return td_json_expected(at, "vocabulary", what);
    }
    TD_TRY(td_json_words(to, list, at, out));
    return out->count == 0 || (out->dtype == TD_ELEMENT_BYTES) == strings
               ? TD_OK
               : td_json_expected(at, "vocabulary", what);
}

static td_status get_oov_method(const json_t *spec, const td_json_place *at, bool *fingerprints) {
    const json_t *value = json_object_get(spec, "oov_method");
    const char *word = json_string_value(value);
    *fingerprints = word != NULL && strcmp(word, "farmhash") == 0;
    return !td_json_given(value) || *fingerprints || (word != NULL && strcmp(word, "floormod") == 0)
               ? TD_OK
               : td_json_expected(at, "oov_method", "floormod or farmhash");
}

static td_status build_lookup(const layer_kind *kind, td_column_builder *to, const json_t *spec,
                              const td_json_place *at, td_column *column) {
    td_column_layer *layer = NULL;
    td_token_table *table;
    td_token_lookup *lookup = td_pool_take_zero(to->pool, sizeof *lookup);
    double *idf;
    bool has_oov;
    if (lookup == NULL) {
        return td_tf_no_memory("feature columns");
    }
    TD_TRY(start_layer(to, kind, spec, at, column, &layer));
    lookup->encoding = layer->encoding;
    lookup->oov_text = td_span_text("[UNK]");
    lookup->oov_int = -1;
    TD_TRY(get_vocabulary(to, spec, at, column, &lookup->vocabulary));
    TD_TRY(td_json_int(spec, "num_oov_indices", at, 1, &lookup->oov));
    TD_TRY(get_token(to, spec, "mask_token", at, column->dtype, &lookup->masked, &lookup->mask_text,
                     &lookup->mask_int));
    td_span oov_text = lookup->oov_text;
    int64_t oov_int = lookup->oov_int;
    TD_TRY(get_token(to, spec, "oov_token", at, column->dtype, &has_oov, &oov_text, &oov_int));
    lookup->oov_text = oov_text;
    lookup->oov_int = has_oov ? oov_int : lookup->oov_int;
    TD_TRY(get_oov_method(spec, at, &lookup->fingerprints));
    TD_TRY(get_salt(spec, at, &lookup->salted, lookup->salt));
    TD_TRY(td_json_int(spec, "max_tokens", at, 0, &lookup->max_tokens));
    TD_TRY(get_flag(spec, "pad_to_max_tokens", at, &lookup->padded));
    TD_TRY(get_numbers(to, spec, "idf_weights", at, &idf, &lookup->n_idf));
    lookup->idf = lookup->n_idf > 0 ? idf : NULL;
    TD_TRY(td_token_table_create(lookup, to->pool, &table));
    layer->tokens = table;
    column->buckets = td_token_table_depth(table);
    return finish_layer(to, spec, at, column, layer);
}

#define LOOKUP_OPTIONS                                                                             \
    "vocabulary num_oov_indices mask_token oov_token max_tokens pad_to_max_tokens idf_weights "    \
    "salt"

td_status td_build_string_lookup(td_column_builder *to, const json_t *spec, const td_json_place *at,
                                 td_column *column) {
    static const layer_kind kind = {LOOKUP_OPTIONS,
                                    {TD_ELEMENT_BYTES},
                                    MODE(TD_ENCODE_INT) | COUNTED | MODE(TD_ENCODE_TF_IDF),
                                    TD_ENCODE_INT,
                                    true};
    return build_lookup(&kind, to, spec, at, column);
}

td_status td_build_integer_lookup(td_column_builder *to, const json_t *spec,
                                  const td_json_place *at, td_column *column) {
    static const layer_kind kind = {LOOKUP_OPTIONS " oov_method",
                                    {TD_ELEMENT_INT64},
                                    MODE(TD_ENCODE_INT) | COUNTED | MODE(TD_ENCODE_TF_IDF),
                                    TD_ENCODE_INT,
                                    true};
    return build_lookup(&kind, to, spec, at, column);
}

td_status td_build_discretization(td_column_builder *to, const json_t *spec,
                                  const td_json_place *at, td_column *column) {
    static const layer_kind kind = {"bin_boundaries",
                                    {TD_ELEMENT_FLOAT32, TD_ELEMENT_INT64},
                                    MODE(TD_ENCODE_INT) | COUNTED,
                                    TD_ENCODE_INT,
                                    false};
    td_column_layer *layer = NULL;
    TD_TRY(start_layer(to, &kind, spec, at, column, &layer));
    TD_TRY(get_floats(to, spec, "bin_boundaries", at, &column->boundaries, &column->n_boundaries));
    if (column->n_boundaries == 0) {
        return td_json_expected(at, "bin_boundaries", "at least one number");
    }
    for (int64_t i = 1; i < column->n_boundaries; i++) {
        if (!(column->boundaries[i - 1] <= column->boundaries[i])) {
            return td_json_expected(at, "bin_boundaries", "numbers that do not fall");
        }
    }
    column->buckets = column->n_boundaries + 1;
    return finish_layer(to, spec, at, column, layer);
}

td_status td_build_category_encoding(td_column_builder *to, const json_t *spec,
                                     const td_json_place *at, td_column *column) {
    static const layer_kind kind = {
        "num_tokens", {TD_ELEMENT_INT64}, COUNTED, TD_ENCODE_MULTI_HOT, true};
    td_column_layer *layer = NULL;
    TD_TRY(start_layer(to, &kind, spec, at, column, &layer));
    TD_TRY(td_json_int(spec, "num_tokens", at, 0, &column->buckets));
    return column->buckets >= 1 ? finish_layer(to, spec, at, column, layer)
                                : td_json_expected(at, "num_tokens", "a whole number above 0");
}

/* The mean and variance of the last dimension's places, or of everything. */
static td_status get_axis(const json_t *spec, const td_json_place *at, const td_column *column,
                          int64_t n) {
    const json_t *axis = json_object_get(spec, "axis");
    bool all = axis != NULL && json_is_null(axis);
    int64_t last = column->rank, width = column->rank > 0 ? column->shape[column->rank - 1] : 1;
    int64_t number = axis == NULL ? -1 : (int64_t)json_integer_value(axis);
    char what[96];
    if (!all && axis != NULL && (!json_is_integer(axis) || (number != -1 && number != last))) {
        return td_json_expected(at, "axis", "-1 (the last dimension) or null (all of them)");
    }
    snprintf(what, sizeof what, all ? "one number, as axis is null" : "%lld number%s, or one",
             (long long)width, width == 1 ? "" : "s");
    return n == 1 || (!all && n == width) ? TD_OK : td_json_expected(at, "mean", what);
}

td_status td_build_normalization(td_column_builder *to, const json_t *spec, const td_json_place *at,
                                 td_column *column) {
    static const layer_kind kind = {"mean variance axis invert",
                                    {TD_ELEMENT_FLOAT32, TD_ELEMENT_INT64},
                                    0,
                                    TD_ENCODE_INT,
                                    false};
    td_column_layer *layer = NULL;
    int64_t n;
    TD_TRY(start_layer(to, &kind, spec, at, column, &layer));
    TD_TRY(get_floats(to, spec, "mean", at, &layer->mean, &layer->n));
    TD_TRY(get_floats(to, spec, "variance", at, &layer->variance, &n));
    TD_TRY(get_flag(spec, "invert", at, &layer->invert));
    if (layer->n == 0 || n == 0) {
        return td_tf_fail(TD_TF_VALUE,
                          "%s: When setting values directly, both `mean` and `variance` must be "
                          "set.",
                          at->text);
    }
    if (n != layer->n) {
        return td_json_expected(at, "variance", "as many numbers as the mean has");
    }
    for (int64_t i = 0; i < n; i++) {
        if (!(layer->variance[i] >= 0)) {
            return td_json_expected(at, "variance", "numbers that are not below 0");
        }
    }
    TD_TRY(get_axis(spec, at, column, n));
    return finish_layer(to, spec, at, column, layer);
}
