/* SPDX-License-Identifier: Apache-2.0 */
#include "data/table_spec.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/table_columns.h"
#include "data/table_synth.h"
#include "data/tf_error.h"

static const char *const activations[] = {"gelu", "gelu_tanh", "gelu_quick", "relu"};
enum { N_ACTIVATIONS = sizeof activations / sizeof activations[0], LAYER_MAX = 1 << 16 };

static td_status no_memory(void) {
    return td_fail(TD_ENOMEM, "no memory for the description of a table");
}

static td_status wrong(const char *name, const char *member, const char *expected) {
    return td_fail(TD_EINPUT, "%s: %s: expected %s", name, member, expected);
}

/* A list of columns; its messages start with file and member. */
static td_status build_list(td_table_spec *spec, const json_t *file, const char *member,
                            const char *name, td_column_list *out) {
    const json_t *list = json_object_get(file, member);
    if (!json_is_array(list)) {
        return wrong(name, member, "a list of columns");
    }
    td_status status = td_columns_build_at(list, member, &spec->pool, out);
    if (status == TD_EINPUT) {
        char message[900];
        snprintf(message, sizeof message, "%s", td_error());
        return td_fail(TD_EINPUT, "%s: %s", name, message);
    }
    return status;
}

static td_status build_label(td_table_spec *spec, const json_t *file, const char *name) {
    json_t *label = json_object_get(file, "label"), *list = json_array();
    if (!json_is_object(label)) {
        json_decref(list);
        return wrong(name, "label", "a categorical column: identity or vocab_list");
    }
    json_array_append(list, label);
    td_status status = td_columns_build_at(list, "label", &spec->pool, &spec->label);
    json_decref(list);
    if (status != TD_OK) {
        char message[900];
        snprintf(message, sizeof message, "%s", td_error());
        return td_fail(status, "%s: %s", name, message);
    }
    const td_column *column = spec->label.columns[0];
    if (!td_column_is_categorical(column) || column->type == TD_COLUMN_WEIGHTED ||
        column->layer != NULL) { /* a layer's ids do not start with its vocabulary's */
        return wrong(name, "label", "a categorical column: identity or vocab_list");
    }
    spec->shape.classes = column->buckets;
    if (column->buckets < 2) {
        return wrong(name, "label", "at least two classes");
    }
    const json_t *words = json_object_get(label, "vocabulary");
    spec->classes = td_pool_take_zero(&spec->pool, (size_t)column->buckets * sizeof(char *));
    if (spec->classes == NULL) {
        return no_memory();
    }
    for (size_t i = 0; i < json_array_size(words) && (int64_t)i < column->buckets; i++) {
        const char *word = json_string_value(json_array_get(words, i));
        spec->classes[i] = word == NULL ? NULL : td_pool_copy(&spec->pool, word, strlen(word) + 1);
    }
    return TD_OK;
}

static td_status build_wide(td_table_spec *spec, const json_t *file, const char *name) {
    if (json_object_get(file, "wide") == NULL) {
        return TD_OK;
    }
    TD_TRY(build_list(spec, file, "wide", name, &spec->wide));
    for (int i = 0; i < spec->wide.count; i++) {
        const td_column *column = spec->wide.columns[i];
        if (!td_column_is_categorical(column)) {
            return td_fail(TD_EINPUT,
                           "%s: wide: column %s has no ids: expected categorical columns", name,
                           (const char *)column->name.data);
        }
        spec->shape.wide_buckets += column->buckets;
    }
    spec->shape.n_wide = spec->wide.count;
    return TD_OK;
}

static bool is_embedding(const td_column *column) {
    return column->type == TD_COLUMN_EMBEDDING || column->type == TD_COLUMN_SHARED_EMBEDDING;
}

/* The number of a column's table: that of an earlier column of its "shared_embeddings", or a new
 * one. */
static int table_of(const td_table_embedding *embeddings, const td_column *const *columns, int n,
                    int *n_tables) {
    for (int i = 0; i < n && columns[n]->shared_with != NULL; i++) {
        if (columns[i]->shared_with == columns[n]->shared_with) {
            return embeddings[i].table;
        }
    }
    return (*n_tables)++;
}

static td_status place_embeddings(td_table_spec *spec, const char *name) {
    size_t most = (size_t)spec->deep.count + 1;
    td_table_embedding *embeddings = td_pool_take_zero(&spec->pool, most * sizeof *embeddings);
    const td_column **columns = td_pool_take(&spec->pool, most * sizeof *columns);
    if (embeddings == NULL || columns == NULL) {
        return no_memory();
    }
    int n = 0;
    for (int i = 0; i < spec->deep.count; i++) {
        const td_column *column = spec->deep.columns[i];
        int64_t shape[TD_RANK_MAX];
        if (!td_column_is_dense(column)) {
            return td_fail(TD_EINPUT,
                           "%s: deep: column %s is not dense: expected it in an indicator or an "
                           "embedding",
                           name, (const char *)column->name.data);
        }
        if (is_embedding(column)) {
            columns[n] = column;
            embeddings[n] = (td_table_embedding){
                .name = (const char *)column->name.data,
                .at = spec->shape.width,
                .dimension = column->dimension,
                .buckets = column->buckets,
                .max_norm = column->max_norm,
                .table = table_of(embeddings, columns, n, &spec->shape.n_tables)};
            n++;
        }
        spec->shape.width += td_shape_count(td_column_variable_shape(column, shape), shape);
    }
    spec->shape.embeddings = embeddings;
    spec->shape.n_embeddings = n;
    spec->shape.n_deep = spec->deep.count;
    return TD_OK;
}

