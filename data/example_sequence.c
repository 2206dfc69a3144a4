/* SPDX-License-Identifier: Apache-2.0 */
#include "data/example_sequence.h"

#include <stdio.h>

#include "data/example_values.h"
#include "data/tf_error.h"

/* Where one feature is in every record, and what it holds in all of them. */
typedef struct found_feature {
    const td_parse_feature *spec;
    td_span *value;            /* of each record */
    bool *present;             /* of each record */
    int64_t total, most, rows; /* values in all, most values of a record, steps in all */
} found_feature;

typedef struct sequence_job {
    const td_sequence_spec *spec;
    const td_span *records, *names;
    int64_t n;
    bool batch;
    td_pool *pool;
    found_feature *context, *lists;
    char *scratch; /* room for the values of any one record: they are counted by reading them */
} sequence_job;

static int name_bytes(td_span name) {
    return (int)(name.size < 200 ? name.size : 200);
}

static td_span name_of(const sequence_job *job, int64_t record) {
    return job->names == NULL ? td_span_text("<unknown>") : job->names[record];
}

static td_status fail_list(const sequence_job *job, const found_feature *feature, int64_t record) {
    td_span name = name_of(job, record);
    return td_tf_fail(TD_TF_INVALID_ARGUMENT, "Error in sequence feature %.*s in example %.*s",
                      name_bytes(feature->spec->key), (const char *)feature->spec->key.data,
                      name_bytes(name), (const char *)name.data);
}

/* The values of one Feature inside the current bound. Unlike in an Example, what a packed chunk
 * leaves over is met again by the caller. -1 when the list is of another type or broken. */
static int64_t read_values(td_element_type dtype, td_wire *in, void *out, int64_t room) {
    static const uint8_t tags[TD_ELEMENT_COUNT] = {[TD_ELEMENT_BYTES] = TD_TAG_LEN(1),
                                                   [TD_ELEMENT_FLOAT32] = TD_TAG_LEN(2),
                                                   [TD_ELEMENT_INT64] = TD_TAG_LEN(3)};
    uint32_t length;
    if (!td_wire_expect(in, tags[dtype]) || !td_wire_varint32(in, &length)) {
        return -1;
    }
    if (length == 0) {
        return 0;
    }
    const uint8_t *outer = td_wire_limit(in, length);
    int64_t count = -1;
    uint8_t first = in->at < in->end ? *in->at : 0;
    if (dtype == TD_ELEMENT_BYTES) {
        count = td_bytes_all(in, out, room);
    } else if (first == TD_TAG_LEN(1)) {
        in->at++;
        if (!td_wire_varint32(in, &length)) {
            return -1;
        }
        const uint8_t *list_end = td_wire_limit(in, length);
        if (dtype == TD_ELEMENT_INT64) {
            count = td_ints_packed(in, out, room);
        } else if ((in->end - in->at) % 4 == 0) {
            count = (in->end - in->at) / 4;
            memcpy(out, in->at, (size_t)(count < room ? count : room) * 4);
            in->at = in->end;
        }
        in->end = list_end;
    } else if (dtype == TD_ELEMENT_INT64 && first == TD_TAG_VARINT(1)) {
        count = td_ints_unpacked(in, out, room);
    } else if (dtype == TD_ELEMENT_FLOAT32 && first == TD_TAG_I32(1)) {
        count = td_floats_unpacked(in, out, room);
    }
    in->end = outer;
    return count;
}

static found_feature *find_feature(found_feature *features, int count, td_span key) {
    for (int i = 0; i < count; i++) {
        if (td_span_equal(features[i].spec->key, key)) {
            return &features[i];
        }
    }
    return NULL;
}

/* A map of features: key, then value, and nothing else. */
static bool scan_map(td_wire *in, int64_t record, found_feature *features, int count) {
    uint32_t length;
    if (!td_wire_varint32(in, &length)) {
        return false;
    }
    const uint8_t *map_end = td_wire_limit(in, length);
    while (in->at < in->end) {
        td_span key, value;
        if (!td_wire_expect(in, TD_TAG_LEN(1)) || !td_wire_varint32(in, &length)) {
            return false;
        }
        const uint8_t *entry_end = td_wire_limit(in, length);
        if (!td_wire_expect(in, TD_TAG_LEN(1)) || !td_wire_string(in, &key) ||
            !td_wire_expect(in, TD_TAG_LEN(2)) || !td_wire_string(in, &value) ||
            in->at != in->end) {
            return false;
        }
        in->end = entry_end;
        found_feature *found = find_feature(features, count, key);
        if (found != NULL) {
            found->value[record] = value;
            found->present[record] = true;
        }
    }
    in->end = map_end;
    return true;
}

