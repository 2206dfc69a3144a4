/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/column_json.h"
#include "data/tf_error.h"

enum { COLUMN_DEPTH_MAX = 16 };

static td_status no_memory(void) {
    return td_tf_no_memory("feature columns");
}

static bool is_number_type(td_element_type dtype) {
    return td_element_is_int(dtype) || dtype == TD_ELEMENT_FLOAT32 || dtype == TD_ELEMENT_FLOAT64;
}

static td_status string_or_int(const td_column *column) {
    return column->dtype == TD_ELEMENT_BYTES || td_element_is_int(column->dtype)
               ? TD_OK
               : td_tf_fail(TD_TF_VALUE, "column %s: dtype must be string or integer. dtype: %s.",
                            (const char *)column->key.data, td_element_text(column->dtype));
}

static void set_number(td_tensor *out, int64_t i, const json_t *value) {
    switch (out->dtype) {
    case TD_ELEMENT_FLOAT32:
        ((float *)out->data)[i] = (float)json_number_value(value);
        break;
    case TD_ELEMENT_FLOAT64:
        ((double *)out->data)[i] = json_number_value(value);
        break;
    case TD_ELEMENT_INT32:
        ((int32_t *)out->data)[i] = (int32_t)json_integer_value(value);
        break;
    default:
        ((int64_t *)out->data)[i] = (int64_t)json_integer_value(value);
    }
}

/* Flattens nested lists of the given shape; false when they have another, or hold no numbers. */
static bool fill_nested(td_tensor *out, int level, const json_t *list, int64_t *at, bool *real) {
    if (level == out->rank) {
        *real = *real || json_is_real(list);
        if (!json_is_number(list)) {
            return false;
        }
        set_number(out, (*at)++, list);
        return true;
    }
    if (!json_is_array(list) || (int64_t)json_array_size(list) != out->shape[level]) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!fill_nested(out, level + 1, json_array_get(list, i), at, real)) {
            return false;
        }
    }
    return true;
}

static td_status numeric_default(const td_column_builder *to, const json_t *value,
                                 const td_json_place *at, td_column *column) {
    bool real = json_is_real(value);
    TD_TRY(td_tensor_take(to->pool, column->dtype, column->rank, column->shape, &column->fallback));
    if (json_is_number(value)) {
        for (int64_t i = 0; i < column->fallback.count; i++) {
            set_number(&column->fallback, i, value);
        }
    } else {
        int64_t filled = 0;
        if (!fill_nested(&column->fallback, 0, value, &filled, &real)) {
            return td_tf_fail(
                TD_TF_VALUE, "%s.default: The shape of default_value must be equal to given shape.",
                at->text);
        }
    }
    if (real && td_element_is_int(column->dtype)) {
        return td_tf_fail(TD_TF_TYPE, "%s.default: default_value must be compatible with dtype %s",
                          at->text, td_element_text(column->dtype));
    }
    column->has_default = true;
    return TD_OK;
}

static td_status numeric_normalizer(const json_t *spec, const td_json_place *at,
                                    td_column *column) {
    static const char *const names[] = {
        [TD_NORMALIZER_ADD] = "add", [TD_NORMALIZER_MUL] = "mul", [TD_NORMALIZER_LOG1P] = "log1p"};
    const json_t *normalizer = json_object_get(spec, "normalizer");
    if (!td_json_given(normalizer)) {
        return TD_OK;
    }
    const char *op = json_string_value(json_object_get(normalizer, "op"));
    for (int i = TD_NORMALIZER_ADD; op != NULL && i <= TD_NORMALIZER_LOG1P; i++) {
        if (strcmp(op, names[i]) == 0) {
            column->normalizer = (td_normalizer)i;
        }
    }
    if (column->normalizer == TD_NORMALIZER_NONE) {
        return td_json_expected(at, "normalizer.op", "add, mul or log1p");
    }
    column->normalizer_value = json_number_value(json_object_get(normalizer, "value"));
    return TD_OK;
}