static td_status build_layers(td_table_spec *spec, const json_t *file, const char *name) {
    const json_t *hidden = json_object_get(file, "hidden");
    const json_t *activation = json_object_get(file, "activation");
    int known = 0;
    if (!json_is_array(hidden) || json_array_size(hidden) < 1 ||
        json_array_size(hidden) > TD_HIDDEN_MAX) {
        return wrong(name, "hidden", "a list of one to eight sizes of layers");
    }
    for (size_t i = 0; i < json_array_size(hidden); i++) {
        int64_t size = (int64_t)json_integer_value(json_array_get(hidden, i));
        if (size < 1 || size > LAYER_MAX) {
            return td_fail(TD_EINPUT, "%s: hidden[%zu]: expected a whole number from 1 to %d", name,
                           i, LAYER_MAX);
        }
        spec->shape.hidden[spec->shape.n_hidden++] = size;
    }
    while (activation != NULL && known < N_ACTIVATIONS &&
           (!json_is_string(activation) ||
            strcmp(json_string_value(activation), activations[known]) != 0)) {
        known++;
    }
    if (known == N_ACTIVATIONS) {
        return wrong(name, "activation", "gelu, gelu_tanh, gelu_quick or relu");
    }
    spec->shape.activation = activations[known];
    return TD_OK;
}

static td_status check_members(const json_t *file, const char *name) {
    static const char *const known[] = {"label", "wide", "deep", "hidden", "activation"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)file, key, value) {
        size_t i = 0;
        while (i < sizeof known / sizeof known[0] && strcmp(known[i], key) != 0) {
            i++;
        }
        if (i == sizeof known / sizeof known[0]) {
            return td_fail(TD_EINPUT,
                           "%s: unknown member \"%s\"; expected label, wide, deep, hidden and "
                           "activation",
                           name, key);
        }
    }
    return TD_OK;
}

static td_status build(td_table_spec *spec, const json_t *file, const char *name) {
    if (!json_is_object(file)) {
        return wrong(name, "the file", "an object with label, wide, deep and hidden");
    }
    TD_TRY(check_members(file, name));
    TD_TRY(build_label(spec, file, name));
    TD_TRY(build_wide(spec, file, name));
    td_column_list deep;
    TD_TRY(build_list(spec, file, "deep", name, &deep));
    if (deep.count == 0) {
        return wrong(name, "deep", "at least one column");
    }
    TD_TRY(td_columns_sort(&deep, &spec->pool, &spec->deep));
    TD_TRY(place_embeddings(spec, name));
    TD_TRY(build_layers(spec, file, name));
    char *text = json_dumps(file, JSON_COMPACT | JSON_SORT_KEYS);
    spec->text = text == NULL ? NULL : td_pool_copy(&spec->pool, text, strlen(text) + 1);
    free(text);
    return spec->text == NULL ? no_memory() : TD_OK;
}

td_status td_table_spec_parse(const char *text, const char *name, td_table_spec **out) {
    json_error_t error;
    td_table_spec *spec = td_alloc_zero(sizeof *spec);
    if (spec == NULL) {
        return no_memory();
    }
    json_t *file = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    td_status status = file == NULL
                           ? td_fail(TD_EINPUT, "%s: line %d: %s", name, error.line, error.text)
                           : build(spec, file, name);
    json_decref(file);
    if (status != TD_OK) {
        td_table_spec_destroy(spec);
        return status;
    }
    *out = spec;
    return TD_OK;
}

td_status td_table_spec_load(const char *path, td_table_spec **out) {
    char *text;
    size_t size;
    if (path == NULL) {
        return td_table_spec_parse(td_table_synth_columns, "(embedded columns)", out);
    }
    TD_TRY(td_file_read(path, &text, &size));
    td_status status =
        strlen(text) == size
            ? td_table_spec_parse(text, path, out)
            : td_fail(TD_EINPUT, "%s: byte %zu is NUL; expected JSON", path, strlen(text));
    td_free(text);
    return status;
}

void td_table_spec_destroy(td_table_spec *spec) {
    if (spec != NULL) {
        td_pool_destroy(&spec->pool);
        td_free(spec);
    }
}

const td_table_shape *td_table_spec_shape(const td_table_spec *spec) {
    return &spec->shape;
}

const char *td_table_spec_text(const td_table_spec *spec) {
    return spec->text;
}

const char *td_table_spec_class(const td_table_spec *spec, int64_t class) {
    return spec->classes[class];
}