static td_status scan_record(const sequence_job *job, int64_t record) {
    td_wire in = td_wire_of(job->records[record]);
    bool ok = true;
    while (ok && in.at < in.end) {
        if (td_wire_expect(&in, TD_TAG_LEN(1))) {
            ok = scan_map(&in, record, job->context, job->spec->n_context);
        } else if (td_wire_expect(&in, TD_TAG_LEN(2))) {
            ok = scan_map(&in, record, job->lists, job->spec->n_lists);
        } else {
            ok = td_wire_skip_field(&in);
        }
    }
    td_span name = name_of(job, record);
    return ok ? TD_OK
              : td_tf_fail(TD_TF_INVALID_ARGUMENT,
                           "Invalid protocol message input, example id: %.*s", name_bytes(name),
                           (const char *)name.data);
}

static td_status count_context(const sequence_job *job, found_feature *feature) {
    const td_parse_feature *spec = feature->spec;
    if (spec->kind == TD_PARSE_FIXED && spec->fallback != NULL) {
        feature->most = td_shape_count(spec->rank, spec->shape);
    }
    for (int64_t i = 0; i < job->n; i++) {
        td_span value = feature->value[i];
        if (value.size == 0) {
            continue;
        }
        td_wire in = td_wire_of(value);
        int64_t count = read_values(spec->dtype, &in, job->scratch, INT64_MAX / 8);
        if (count < 0) {
            td_span name = name_of(job, i);
            return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                              "Name: %.*s, Context feature: %.*s.  Data types don't match. "
                              "Expected type: %s",
                              name_bytes(name), (const char *)name.data, name_bytes(spec->key),
                              (const char *)spec->key.data, td_element_tf(spec->dtype));
        }
        feature->total += count;
        feature->most = count > feature->most ? count : feature->most;
    }
    return TD_OK;
}

typedef void step_fn(void *arg, int64_t count, int64_t row);

/* Reads one record's list step by step into out; *values and *rows say what was there. A step of
 * two bytes is an empty list of the right type, of none an empty feature, of one an error. */
static td_status read_list(const sequence_job *job, const found_feature *feature, int64_t record,
                           char *out, int64_t *values, int64_t *rows, step_fn *step, void *arg) {
    const td_parse_feature *spec = feature->spec;
    td_wire in = td_wire_of(feature->value[record]);
    *values = *rows = 0;
    while (in.at < in.end) {
        uint32_t length;
        if (!td_wire_expect(&in, TD_TAG_LEN(1)) || !td_wire_varint32(&in, &length) || length == 1) {
            return fail_list(job, feature, record);
        }
        int64_t count = 0;
        if (length >= 2) {
            const uint8_t *outer = length > 2 ? td_wire_limit(&in, length) : in.end;
            const uint8_t *start = in.at;
            count =
                read_values(spec->dtype, &in, out + (size_t)*values * td_element_bytes(spec->dtype),
                            INT64_MAX / 8);
            if (count < 0 || (length == 2 && in.at - start != 2)) {
                td_span name = name_of(job, record);
                return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                                  "Name: %.*s, Feature list: %.*s, Index: %lld.  Data types don't "
                                  "match. Expected type: %s",
                                  name_bytes(name), (const char *)name.data, name_bytes(spec->key),
                                  (const char *)spec->key.data, (long long)*rows,
                                  td_element_tf(spec->dtype));
            }
            in.end = outer;
        }
        if (step != NULL) {
            step(arg, count, *rows);
        }
        *values += count;
        ++*rows;
    }
    return TD_OK;
}

static td_status count_list(const sequence_job *job, found_feature *feature) {
    for (int64_t i = 0; i < job->n; i++) {
        if (feature->value[i].size == 0) {
            continue;
        }
        int64_t values, rows;
        TD_TRY(read_list(job, feature, i, job->scratch, &values, &rows, NULL, NULL));
        feature->total += values;
        feature->rows += rows;
        feature->most = values > feature->most ? values : feature->most;
    }
    return TD_OK;
}