static td_status build_numeric(td_column_builder *to, const json_t *spec, const td_json_place *at,
                               td_column *column) {
    const json_t *fallback = json_object_get(spec, "default");
    TD_TRY(td_json_key(to, spec, "key", at, &column->key));
    TD_TRY(td_json_dtype(spec, at, TD_ELEMENT_FLOAT32, &column->dtype));
    TD_TRY(td_json_shape(spec, at, column));
    if (!is_number_type(column->dtype)) {
        return td_tf_fail(TD_TF_VALUE, "dtype must be convertible to float. dtype: %s, key: %s",
                          td_element_text(column->dtype), (const char *)column->key.data);
    }
    TD_TRY(numeric_normalizer(spec, at, column));
    if (td_json_given(fallback)) {
        TD_TRY(numeric_default(to, fallback, at, column));
    }
    return td_column_name(to, column, "", (td_span){NULL, 0});
}

/* Messages in TensorFlow's words do not say where: the innermost column is put before them. */
static td_status with_place(const td_column_builder *to, const td_json_place *at,
                            td_status status) {
    if (status != TD_EINPUT || strncmp(td_error(), to->root, strlen(to->root)) == 0) {
        return status;
    }
    char message[700];
    snprintf(message, sizeof message, "%s", td_error());
    return td_tf_fail(td_tf_last(), "%s: %s", at->text, message);
}

static td_status build_column(td_column_builder *to, const json_t *spec, const td_json_place *at,
                              td_column **out);

static td_status build_source(td_column_builder *to, const json_t *spec, const char *member,
                              const td_json_place *at, td_column *column) {
    td_json_place inner = td_json_below(at, member);
    td_column *source;
    TD_TRY(build_column(to, json_object_get(spec, member), &inner, &source));
    column->source = source;
    return TD_OK;
}

static td_status build_bucketized(td_column_builder *to, const json_t *spec,
                                  const td_json_place *at, td_column *column) {
    const json_t *list = json_object_get(spec, "boundaries");
    TD_TRY(build_source(to, spec, "source", at, column));
    if (column->source->type != TD_COLUMN_NUMERIC || column->source->sequence) {
        return td_tf_fail(TD_TF_VALUE,
                          "%s: source_column must be a column generated with numeric_column(). "
                          "Given: %s",
                          at->text, (const char *)column->source->name.data);
    }
    if (column->source->rank > 1) {
        return td_tf_fail(TD_TF_VALUE, "%s: source_column must be one-dimensional column.",
                          at->text);
    }
    if (column->source->rank == 0) {
        return td_tf_fail(TD_TF_INDEX, "%s: source_column has no dimension to count buckets of.",
                          at->text);
    }
    column->n_boundaries = (int64_t)json_array_size(list);
    column->boundaries =
        td_pool_take(to->pool, (size_t)(column->n_boundaries + 1) * sizeof *column->boundaries);
    if (column->n_boundaries == 0) {
        return td_tf_fail(TD_TF_VALUE, "%s: boundaries must not be empty.", at->text);
    }
    if (column->boundaries == NULL) {
        return no_memory();
    }
    double last = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        double boundary = json_number_value(value);
        if (!json_is_number(value)) {
            return td_json_expected(at, "boundaries", "numbers");
        }
        if (i > 0 && last >= boundary) {
            return td_tf_fail(TD_TF_VALUE, "%s: boundaries must be a sorted list.", at->text);
        }
        column->boundaries[i] = (float)boundary;
        last = boundary;
    }
    column->key = column->source->key;
    column->rank = 1;
    column->shape[0] = column->source->shape[0];
    column->buckets = (column->n_boundaries + 1) * column->shape[0];
    return td_column_name(to, column, "_bucketized", (td_span){NULL, 0});
}

static td_status build_identity(td_column_builder *to, const json_t *spec, const td_json_place *at,
                                td_column *column) {
    TD_TRY(td_json_key(to, spec, "key", at, &column->key));
    TD_TRY(td_json_int(spec, "num_buckets", at, 0, &column->buckets));
    TD_TRY(td_json_int(spec, "default", at, 0, &column->id_default));
    column->has_default = td_json_given(json_object_get(spec, "default"));
    column->dtype = TD_ELEMENT_INT64;
    if (column->buckets < 1) {
        return td_tf_fail(TD_TF_VALUE, "num_buckets %lld < 1, column_name %s",
                          (long long)column->buckets, (const char *)column->key.data);
    }
    if (column->has_default && (column->id_default < 0 || column->id_default >= column->buckets)) {
        return td_tf_fail(TD_TF_VALUE, "default_value %lld not in range [0, %lld), column_name %s",
                          (long long)column->id_default, (long long)column->buckets,
                          (const char *)column->key.data);
    }
    return td_column_name(to, column, "", (td_span){NULL, 0});
}

