/* SPDX-License-Identifier: Apache-2.0 */
#include "data/column_slice.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "data/column_keras.h"
#include "data/hash.h"

/* Ids of some rows: those of row k are ids[starts[k] - starts[0] ..), weights beside them. */
typedef struct id_run {
    const int64_t *ids;
    const int64_t *starts; /* rows + 1 */
    const float *weights;  /* or NULL */
} id_run;

static td_status no_memory(void) {
    return td_tf_no_memory("feature columns");
}

static int64_t rows_of(const td_slice_rows *rows) {
    return rows->last - rows->first;
}

static const td_array *input_of(const td_column_node *node, const td_slice_rows *rows) {
    return &rows->values[node->input];
}

static const int64_t *starts_of(const td_array *value, const td_slice_rows *rows) {
    return value->ragged.splits[0].data + rows->first;
}

/* Values of the rows: from, and how many. */
static int64_t values_of(const td_array *value, const td_slice_rows *rows, int64_t *from) {
    const int64_t *starts = starts_of(value, rows);
    *from = starts[0];
    return starts[rows_of(rows)] - starts[0];
}

/* Fingerprints of a feature's strings in these rows, made once for all columns that read it. */
static td_status fingerprints_of(int input, const td_slice_rows *rows, const uint64_t **out) {
    if (rows->hashes[input] == NULL) {
        const td_span *texts = td_tensor_spans(&rows->values[input].ragged.values);
        int64_t from, n = values_of(&rows->values[input], rows, &from);
        uint64_t *hashes = td_pool_take(rows->kept, (size_t)n * sizeof *hashes);
        if (hashes == NULL) {
            return no_memory();
        }
        for (int64_t i = 0; i < n; i++) {
            hashes[i] = td_fingerprint64(texts[from + i].data, texts[from + i].size);
        }
        rows->hashes[input] = hashes;
    }
    *out = rows->hashes[input];
    return TD_OK;
}

/* Buckets of the fingerprints of n values from `from` on; strings have theirs in hashes. */
static void hash_values(const td_tensor *values, int64_t from, int64_t n, const uint64_t *hashes,
                        uint64_t buckets, int64_t *ids) {
    td_divisor divisor = td_divisor_of(buckets);
    if (values->dtype != TD_ELEMENT_BYTES) {
        td_fingerprints_int((const int64_t *)values->data + from, n, (uint64_t *)ids);
        hashes = (const uint64_t *)ids;
    }
    for (int64_t i = 0; i < n; i++) {
        ids[i] = (int64_t)td_remainder(hashes[i], divisor);
    }
}

/* What is not in the vocabulary: a bucket by its fingerprint, or the default. */
static int64_t otherwise(const td_column *column, uint64_t fingerprint) {
    int64_t size = td_vocabulary_size(column->vocabulary);
    uint64_t oov = (uint64_t)(column->buckets - size);
    return oov > 0 ? size + (int64_t)(fingerprint % oov) : column->id_default;
}

/* hash: of a string, its fingerprint. */
static int64_t vocabulary_id(const td_column *column, const td_tensor *values, int64_t i,
                             uint64_t hash) {
    if (values->dtype == TD_ELEMENT_BYTES) {
        int64_t id = td_vocabulary_find_by(column->vocabulary, hash, td_tensor_spans(values)[i]);
        return id >= 0 ? id : otherwise(column, hash);
    }
    int64_t number = ((const int64_t *)values->data)[i];
    int64_t id = td_vocabulary_find_int(column->vocabulary, number);
    return id >= 0 ? id : otherwise(column, td_fingerprint64_int(number));
}

/* Of identity, vocabulary and hash columns, whose ids are one a value. */
static td_status value_ids(const td_column_node *node, const td_slice_rows *rows, id_run *out) {
    const td_column *column = node->column;
    const td_tensor *values = &input_of(node, rows)->ragged.values;
    int64_t from, n = values_of(input_of(node, rows), rows, &from);
    int64_t *ids = td_pool_take(rows->memory, (size_t)n * sizeof *ids);
    if (ids == NULL) {
        return no_memory();
    }
    *out = (id_run){ids, starts_of(input_of(node, rows), rows), NULL};
    const uint64_t *hashes = NULL;
    if (values->dtype == TD_ELEMENT_BYTES) {
        TD_TRY(fingerprints_of(node->input, rows, &hashes));
    }
    if (column->type == TD_COLUMN_IDENTITY) {
        const int64_t *given = values->data;
        for (int64_t i = 0; i < n; i++) {
            bool outside = given[from + i] < 0 || given[from + i] >= column->buckets;
            ids[i] = outside && column->has_default ? column->id_default : given[from + i];
        }
    } else if (column->type == TD_COLUMN_HASH) {
        hash_values(values, from, n, hashes, (uint64_t)column->buckets, ids);
    } else {
        for (int64_t i = 0; i < n; i++) {
            ids[i] = vocabulary_id(column, values, from + i, hashes != NULL ? hashes[i] : 0);
        }
    }
    return TD_OK;
}