static td_status give_fixed(const sequence_job *job, const found_feature *feature, td_array *out) {
    const td_parse_feature *spec = feature->spec;
    int64_t elements = td_shape_count(spec->rank, spec->shape);
    if (elements != feature->most) {
        return td_tf_fail(
            TD_TF_INVALID_ARGUMENT,
            "Inconsistent max number of elements for feature %.*s: expected %lld, but "
            "found %lld",
            name_bytes(spec->key), (const char *)spec->key.data, (long long)elements,
            (long long)feature->most);
    }
    int64_t shape[TD_RANK_MAX] = {job->n};
    int rank = spec->rank + (job->batch ? 1 : 0);
    if (rank > TD_RANK_MAX) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT, "a shape of too many dimensions");
    }
    memcpy(shape + (job->batch ? 1 : 0), spec->shape, (size_t)spec->rank * sizeof *shape);
    out->kind = TD_ARRAY_TENSOR;
    TD_TRY(td_tensor_take(job->pool, spec->dtype, rank, shape, &out->tensor));
    size_t row_bytes = (size_t)elements * td_element_bytes(spec->dtype);
    for (int64_t i = 0; i < job->n; i++) {
        char *row = (char *)out->tensor.data + (size_t)i * row_bytes;
        int64_t count = 0;
        if (!feature->present[i]) {
            if (spec->fallback == NULL) {
                return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                                  "Feature: %.*s (data type: %s) is required but could not be "
                                  "found.",
                                  name_bytes(spec->key), (const char *)spec->key.data,
                                  td_element_tf(spec->dtype));
            }
            memcpy(row, spec->fallback, row_bytes);
            count = elements;
        } else if (feature->value[i].size > 0) {
            td_wire in = td_wire_of(feature->value[i]);
            count = read_values(spec->dtype, &in, row, elements);
        }
        if (count != elements) {
            td_span name = name_of(job, i);
            return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                              "Unexpected number of elements in example %.*s", name_bytes(name),
                              (const char *)name.data);
        }
    }
    return TD_OK;
}

/* Context features that vary: one list a record. */
static td_status give_varying(const sequence_job *job, const found_feature *feature,
                              td_array *out) {
    const td_parse_feature *spec = feature->spec;
    int rank = job->batch ? 2 : 1;
    td_sparse sparse;
    td_splits splits;
    TD_TRY(td_sparse_take(job->pool, spec->dtype, rank, feature->total, &sparse));
    TD_TRY(td_splits_take(job->pool, job->n + 1, &splits));
    int64_t at = 0;
    splits.data[0] = 0;
    for (int64_t i = 0; i < job->n; i++) {
        td_wire in = td_wire_of(feature->value[i]);
        int64_t count = 0;
        if (feature->value[i].size > 0) {
            count =
                read_values(spec->dtype, &in,
                            (char *)sparse.values.data + (size_t)at * td_element_bytes(spec->dtype),
                            feature->total - at);
        }
        for (int64_t j = 0; j < count; j++, at++) {
            sparse.indices[at * rank] = i;
            sparse.indices[at * rank + rank - 1] = j;
        }
        splits.data[i + 1] = at;
    }
    sparse.dense_shape[0] = job->n;
    sparse.dense_shape[rank - 1] = feature->most;
    if (spec->kind == TD_PARSE_SPARSE) {
        *out = (td_array){.kind = TD_ARRAY_SPARSE, .sparse = sparse};
    } else if (job->batch) {
        *out = (td_array){.kind = TD_ARRAY_RAGGED,
                          .ragged = {.depth = 1,
                                     .splits_dtype = spec->splits_dtype,
                                     .splits = {splits},
                                     .values = sparse.values}};
    } else {
        *out = (td_array){.kind = TD_ARRAY_TENSOR, .tensor = sparse.values};
    }
    return TD_OK;
}

/* The first step of a wrong size, while a padded list is read. */
typedef struct step_check {
    int64_t elements, bad_row, bad_count;
} step_check;

static void check_step(void *arg, int64_t count, int64_t row) {
    step_check *check = arg;
    if (count != check->elements && check->bad_row < 0) {
        check->bad_row = row;
        check->bad_count = count;
    }
}