/* Out-of-vocabulary buckets and a default exclude each other. */
static td_status out_of_vocabulary(const json_t *spec, const td_json_place *at, td_column *column,
                                   int64_t *buckets) {
    TD_TRY(td_json_int(spec, "num_oov_buckets", at, 0, buckets));
    TD_TRY(td_json_int(spec, "default", at, -1, &column->id_default));
    bool has_default = td_json_given(json_object_get(spec, "default")) &&
                       (column->type == TD_COLUMN_VOCAB_FILE || column->id_default != -1);
    if (*buckets != 0 && has_default) {
        return td_tf_fail(TD_TF_VALUE,
                          "Can't specify both num_oov_buckets and default_value in %s.",
                          (const char *)column->key.data);
    }
    return *buckets >= 0 ? TD_OK
                         : td_tf_fail(TD_TF_VALUE, "Invalid num_oov_buckets %lld in %s.",
                                      (long long)*buckets, (const char *)column->key.data);
}

static td_status build_vocab_list(td_column_builder *to, const json_t *spec,
                                  const td_json_place *at, td_column *column) {
    const json_t *list = json_object_get(spec, "vocabulary");
    int64_t oov;
    td_tensor keys;
    TD_TRY(td_json_key(to, spec, "key", at, &column->key));
    if (json_array_size(list) == 0) {
        return td_tf_fail(TD_TF_VALUE, "vocabulary_list must be non-empty, column_name: %s",
                          (const char *)column->key.data);
    }
    TD_TRY(td_json_words(to, list, at, &keys));
    TD_TRY(td_json_dtype(spec, at, keys.dtype, &column->dtype));
    TD_TRY(td_vocabulary_from_list(&keys, to->pool, &column->vocabulary));
    TD_TRY(out_of_vocabulary(spec, at, column, &oov));
    TD_TRY(string_or_int(column));
    if ((keys.dtype == TD_ELEMENT_BYTES) != (column->dtype == TD_ELEMENT_BYTES)) {
        return td_tf_fail(TD_TF_VALUE,
                          "dtype %s and vocabulary dtype %s do not match, column_name: %s",
                          td_element_text(column->dtype), td_element_text(keys.dtype),
                          (const char *)column->key.data);
    }
    column->buckets = td_vocabulary_size(column->vocabulary) + oov;
    return td_column_name(to, column, "", (td_span){NULL, 0});
}

static int hex_value(char digit) {
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                                          : -1;
}