/* A view of rows of a dense tensor. */
static td_tensor view_of(const td_tensor *tensor, const td_slice_rows *rows) {
    td_tensor view = *tensor;
    int64_t per_row = tensor->shape[0] == 0 ? 0 : tensor->count / tensor->shape[0];
    view.shape[0] = rows_of(rows);
    view.count = rows_of(rows) * per_row;
    view.data =
        (char *)tensor->data + (size_t)(rows->first * per_row) * td_element_bytes(tensor->dtype);
    return view;
}

/* As many ids a row as the number has components, component j shifted by j sets of buckets. */
static td_status bucket_ids(const td_column_node *node, const td_slice_rows *rows, id_run *out) {
    const td_column *column = node->column;
    td_array view = {.kind = TD_ARRAY_TENSOR,
                     .tensor = view_of(&input_of(node, rows)->tensor, rows)};
    td_feature_map map = {&column->source->key, &view, 1};
    td_tensor buckets;
    TD_TRY(td_column_buckets(column, &map, rows->memory, &buckets));
    int64_t n = rows_of(rows), width = column->shape[0];
    int64_t *ids = td_pool_take(rows->memory, (size_t)buckets.count * sizeof *ids);
    int64_t *starts = td_pool_take(rows->memory, (size_t)(n + 1) * sizeof *starts);
    if (ids == NULL || starts == NULL) {
        return no_memory();
    }
    for (int64_t i = 0; i < buckets.count; i++) {
        ids[i] = ((const int32_t *)buckets.data)[i] + (column->n_boundaries + 1) * (i % width);
    }
    for (int64_t k = 0; k <= n; k++) {
        starts[k] = k * width;
    }
    *out = (id_run){ids, starts, NULL};
    return TD_OK;
}

static td_status run_of(const td_column_node *node, const td_slice_rows *rows, id_run *out);

/* What the cross makes of a leaf's values: ids as they are, strings by their fingerprint. */
static td_status leaf_run(const td_column_node *leaf, const td_slice_rows *rows, id_run *out) {
    if (leaf->column != NULL) {
        return run_of(leaf, rows, out);
    }
    const uint64_t *hashes;
    TD_TRY(fingerprints_of(leaf->input, rows, &hashes));
    *out = (id_run){(const int64_t *)hashes, starts_of(input_of(leaf, rows), rows), NULL};
    return TD_OK;
}

static int64_t size_of(const id_run *run, int64_t k) {
    return run->starts[k + 1] - run->starts[k];
}

/* Where each row's crosses start. */
static td_status count_crosses(const id_run *leaves, int count, const td_slice_rows *rows,
                               int64_t *starts) {
    starts[0] = 0;
    for (int64_t k = 0; k < rows_of(rows); k++) {
        int64_t size = 1;
        for (int i = 0; i < count; i++) {
            if (__builtin_mul_overflow(size, size_of(&leaves[i], k), &size) || size > INT32_MAX) {
                return td_tf_no_memory("so many crosses");
            }
        }
        starts[k + 1] = starts[k] + size;
        if (starts[k + 1] > INT32_MAX) {
            return td_tf_no_memory("so many crosses");
        }
    }
    return TD_OK;
}

/* All combinations of row k from leaf i on, the last leaf fastest; hash: of the leaves before. */
static int64_t *cross_from(const id_run *leaves, int count, int i, int64_t k, uint64_t hash,
                           td_divisor buckets, int64_t *to) {
    const id_run *leaf = &leaves[i];
    const int64_t *ids = leaf->ids + (leaf->starts[k] - leaf->starts[0]);
    for (int64_t j = 0; j < size_of(leaf, k); j++) {
        uint64_t joined = td_fingerprint_cat64(hash, (uint64_t)ids[j]);
        if (i + 1 < count) {
            to = cross_from(leaves, count, i + 1, k, joined, buckets, to);
        } else {
            *to++ = (int64_t)td_remainder(joined, buckets);
        }
    }
    return to;
}