static td_status bad_step(const sequence_job *job, const td_parse_feature *spec, int64_t record,
                          const step_check *check) {
    char shape[100] = "";
    size_t at = 0;
    for (int i = 0; i < spec->rank && at < sizeof shape; i++) {
        at += (size_t)snprintf(shape + at, sizeof shape - at, i > 0 ? ",%lld" : "%lld",
                               (long long)spec->shape[i]);
    }
    td_span name = name_of(job, record);
    return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                      "Name: %.*s, Key: %.*s, Index: %lld.  Number of values != expected.  values "
                      "size: %lld but output shape: [%s]",
                      name_bytes(name), (const char *)name.data, name_bytes(spec->key),
                      (const char *)spec->key.data, (long long)check->bad_row,
                      (long long)check->bad_count, shape);
}

static td_status missing_list(const sequence_job *job, const td_parse_feature *spec,
                              int64_t record) {
    td_span name = name_of(job, record);
    return td_tf_fail(
        TD_TF_INVALID_ARGUMENT,
        "Name: %.*s, Feature list '%.*s' is required but could not be found.  Did you "
        "mean to allow it to be missing?",
        name_bytes(name), (const char *)name.data, name_bytes(spec->key),
        (const char *)spec->key.data);
}

static td_status take_padded(const sequence_job *job, const found_feature *feature,
                             int64_t elements, td_array *out, td_tensor *lengths) {
    const td_parse_feature *spec = feature->spec;
    if (elements <= 0 || feature->most % elements != 0) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                          "Feature list '%.*s' has an unexpected number of values.  Total values "
                          "size: %lld is not a multiple of the %lld values of a step",
                          name_bytes(spec->key), (const char *)spec->key.data,
                          (long long)feature->most, (long long)elements);
    }
    int64_t shape[TD_RANK_MAX] = {job->n, feature->most / elements};
    int skip = job->batch ? 0 : 1, rank = spec->rank + 2 - skip;
    if (spec->rank + 2 > TD_RANK_MAX) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT, "a shape of too many dimensions");
    }
    memcpy(shape + 2, spec->shape, (size_t)spec->rank * sizeof *shape);
    out->kind = TD_ARRAY_TENSOR;
    TD_TRY(td_tensor_take(job->pool, spec->dtype, rank, shape + skip, &out->tensor));
    return td_tensor_take(job->pool, TD_ELEMENT_INT64, job->batch ? 1 : 0, &job->n, lengths);
}

static td_status give_padded(const sequence_job *job, const found_feature *feature, td_array *out,
                             td_tensor *lengths) {
    const td_parse_feature *spec = feature->spec;
    int64_t elements = td_shape_count(spec->rank, spec->shape);
    TD_TRY(take_padded(job, feature, elements, out, lengths));
    size_t bytes = td_element_bytes(spec->dtype);
    const td_span empty = {(const uint8_t *)"", 0};
    for (int64_t i = 0; i < job->n; i++) {
        char *row = (char *)out->tensor.data + (size_t)(i * feature->most) * bytes;
        int64_t values = 0, rows = 0;
        if (!feature->present[i] && spec->fallback == NULL) {
            return missing_list(job, spec, i);
        }
        step_check check = {elements, -1, 0};
        TD_TRY(read_list(job, feature, i, row, &values, &rows, check_step, &check));
        if (check.bad_row >= 0) {
            return bad_step(job, spec, i, &check);
        }
        ((int64_t *)lengths->data)[i] = rows;
        for (int64_t j = values; j < feature->most; j++) {
            if (spec->dtype == TD_ELEMENT_BYTES) {
                ((td_span *)(void *)row)[j] = empty;
            } else {
                memset(row + (size_t)j * bytes, 0, bytes);
            }
        }
    }
    return TD_OK;
}

/* Feature lists that vary: indices record, step, value, and the splits of both levels. */
typedef struct varying_list {
    td_sparse sparse;
    td_splits inner;
    int64_t at, row, record, most_rows, most_values;
    int rank;
} varying_list;

static void add_step(void *arg, int64_t count, int64_t row) {
    varying_list *list = arg;
    for (int64_t j = 0; j < count; j++, list->at++) {
        int64_t *index = list->sparse.indices + list->at * list->rank;
        index[0] = list->record;
        index[list->rank - 2] = row;
        index[list->rank - 1] = j;
    }
    list->inner.data[++list->row] = list->at;
    list->most_values = count > list->most_values ? count : list->most_values;
    list->most_rows = row + 1 > list->most_rows ? row + 1 : list->most_rows;
}