static td_status file_contents(const td_column_builder *to, const json_t *value,
                               const td_json_place *at, td_span *out) {
    const char *text = json_string_value(value);
    if (text == NULL) {
        return td_tf_fail(TD_TF_VALUE, "%s: Missing vocabulary_file.", at->text);
    }
    if (!to->hex_files) {
        char *data;
        size_t size;
        if (td_file_read(text, &data, &size) != TD_OK) {
            return td_tf_fail(TD_TF_VALUE, "%s: vocabulary_file in %s does not exist.", at->text,
                              text);
        }
        *out = (td_span){td_pool_copy(to->pool, data, size), size};
        td_free(data);
        return out->data == NULL ? no_memory() : TD_OK;
    }
    size_t size = strlen(text) / 2;
    uint8_t *bytes = td_pool_take(to->pool, size);
    for (size_t i = 0; bytes != NULL && i < size; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return td_json_expected(at, "file", "hexadecimal digits");
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    *out = (td_span){bytes, size};
    return bytes == NULL ? no_memory() : TD_OK;
}

static td_status empty_vocabulary(const td_column *column) {
    return td_tf_fail(TD_TF_VALUE, "Invalid vocabulary_size in %s.",
                      (const char *)column->key.data);
}

/* The file's contents are judged now, but what is wrong with them is reported by their first use,
 * as TensorFlow does. */
static td_status build_vocab_file(td_column_builder *to, const json_t *spec,
                                  const td_json_place *at, td_column *column) {
    int64_t oov = 0, size = -1;
    td_span contents;
    TD_TRY(td_json_key(to, spec, "key", at, &column->key));
    TD_TRY(file_contents(to, json_object_get(spec, "file"), at, &contents));
    TD_TRY(td_json_int(spec, "size", at, -1, &size));
    TD_TRY(td_json_dtype(spec, at, TD_ELEMENT_BYTES, &column->dtype));
    if (td_json_given(json_object_get(spec, "size")) && size < 1) {
        return empty_vocabulary(column);
    }
    TD_TRY(out_of_vocabulary(spec, at, column, &oov));
    TD_TRY(string_or_int(column));
    const char *format = json_string_value(json_object_get(spec, "file_format"));
    bool text = format == NULL || strcmp(format, "text") == 0;
    if (!text && strcmp(format, "tfrecord_gzip") != 0) {
        return td_json_expected(at, "file_format", "text or tfrecord_gzip");
    }
    td_status status =
        td_vocabulary_from_file(contents, text ? TD_VOCABULARY_TEXT : TD_VOCABULARY_TFRECORD_GZIP,
                                column->dtype, size, to->pool, &column->vocabulary);
    if (status == TD_ENOMEM) {
        return status;
    }
    if (status != TD_OK) {
        td_span message = {NULL, 0};
        column->vocabulary_class = (int)td_tf_last();
        TD_TRY(td_json_copy(to, td_error(), strlen(td_error()), &message));
        column->vocabulary_message = (const char *)message.data;
    }
    if (status == TD_OK && size < 0 && td_vocabulary_size(column->vocabulary) == 0) {
        return empty_vocabulary(column);
    }
    column->buckets = (size >= 0 ? size : td_vocabulary_size(column->vocabulary)) + oov;
    return td_column_name(to, column, "", (td_span){NULL, 0});
}

static td_status build_hash(td_column_builder *to, const json_t *spec, const td_json_place *at,
                            td_column *column) {
    TD_TRY(td_json_key(to, spec, "key", at, &column->key));
    TD_TRY(td_json_int(spec, "hash_bucket_size", at, 0, &column->buckets));
    TD_TRY(td_json_dtype(spec, at, TD_ELEMENT_BYTES, &column->dtype));
    if (column->buckets < 1) {
        return td_tf_fail(TD_TF_VALUE,
                          "hash_bucket_size must be at least 1. hash_bucket_size: %lld, key: %s",
                          (long long)column->buckets, (const char *)column->key.data);
    }
    TD_TRY(string_or_int(column));
    return td_column_name(to, column, "", (td_span){NULL, 0});
}

static td_status build_weighted(td_column_builder *to, const json_t *spec, const td_json_place *at,
                                td_column *column) {
    TD_TRY(build_source(to, spec, "categorical", at, column));
    TD_TRY(td_json_key(to, spec, "weight_key", at, &column->weight_key));
    TD_TRY(td_json_dtype(spec, at, TD_ELEMENT_FLOAT32, &column->dtype));
    if (!td_column_is_categorical(column->source)) {
        return td_tf_fail(TD_TF_VALUE, "%s.categorical: expected a categorical column", at->text);
    }
    if (!is_number_type(column->dtype)) {
        return td_tf_fail(TD_TF_VALUE, "%s: dtype %s is not convertible to float.", at->text,
                          td_element_text(column->dtype));
    }
    column->buckets = column->source->buckets;
    return td_column_name(to, column, "_weighted_by_", column->weight_key);
}

static int compare_spans(const void *a, const void *b) {
    return td_span_compare(*(const td_span *)a, *(const td_span *)b);
}

static td_status cross_name(const td_column_builder *to, td_column *column) {
    td_span *names = td_pool_take(to->pool, (size_t)column->n_leaves * sizeof *names);
    if (names == NULL) {
        return no_memory();
    }
    for (int i = 0; i < column->n_leaves; i++) {
        const td_cross_leaf *leaf = &column->leaves[i];
        names[i] = leaf->column == NULL ? leaf->key : leaf->column->name;
    }
    qsort(names, (size_t)column->n_leaves, sizeof *names, compare_spans);
    td_text text = {0};
    for (int i = 0; i < column->n_leaves; i++) {
        td_text_puts(&text, i == 0 ? "" : "_X_");
        td_text_append(&text, (const char *)names[i].data, names[i].size);
    }
    td_status status = td_text_status(&text);
    if (status == TD_OK) {
        status = td_json_copy(to, text.data, text.size, &column->name);
    }
    td_text_destroy(&text);
    return status;
}

enum { CROSS_LEAVES_MAX = 64 };

/* A key of a cross: a name, or a column whose own leaves are laid flat when it is a cross. */
static td_status add_leaf(td_column_builder *to, const json_t *key, const td_json_place *at,
                          td_cross_leaf *leaves, int *n) {
    td_column *column = NULL;
    td_cross_leaf leaf = {{NULL, 0}, NULL, TD_ELEMENT_BYTES};
    const td_cross_leaf *added = &leaf;
    int n_added = 1;
    if (json_is_string(key)) {
        TD_TRY(td_json_copy_string(to, key, &leaf.key));
    } else {
        TD_TRY(build_column(to, key, at, &column));
        leaf.column = column;
        if (!td_column_is_categorical(column)) {
            return td_tf_fail(
                TD_TF_VALUE,
                "Unsupported key type. All keys must be either string, or categorical "
                "column except HashedCategoricalColumn. Given: %s",
                at->text);
        }
        if (column->type == TD_COLUMN_HASH) {
            return td_tf_fail(TD_TF_VALUE,
                              "categorical_column_with_hash_bucket is not supported for crossing. "
                              "Given: %s",
                              at->text);
        }
        if (column->type == TD_COLUMN_CROSSED) {
            added = column->leaves;
            n_added = column->n_leaves;
        }
    }
    if (*n + n_added > CROSS_LEAVES_MAX) {
        return td_tf_fail(TD_TF_VALUE, "%s: a cross of more than %d features", at->text,
                          CROSS_LEAVES_MAX);
    }
    memcpy(leaves + *n, added, (size_t)n_added * sizeof *added);
    *n += n_added;
    return TD_OK;
}

static td_status build_crossed(td_column_builder *to, const json_t *spec, const td_json_place *at,
                               td_column *column) {
    const json_t *keys = json_object_get(spec, "keys"), *key = json_object_get(spec, "hash_key");
    TD_TRY(td_json_int(spec, "hash_bucket_size", at, 0, &column->buckets));
    if (column->buckets < 1) {
        return td_tf_fail(TD_TF_VALUE, "hash_bucket_size must be > 1. hash_bucket_size: %lld",
                          (long long)column->buckets);
    }
    if (json_array_size(keys) < 2) {
        return td_tf_fail(TD_TF_VALUE, "%s: keys must be a list with length > 1.", at->text);
    }
    td_cross_leaf *leaves = td_pool_take(to->pool, CROSS_LEAVES_MAX * sizeof *leaves);
    if (leaves == NULL) {
        return no_memory();
    }
    td_json_place list = td_json_below(at, "keys");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        td_json_place inner = td_json_item(&list, i);
        TD_TRY(add_leaf(to, json_array_get(keys, i), &inner, leaves, &column->n_leaves));
    }
    column->leaves = leaves;
    uint64_t hash_key = json_is_string(key) ? strtoull(json_string_value(key), NULL, 10)
                                            : (uint64_t)json_integer_value(key);
    column->hash_key = hash_key == 0 ? TD_HASH_KEY_DEFAULT : hash_key;
    return cross_name(to, column);
}