static td_status cross_ids(const td_column_node *node, const td_slice_rows *rows, id_run *out) {
    const td_column *column = node->column;
    int64_t n = rows_of(rows);
    id_run *leaves = td_pool_take(rows->memory, (size_t)column->n_leaves * sizeof *leaves);
    int64_t *starts = td_pool_take(rows->memory, (size_t)(n + 1) * sizeof *starts);
    if (leaves == NULL || starts == NULL) {
        return no_memory();
    }
    for (int i = 0; i < column->n_leaves; i++) {
        TD_TRY(leaf_run(&node->leaves[i], rows, &leaves[i]));
    }
    TD_TRY(count_crosses(leaves, column->n_leaves, rows, starts));
    int64_t *ids = td_pool_take(rows->memory, (size_t)starts[n] * sizeof *ids);
    if (ids == NULL) {
        return no_memory();
    }
    td_divisor buckets = td_divisor_of((uint64_t)column->buckets);
    for (int64_t k = 0; k < n; k++) {
        if (starts[k + 1] > starts[k]) {
            cross_from(leaves, column->n_leaves, 0, k, column->hash_key, buckets, ids + starts[k]);
        }
    }
    *out = (id_run){ids, starts, NULL};
    return TD_OK;
}

/* Weights beside the ids of every record. */
static td_status weighted_ids(const td_column_node *node, const td_slice_rows *rows, id_run *out) {
    id_run run;
    TD_TRY(run_of(node->source, rows, &run));
    const td_array *given = &rows->values[node->weights];
    const int64_t *starts = starts_of(given, rows);
    for (int64_t k = 0; k < rows_of(rows); k++) {
        if (size_of(&run, k) != starts[k + 1] - starts[k]) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                              "record %lld: column %s has %lld ids and %lld weights",
                              (long long)(rows->first + k), (const char *)node->column->name.data,
                              (long long)size_of(&run, k), (long long)(starts[k + 1] - starts[k]));
        }
    }
    const td_tensor *values = &given->ragged.values;
    int64_t from, n = values_of(given, rows, &from);
    float *weights = td_pool_take(rows->memory, (size_t)n * sizeof *weights);
    if (weights == NULL) {
        return no_memory();
    }
    for (int64_t i = 0; i < n; i++) {
        weights[i] = (float)td_tensor_real(values, from + i);
    }
    run.weights = weights;
    *out = run;
    return TD_OK;
}

/* What a layer reads of these rows: the values of their lists, or tensors. */
static td_status layer_inputs(const td_column_node *node, const td_slice_rows *rows,
                              td_tensor **out) {
    int n = node->column->n_leaves;
    td_tensor *inputs = td_pool_take(rows->memory, (size_t)(n + 1) * sizeof *inputs);
    if (inputs == NULL) {
        return no_memory();
    }
    if (node->column->layer->lists) {
        const td_array *value = input_of(node, rows);
        int64_t from;
        inputs[0] = value->ragged.values;
        inputs[0].count = inputs[0].shape[0] = values_of(value, rows, &from);
        inputs[0].data = (char *)inputs[0].data + (size_t)from * td_element_bytes(inputs[0].dtype);
    } else if (n == 0) {
        inputs[0] = view_of(&input_of(node, rows)->tensor, rows);
    }
    for (int i = 0; i < n; i++) {
        inputs[i] = view_of(&input_of(&node->leaves[i], rows)->tensor, rows);
    }
    *out = inputs;
    return TD_OK;
}

static td_status layer_ids(const td_column_node *node, const td_slice_rows *rows, id_run *out) {
    td_tensor *inputs, ids;
    int64_t n = rows_of(rows);
    TD_TRY(layer_inputs(node, rows, &inputs));
    TD_TRY(td_keras_ids(node->column, inputs, rows->memory, &ids));
    if (node->column->layer->lists) {
        *out = (id_run){ids.data, starts_of(input_of(node, rows), rows), NULL};
        return TD_OK;
    }
    int64_t *starts = td_pool_take(rows->memory, (size_t)(n + 1) * sizeof *starts);
    if (starts == NULL) {
        return no_memory();
    }
    for (int64_t k = 0; k <= n; k++) {
        starts[k] = k * (ids.count / n);
    }
    *out = (id_run){ids.data, starts, NULL};
    return TD_OK;
}