static td_status give_list(const sequence_job *job, const found_feature *feature, td_array *out) {
    const td_parse_feature *spec = feature->spec;
    varying_list list = {.rank = job->batch ? 3 : 2};
    td_splits outer;
    TD_TRY(td_sparse_take(job->pool, spec->dtype, list.rank, feature->total, &list.sparse));
    TD_TRY(td_splits_take(job->pool, feature->rows + 1, &list.inner));
    TD_TRY(td_splits_take(job->pool, job->n + 1, &outer));
    list.inner.data[0] = outer.data[0] = 0;
    for (int64_t i = 0; i < job->n; i++) {
        int64_t values, rows;
        list.record = i;
        char *to =
            (char *)list.sparse.values.data + (size_t)list.at * td_element_bytes(spec->dtype);
        TD_TRY(read_list(job, feature, i, to, &values, &rows, add_step, &list));
        outer.data[i + 1] = list.row;
    }
    list.sparse.dense_shape[0] = job->n;
    list.sparse.dense_shape[list.rank - 2] = list.most_rows;
    list.sparse.dense_shape[list.rank - 1] = list.most_values;
    if (spec->kind == TD_PARSE_SPARSE) {
        *out = (td_array){.kind = TD_ARRAY_SPARSE, .sparse = list.sparse};
        return TD_OK;
    }
    td_ragged ragged = {.depth = job->batch ? 2 : 1,
                        .splits_dtype = spec->splits_dtype,
                        .splits = {outer, list.inner},
                        .values = list.sparse.values};
    if (!job->batch) {
        ragged.splits[0] = list.inner;
    }
    *out = (td_array){.kind = TD_ARRAY_RAGGED, .ragged = ragged};
    return TD_OK;
}

static td_status prepare(const sequence_job *job, const td_parse_feature *specs, int count,
                         found_feature **out) {
    *out = td_pool_take_zero(job->pool, (size_t)count * sizeof **out);
    bool ok = *out != NULL;
    for (int i = 0; ok && i < count; i++) {
        (*out)[i].spec = &specs[i];
        (*out)[i].value = td_pool_take_zero(job->pool, (size_t)job->n * sizeof *(*out)[i].value);
        (*out)[i].present = td_pool_take_zero(job->pool, (size_t)job->n * sizeof(bool));
        ok = (*out)[i].value != NULL && (*out)[i].present != NULL;
        if (specs[i].dtype != TD_ELEMENT_BYTES && specs[i].dtype != TD_ELEMENT_FLOAT32 &&
            specs[i].dtype != TD_ELEMENT_INT64) {
            return td_tf_fail(TD_TF_INVALID_ARGUMENT, "Invalid config dtype: %s",
                              td_element_tf(specs[i].dtype));
        }
    }
    return ok ? TD_OK : td_tf_no_memory("a batch of SequenceExamples");
}

td_status td_sequence_parse(const td_sequence_spec *spec, const td_span *records, int64_t n,
                            const td_span *names, bool batch, td_pool *pool,
                            td_sequence_result *out) {
    sequence_job job = {spec, records, names, n, batch, pool, NULL, NULL, NULL};
    size_t most = 0;
    for (int64_t i = 0; i < n; i++) {
        most = records[i].size > most ? records[i].size : most;
    }
    job.scratch = td_pool_take(pool, most * 8 + 64);
    if (job.scratch == NULL) {
        return td_tf_no_memory("a record");
    }
    TD_TRY(prepare(&job, spec->context, spec->n_context, &job.context));
    TD_TRY(prepare(&job, spec->lists, spec->n_lists, &job.lists));
    for (int64_t i = 0; i < n; i++) {
        TD_TRY(scan_record(&job, i));
    }
    for (int i = 0; i < spec->n_context; i++) {
        TD_TRY(count_context(&job, &job.context[i]));
    }
    for (int i = 0; i < spec->n_lists; i++) {
        TD_TRY(count_list(&job, &job.lists[i]));
    }
    for (int i = 0; i < spec->n_context; i++) {
        TD_TRY(spec->context[i].kind == TD_PARSE_FIXED
                   ? give_fixed(&job, &job.context[i], &out->context[i])
                   : give_varying(&job, &job.context[i], &out->context[i]));
    }
    for (int i = 0; i < spec->n_lists; i++) {
        TD_TRY(spec->lists[i].kind == TD_PARSE_PADDED
                   ? give_padded(&job, &job.lists[i], &out->lists[i], &out->lengths[i])
                   : give_list(&job, &job.lists[i], &out->lists[i]));
    }
    return TD_OK;
}