static td_status build_indicator(td_column_builder *to, const json_t *spec, const td_json_place *at,
                                 td_column *column) {
    TD_TRY(build_source(to, spec, "categorical", at, column));
    if (!td_column_is_categorical(column->source)) {
        return td_tf_fail(TD_TF_VALUE,
                          "%s.categorical: Unsupported input type. Input must be a "
                          "categorical column.",
                          at->text);
    }
    column->buckets = column->source->buckets;
    return td_column_name(to, column, "_indicator", (td_span){NULL, 0});
}

/* What embedding and shared embedding columns have in common. */
static td_status embedding_options(td_column_builder *to, const json_t *spec,
                                   const td_json_place *at, td_column *column) {
    static const char *const combiners[] = {
        [TD_COMBINER_MEAN] = "mean", [TD_COMBINER_SUM] = "sum", [TD_COMBINER_SQRTN] = "sqrtn"};
    const json_t *table = json_object_get(spec, "table"), *safe = json_object_get(spec, "safe");
    const json_t *combiner = json_object_get(spec, "combiner");
    TD_TRY(td_json_int(spec, "dimension", at, 0, &column->dimension));
    if (column->dimension < 1) {
        return td_tf_fail(TD_TF_VALUE, "Invalid dimension %lld.", (long long)column->dimension);
    }
    if (td_json_given(combiner)) {
        int i = 0;
        while (i < 3 && (!json_is_string(combiner) ||
                         strcmp(combiners[i], json_string_value(combiner)) != 0)) {
            i++;
        }
        if (i == 3) {
            return td_json_expected(at, "combiner", "mean, sum or sqrtn");
        }
        column->combiner = (td_combiner)i;
    }
    column->max_norm = json_number_value(json_object_get(spec, "max_norm"));
    column->safe = safe == NULL || !json_is_false(safe);
    if (td_json_given(table)) {
        const int64_t shape[2] = {(int64_t)json_array_size(table), column->dimension};
        int64_t filled = 0;
        bool real = false;
        TD_TRY(td_tensor_take(to->pool, TD_ELEMENT_FLOAT32, 2, shape, &column->table));
        if (!fill_nested(&column->table, 0, table, &filled, &real)) {
            return td_json_expected(at, "table",
                                    "a list of rows of as many numbers as the dimension");
        }
    }
    return TD_OK;
}