static td_status run_of(const td_column_node *node, const td_slice_rows *rows, id_run *out) {
    if (node->column->layer != NULL) {
        return layer_ids(node, rows, out);
    }
    switch (node->column->type) {
    case TD_COLUMN_WEIGHTED:
        return weighted_ids(node, rows, out);
    case TD_COLUMN_BUCKETIZED:
        return bucket_ids(node, rows, out);
    case TD_COLUMN_CROSSED:
        return cross_ids(node, rows, out);
    default:
        return value_ids(node, rows, out);
    }
}

enum { FEW_BOUNDARIES = 32, CHUNK = 256 };

/* n numbers of a parsed tensor as floats, from number `from` on. */
static void to_floats(const td_tensor *tensor, int64_t from, int64_t n, float *out) {
    if (tensor->dtype == TD_ELEMENT_FLOAT32) {
        memcpy(out, (const float *)tensor->data + from, (size_t)n * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        out[i] = (float)((const int64_t *)tensor->data)[from + i];
    }
}

/* Integers in the order of the floats, for comparisons that compilers make several at a time. What
 * is below the smallest normal float is zero, as in td_bucketize; NaN is above all. */
static int32_t order_of(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t size = bits & INT32_MAX;
    size = size < 0x00800000 ? 0 : size;
    int32_t order = bits < 0 ? -size : size;
    return size > 0x7f800000 ? INT32_MAX : order;
}

/* For each number how many boundaries it is not below; it is below no NaN. */
static void count_boundaries(const td_column *column, const float *restrict x, int64_t n,
                             int32_t *restrict bucket) {
    int32_t order[CHUNK];
    for (int64_t i = 0; i < n; i++) {
        order[i] = order_of(x[i]);
        bucket[i] = 0;
    }
    for (int64_t b = 0; b < column->n_boundaries; b++) {
        int32_t boundary =
            isnan(column->boundaries[b]) ? INT32_MIN : order_of(column->boundaries[b]);
        for (int64_t i = 0; i < n; i++) {
            bucket[i] += order[i] >= boundary;
        }
    }
}

/* Four zeros at a time: rows are too short for a call. */
static void one_hot(float *to, int64_t depth, int32_t bucket) {
    typedef float four __attribute__((vector_size(16)));
    int64_t d = 0;
    for (; d + 4 <= depth; d += 4) {
        memcpy(to + d, &(four){0}, sizeof(four));
    }
    for (; d < depth; d++) {
        to[d] = 0;
    }
    to[bucket] = 1;
}

/* Numbers that stand alone in their rows. */
static void single_numbers(const td_tensor *tensor, const td_slice_rows *rows, float *to) {
    const float *floats = tensor->data;
    const int64_t *ints = tensor->data;
    bool real = tensor->dtype == TD_ELEMENT_FLOAT32;
    for (int64_t row = rows->first; row < rows->last; row++, to += rows->ld) {
        *to = real ? floats[row] : (float)ints[row];
    }
}

/* Buckets of few boundaries as one-hot rows, straight to their place. */
static void bucket_rows(const td_column_node *node, const td_slice_rows *rows, int64_t at) {
    const td_column *column = node->column;
    int64_t width = column->shape[0], depth = column->n_boundaries + 1, step = CHUNK / width;
    float x[CHUNK];
    int32_t bucket[CHUNK];
    for (int64_t row = rows->first; row < rows->last; row += step) {
        int64_t n = (rows->last - row < step ? rows->last - row : step) * width;
        to_floats(&input_of(node, rows)->tensor, row * width, n, x);
        count_boundaries(column, x, n, bucket);
        for (int64_t i = 0; i < n; i++) {
            int64_t k = width == 1 ? i : i / width;
            one_hot(rows->dense + (row + k) * rows->ld + at + (i - k * width) * depth, depth,
                    bucket[i]);
        }
    }
}

/* True when the column's numbers were put in their place; else it needs the general way. */
static bool number_rows_fast(const td_column_node *node, const td_slice_rows *rows, int64_t at) {
    const td_column *column = node->column;
    bool buckets = column->type == TD_COLUMN_BUCKETIZED;
    const td_column *reads = buckets ? column->source : column;
    const td_tensor *tensor = &input_of(node, rows)->tensor;
    int64_t width = td_shape_count(reads->rank, reads->shape);
    if (reads->normalizer != TD_NORMALIZER_NONE || tensor->count != tensor->shape[0] * width ||
        width > CHUNK ||
        (tensor->dtype != TD_ELEMENT_FLOAT32 && tensor->dtype != TD_ELEMENT_INT64)) {
        return false;
    }
    if (buckets) {
        if (column->n_boundaries <= FEW_BOUNDARIES) {
            bucket_rows(node, rows, at);
        }
        return column->n_boundaries <= FEW_BOUNDARIES;
    }
    float *to = rows->dense + rows->first * rows->ld + at;
    if (width == 1) {
        single_numbers(tensor, rows, to);
        return true;
    }
    for (int64_t row = rows->first; row < rows->last; row++, to += rows->ld) {
        to_floats(tensor, row * width, width, to);
    }
    return true;
}

/* Numbers of the rows to their places. */
static void put_rows(const td_tensor *numbers, const td_slice_rows *rows, int64_t at) {
    int64_t n = rows_of(rows), width = n == 0 ? 0 : numbers->count / n;
    float *to = rows->dense + rows->first * rows->ld + at;
    const float *from = numbers->data;
    if (width == 1) {
        for (int64_t k = 0; k < n; k++) {
            to[k * rows->ld] = from[k];
        }
        return;
    }
    for (int64_t k = 0; k < n; k++) {
        memcpy(to + k * rows->ld, from + k * width, (size_t)width * sizeof *to);
    }
}

/* Numbers and buckets: what the column makes of its input, row by row to its place. */
static td_status number_rows(const td_column_node *node, const td_slice_rows *rows, int64_t at) {
    if (number_rows_fast(node, rows, at)) {
        return TD_OK;
    }
    const td_column *column = node->column;
    td_array view = {.kind = TD_ARRAY_TENSOR,
                     .tensor = view_of(&input_of(node, rows)->tensor, rows)};
    const td_column *reads = column->type == TD_COLUMN_BUCKETIZED ? column->source : column;
    td_feature_map map = {&reads->key, &view, 1};
    td_tensor numbers;
    TD_TRY(td_column_dense(column, &map, false, rows->memory, &numbers, NULL));
    put_rows(&numbers, rows, at);
    return TD_OK;
}

/* One-hot rows of few boundaries, which bucketized columns have too. */
static bool has_bucket_rows(const td_column *column) {
    return column->type == TD_COLUMN_DISCRETIZATION &&
           column->layer->encoding == TD_ENCODE_ONE_HOT && column->rank == 1 &&
           column->shape[0] <= CHUNK && column->n_boundaries <= FEW_BOUNDARIES;
}

/* Encodings of lists, a record after the other, or whatever the layer makes of tensors. */
static td_status layer_rows(const td_column_node *node, const td_slice_rows *rows, int64_t at) {
    if (has_bucket_rows(node->column)) {
        bucket_rows(node, rows, at);
        return TD_OK;
    }
    if (!node->column->layer->lists) {
        td_tensor *inputs, numbers;
        TD_TRY(layer_inputs(node, rows, &inputs));
        TD_TRY(td_keras_dense(node->column, inputs, rows->memory, &numbers));
        put_rows(&numbers, rows, at);
        return TD_OK;
    }
    id_run run;
    TD_TRY(layer_ids(node, rows, &run));
    for (int64_t k = 0; k < rows_of(rows); k++) {
        td_keras_row(node->column, run.ids + (run.starts[k] - run.starts[0]), size_of(&run, k),
                     rows->dense + (rows->first + k) * rows->ld + at);
    }
    return TD_OK;
}

static td_status indicator_rows(const td_column_node *node, const td_slice_rows *rows, int64_t at) {
    id_run run;
    TD_TRY(run_of(node->source, rows, &run));
    int64_t buckets = node->column->buckets;
    for (int64_t k = 0; k < rows_of(rows); k++) {
        float *to = rows->dense + (rows->first + k) * rows->ld + at;
        memset(to, 0, (size_t)buckets * sizeof *to);
        for (int64_t i = run.starts[k] - run.starts[0]; i < run.starts[k + 1] - run.starts[0];
             i++) {
            if (run.ids[i] >= 0 && run.ids[i] < buckets) {
                to[run.ids[i]] += run.weights != NULL ? run.weights[i] : 1;
            }
        }
    }
    return TD_OK;
}

static td_status embedding_rows(const td_column_node *node, const td_slice_rows *rows, int64_t at) {
    const td_column *column = node->column;
    td_lookup lookup = {&column->table, column->combiner, column->max_norm, column->safe, -1};
    id_run run;
    TD_TRY(run_of(node->source, rows, &run));
    for (int64_t k = 0; k < rows_of(rows); k++) {
        int64_t i = run.starts[k] - run.starts[0];
        TD_TRY(td_embedding_row(&lookup, run.ids + i, run.weights != NULL ? run.weights + i : NULL,
                                size_of(&run, k), rows->dense + (rows->first + k) * rows->ld + at));
    }
    return TD_OK;
}

td_status td_slice_dense(const td_column_node *node, const td_slice_rows *rows, int64_t at) {
    if (node->column->layer != NULL) {
        return layer_rows(node, rows, at);
    }
    switch (node->column->type) {
    case TD_COLUMN_INDICATOR:
        return indicator_rows(node, rows, at);
    case TD_COLUMN_EMBEDDING:
    case TD_COLUMN_SHARED_EMBEDDING:
        return embedding_rows(node, rows, at);
    default:
        return number_rows(node, rows, at);
    }
}

/* Room for `more` ids behind those that are there. */
static td_status reserve(td_slice_bag *bag, int64_t more) {
    if (bag->count + more <= bag->capacity) {
        return TD_OK;
    }
    int64_t capacity = 2 * (bag->count + more);
    int32_t *ids = td_realloc(bag->ids, (size_t)capacity * sizeof *ids);
    bag->ids = ids != NULL ? ids : bag->ids;
    float *coefficients = td_realloc(bag->coefficients, (size_t)capacity * sizeof *coefficients);
    bag->coefficients = coefficients != NULL ? coefficients : bag->coefficients;
    if (ids == NULL || coefficients == NULL) {
        return no_memory();
    }
    bag->capacity = capacity;
    return TD_OK;
}

static float divisor_of(td_combiner combiner, const float *weights, int64_t count) {
    float sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += weights[i];
        squares += weights[i] * weights[i];
    }
    return combiner == TD_COMBINER_MEAN ? sum : combiner == TD_COMBINER_SQRTN ? sqrtf(squares) : 1;
}