static td_status build_embedding(td_column_builder *to, const json_t *spec, const td_json_place *at,
                                 td_column *column) {
    TD_TRY(build_source(to, spec, "categorical", at, column));
    TD_TRY(embedding_options(to, spec, at, column));
    if (!td_column_is_categorical(column->source)) {
        return td_tf_fail(TD_TF_VALUE, "%s.categorical: expected a categorical column", at->text);
    }
    column->buckets = column->source->buckets;
    return td_column_name(to, column, "_embedding", (td_span){NULL, 0});
}

static const struct {
    const char *word;
    td_column_build_fn *build;
} column_types[TD_COLUMN_TYPES] = {
    [TD_COLUMN_NUMERIC] = {"numeric", build_numeric},
    [TD_COLUMN_BUCKETIZED] = {"bucketized", build_bucketized},
    [TD_COLUMN_IDENTITY] = {"identity", build_identity},
    [TD_COLUMN_VOCAB_LIST] = {"vocab_list", build_vocab_list},
    [TD_COLUMN_VOCAB_FILE] = {"vocab_file", build_vocab_file},
    [TD_COLUMN_HASH] = {"hash_bucket", build_hash},
    [TD_COLUMN_WEIGHTED] = {"weighted", build_weighted},
    [TD_COLUMN_CROSSED] = {"crossed", build_crossed},
    [TD_COLUMN_INDICATOR] = {"indicator", build_indicator},
    [TD_COLUMN_EMBEDDING] = {"embedding", build_embedding},
    [TD_COLUMN_SHARED_EMBEDDING] = {"shared_embeddings", NULL},
    [TD_COLUMN_HASHING] = {"hashing", td_build_hashing},
    [TD_COLUMN_HASHED_CROSSING] = {"hashed_crossing", td_build_hashed_crossing},
    [TD_COLUMN_STRING_LOOKUP] = {"string_lookup", td_build_string_lookup},
    [TD_COLUMN_INTEGER_LOOKUP] = {"integer_lookup", td_build_integer_lookup},
    [TD_COLUMN_DISCRETIZATION] = {"discretization", td_build_discretization},
    [TD_COLUMN_CATEGORY_ENCODING] = {"category_encoding", td_build_category_encoding},
    [TD_COLUMN_NORMALIZATION] = {"normalization", td_build_normalization},
};

static td_status new_column(const td_column_builder *to, td_column_type type, const json_t *spec,
                            td_column **out) {
    td_column *column = td_pool_take_zero(to->pool, sizeof *column);
    if (column == NULL) {
        return no_memory();
    }
    column->type = type;
    column->sequence = json_is_true(json_object_get(spec, "sequence"));
    *out = column;
    return TD_OK;
}

static td_status build_column(td_column_builder *to, const json_t *spec, const td_json_place *at,
                              td_column **out) {
    const char *word = json_string_value(json_object_get(spec, "type"));
    int type = 0;
    while (word != NULL && type < TD_COLUMN_TYPES && strcmp(column_types[type].word, word) != 0) {
        type++;
    }
    if (word == NULL || type == TD_COLUMN_TYPES || column_types[type].build == NULL) {
        return td_tf_fail(TD_TF_VALUE, "%s.type: expected a kind of column, found %s", at->text,
                          word == NULL ? "nothing" : word);
    }
    if (to->depth == COLUMN_DEPTH_MAX) {
        return td_tf_fail(TD_TF_VALUE, "%s: columns nest deeper than %d", at->text,
                          COLUMN_DEPTH_MAX);
    }
    TD_TRY(new_column(to, (td_column_type)type, spec, out));
    to->depth++;
    td_status status = column_types[type].build(to, spec, at, *out);
    to->depth--;
    return with_place(to, at, status);
}

/* What a shared table's columns have to agree in, looking through weights. */
static const td_column *bare(const td_column *column) {
    return column->type == TD_COLUMN_WEIGHTED ? column->source : column;
}

/* One column for each of those that share the table. */
static td_status build_shared(td_column_builder *to, const json_t *spec, const td_json_place *at,
                              td_column **out) {
    const json_t *list = json_object_get(spec, "categoricals");
    td_json_place inner = td_json_below(at, "categoricals");
    for (size_t i = 0; i < json_array_size(list); i++) {
        td_json_place one = td_json_item(&inner, i);
        td_column *column = NULL, *source = NULL;
        TD_TRY(new_column(to, TD_COLUMN_SHARED_EMBEDDING, spec, &column));
        TD_TRY(build_column(to, json_array_get(list, i), &one, &source));
        TD_TRY(embedding_options(to, spec, at, column));
        column->source = source;
        column->buckets = source->buckets;
        if (i > 0 && bare(source)->type != bare(out[0]->source)->type) {
            return td_tf_fail(TD_TF_VALUE,
                              "To use shared_embedding_column, all categorical_columns must have "
                              "the same type: %s",
                              one.text);
        }
        if (i > 0 && source->buckets != out[0]->buckets) {
            return td_tf_fail(TD_TF_VALUE,
                              "To use shared_embedding_column, all categorical_columns must have "
                              "the same number of buckets: %s has %lld, the first %lld",
                              one.text, (long long)source->buckets, (long long)out[0]->buckets);
        }
        TD_TRY(td_column_name(to, column, "_shared_embedding", (td_span){NULL, 0}));
        out[i] = column;
        column->shared_with = out[0];
    }
    return TD_OK;
}

static bool is_shared(const json_t *spec) {
    const char *word = json_string_value(json_object_get(spec, "type"));
    return word != NULL && strcmp(word, column_types[TD_COLUMN_SHARED_EMBEDDING].word) == 0;
}

static td_status build_list(td_column_builder to, const json_t *list, td_column_list *out) {
    td_json_place root = {""};
    snprintf(root.text, sizeof root.text, "%s", to.root);
    size_t most = 0;
    if (!json_is_array(list)) {
        return td_tf_fail(TD_TF_VALUE, "%s: expected a list of columns", to.root);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *spec = json_array_get(list, i);
        most += is_shared(spec) ? json_array_size(json_object_get(spec, "categoricals")) : 1;
    }
    td_column_list built = {td_pool_take(to.pool, (most + 1) * sizeof *built.columns), 0};
    if (built.columns == NULL) {
        return no_memory();
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *spec = json_array_get(list, i);
        td_json_place at = td_json_item(&root, i);
        if (is_shared(spec)) {
            TD_TRY(with_place(&to, &at, build_shared(&to, spec, &at, built.columns + built.count)));
            built.count += (int)json_array_size(json_object_get(spec, "categoricals"));
        } else {
            TD_TRY(build_column(&to, spec, &at, &built.columns[built.count]));
            built.count++;
        }
    }
    *out = built;
    return TD_OK;
}

td_status td_columns_build(const json_t *list, bool hex_files, td_pool *pool, td_column_list *out) {
    return build_list((td_column_builder){pool, hex_files, "columns", 0}, list, out);
}

td_status td_columns_build_at(const json_t *list, const char *name, td_pool *pool,
                              td_column_list *out) {
    return build_list((td_column_builder){pool, false, name, 0}, list, out);
}