/* The ids of one record and column, joined to the bag. */
static td_status join(const td_column *column, td_combiner combiner, const int64_t *ids,
                      const float *weights, int64_t n, int64_t shift, int64_t record,
                      td_slice_bag *out) {
    int64_t first = out->count;
    TD_TRY(reserve(out, n));
    for (int64_t i = 0; i < n; i++) {
        float weight = weights != NULL ? weights[i] : 1;
        if (ids[i] < 0 || (weights != NULL && combiner != TD_COMBINER_SUM && !(weight > 0))) {
            continue;
        }
        if (ids[i] >= column->buckets) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                              "record %lld: column %s has id %lld, which is not in [0, %lld)",
                              (long long)record, (const char *)column->name.data, (long long)ids[i],
                              (long long)column->buckets);
        }
        out->ids[out->count] = (int32_t)(ids[i] + shift);
        out->coefficients[out->count++] = weight;
    }
    if (combiner != TD_COMBINER_SUM) {
        float divisor = divisor_of(combiner, out->coefficients + first, out->count - first);
        for (int64_t i = first; i < out->count; i++) {
            out->coefficients[i] /= divisor;
        }
    }
    return TD_OK;
}

td_status td_slice_bag_ids(const td_column_node *const *nodes, int count, td_combiner combiner,
                           const td_slice_rows *rows, int32_t *offsets, td_slice_bag *out) {
    id_run *runs = td_pool_take(rows->memory, (size_t)count * sizeof *runs);
    if (runs == NULL) {
        return no_memory();
    }
    for (int c = 0; c < count; c++) {
        TD_TRY(run_of(nodes[c], rows, &runs[c]));
    }
    out->count = 0;
    for (int64_t k = 0; k < rows_of(rows); k++) {
        int64_t shift = 0;
        for (int c = 0; c < count; c++) {
            int64_t i = runs[c].starts[k] - runs[c].starts[0];
            TD_TRY(join(nodes[c]->column, combiner, runs[c].ids + i,
                        runs[c].weights != NULL ? runs[c].weights + i : NULL, size_of(&runs[c], k),
                        shift, rows->first + k, out));
            shift += nodes[c]->column->buckets;
        }
        offsets[rows->first + k + 1] = (int32_t)out->count;
    }
    return TD_OK;
}
