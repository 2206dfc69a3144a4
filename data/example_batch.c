/* SPDX-License-Identifier: Apache-2.0 */
#include "data/example_batch.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/memory.h"
#include "data/example_slice.h"
#include "data/example_values.h"
#include "data/tf_error.h"

/* TensorFlow cuts a batch in slices of about so many bytes; a few of its messages count values from
 * the start of a slice, so the same cut is kept. */
enum { SLICE_BYTES = 50000, SLICES_MIN = 8, SLICES_MAX = 64 };

static uint64_t key_hash(td_span key) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ key.size;
    for (size_t i = 0; i < key.size; i++) {
        hash = (hash ^ key.data[i]) * UINT64_C(0x100000001b3);
    }
    return hash ^ hash >> 29;
}

int td_parser_slot(const td_example_parser *parser, td_span key) {
    for (uint64_t i = key_hash(key);; i++) {
        int slot = parser->table[i & parser->table_mask];
        if (slot < 0 || td_span_equal(parser->features[slot].key, key)) {
            return slot;
        }
    }
}

static td_status check_feature(const td_parse_feature *feature, int64_t elements) {
    if (feature->dtype != TD_ELEMENT_BYTES && feature->dtype != TD_ELEMENT_FLOAT32 &&
        feature->dtype != TD_ELEMENT_INT64) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT, "Invalid config dtype: %s",
                          td_element_tf(feature->dtype));
    }
    if (elements < 0 || (elements == 0 && feature->kind == TD_PARSE_PADDED)) {
        return td_tf_fail(TD_TF_INVALID_ARGUMENT,
                          "feature \"%.*s\": a row of its shape has no elements, or too many",
                          (int)feature->key.size, (const char *)feature->key.data);
    }
    return TD_OK;
}

static td_status fill_table(td_example_parser *parser) {
    uint64_t size = 4;
    while (size < 3 * (uint64_t)parser->count) {
        size *= 2;
    }
    parser->table_mask = size - 1;
    parser->table = td_pool_take(&parser->pool, size * sizeof *parser->table);
    if (parser->table == NULL) {
        return td_tf_no_memory("a parser");
    }
    for (uint64_t i = 0; i < size; i++) {
        parser->table[i] = -1;
    }
    for (int slot = 0; slot < parser->count; slot++) {
        td_span key = parser->features[slot].key;
        uint64_t i = key_hash(key);
        for (; parser->table[i & parser->table_mask] >= 0; i++) {
            if (td_span_equal(parser->features[parser->table[i & parser->table_mask]].key, key)) {
                return td_tf_fail(TD_TF_VALUE, "two features are named \"%.*s\"", (int)key.size,
                                  (const char *)key.data);
            }
        }
        parser->table[i & parser->table_mask] = slot;
    }
    return TD_OK;
}

static td_status fill_parser(td_example_parser *parser, const td_parse_feature *features) {
    size_t n = (size_t)parser->count;
    parser->features = td_pool_take(&parser->pool, n * sizeof *parser->features);
    parser->elements = td_pool_take(&parser->pool, n * sizeof *parser->elements);
    if (parser->features == NULL || parser->elements == NULL) {
        return td_tf_no_memory("a parser");
    }
    for (int i = 0; i < parser->count; i++) {
        parser->features[i] = features[i];
        td_parse_feature *feature = &parser->features[i];
        feature->key.data = td_pool_copy(&parser->pool, feature->key.data, feature->key.size);
        parser->elements[i] = feature->kind == TD_PARSE_FIXED || feature->kind == TD_PARSE_PADDED
                                  ? td_shape_count(feature->rank, feature->shape)
                                  : 1;
        TD_TRY(check_feature(feature, parser->elements[i]));
        if (feature->fallback != NULL) {
            int64_t values = feature->kind == TD_PARSE_PADDED ? 1 : parser->elements[i];
            size_t bytes = (size_t)values * td_element_bytes(feature->dtype);
            feature->fallback =
                values == 0 ? NULL : td_pool_copy(&parser->pool, feature->fallback, bytes);
        }
    }
    return fill_table(parser);
}

td_status td_example_parser_create(const td_parse_feature *features, int count,
                                   td_example_parser **out) {
    td_example_parser *parser = td_alloc_zero(sizeof *parser);
    if (parser == NULL) {
        return td_tf_no_memory("a parser");
    }
    parser->count = count;
    td_status status = fill_parser(parser, features);
    if (status != TD_OK) {
        td_example_parser_destroy(parser);
        return status;
    }
    *out = parser;
    return TD_OK;
}

void td_example_parser_destroy(td_example_parser *parser) {
    if (parser == NULL) {
        return;
    }
    for (int i = 0; i < parser->slice_capacity; i++) {
        td_slice_destroy(&parser->slices[i], parser->count);
    }
    td_free(parser->slices);
    td_pool_destroy(&parser->pool);
    td_free(parser);
}

static int64_t count_slices(const td_span *records, int64_t n) {
    int64_t slices = 0;
    size_t bytes = 0;
    for (int64_t i = 0; i < n; i++) {
        slices += bytes == 0;
        bytes += records[i].size + 1;
        if (bytes > SLICE_BYTES) {
            bytes = 0;
        }
    }
    slices = slices < SLICES_MAX ? slices : SLICES_MAX;
    int64_t least = n < SLICES_MIN ? n : SLICES_MIN;
    return slices > least ? slices : least;
}

static td_status prepare_slices(td_example_parser *parser, int64_t wanted) {
    if (wanted > parser->slice_capacity) {
        td_slice *moved = td_realloc(parser->slices, (size_t)wanted * sizeof *moved);
        if (moved == NULL) {
            return td_tf_no_memory("the slices of a batch");
        }
        parser->slices = moved;
        memset(moved + parser->slice_capacity, 0,
               (size_t)(wanted - parser->slice_capacity) * sizeof *moved);
        parser->slice_capacity = (int)wanted;
    }
    for (; parser->n_prepared < wanted; parser->n_prepared++) {
        TD_TRY(td_slice_prepare(&parser->slices[parser->n_prepared], parser->count));
    }
    return TD_OK;
}

/* FIXED outputs are written where they belong while records are parsed; the others when all sizes
 * are known. */
static td_status take_fixed(const td_example_parser *parser, int64_t n, td_pool *pool,
                            td_array *out) {
    for (int i = 0; i < parser->count; i++) {
        const td_parse_feature *feature = &parser->features[i];
        if (feature->kind == TD_PARSE_FIXED) {
            int64_t shape[TD_RANK_MAX] = {n};
            if (feature->rank >= TD_RANK_MAX) {
                return td_tf_fail(TD_TF_INVALID_ARGUMENT, "a shape of more than %d dimensions",
                                  TD_RANK_MAX - 1);
            }
            memcpy(shape + 1, feature->shape, (size_t)feature->rank * sizeof *shape);
            out[i].kind = TD_ARRAY_TENSOR;
            TD_TRY(td_tensor_take(pool, feature->dtype, feature->rank + 1, shape, &out[i].tensor));
        }
    }
    return TD_OK;
}

typedef struct batch_job {
    td_example_parser *parser;
    td_batch batch;
    int64_t n_slices;
    td_array *out;
    atomic_bool failed; /* some slice did: only then are they looked through for the first */
} batch_job;

static void parse_slices(void *arg, int64_t first, int64_t last, td_worker *worker) {
    batch_job *job = arg;
    (void)worker;
    for (int64_t s = first; s < last; s++) {
        td_slice *slice = &job->parser->slices[s];
        int64_t n = job->batch.n;
        td_slice_begin(slice, job->parser->count, n * s / job->n_slices,
                       n * (s + 1) / job->n_slices);
        td_slice_parse(job->parser, &job->batch, slice);
        if (slice->failed != TD_TF_OK) {
            atomic_store_explicit(&job->failed, true, memory_order_relaxed); /* a region ends it */
        }
    }
}

static void merge_slices(void *arg, int64_t first, int64_t last, td_worker *worker) {
    batch_job *job = arg;
    (void)worker;
    for (int64_t s = first; s < last; s++) {
        for (int feature = 0; feature < job->parser->count; feature++) {
            td_slice_merge(job->parser, &job->parser->slices[s], feature, job->out);
        }
    }
}

/* Slices are a worker's own from batch to batch, and in both regions, so that what it wrote last
 * is in its caches; others take over only what it is late with. */
static void parse_region(void *arg, td_worker *worker) {
    td_worker_tiles(worker, ((batch_job *)arg)->n_slices, 1, parse_slices, arg);
}

static void merge_region(void *arg, td_worker *worker) {
    td_worker_tiles(worker, ((batch_job *)arg)->n_slices, 1, merge_slices, arg);
}

static bool has_rest(const td_example_parser *parser) {
    for (int i = 0; i < parser->count; i++) {
        if (parser->features[i].kind != TD_PARSE_FIXED) {
            return true;
        }
    }
    return false;
}

/* Sizes what is not FIXED, and tells every slice where its part starts. */
static td_status take_rest(batch_job *job, td_pool *pool) {
    td_example_parser *parser = job->parser;
    for (int d = 0; d < parser->count; d++) {
        if (parser->features[d].kind == TD_PARSE_FIXED) {
            continue;
        }
        int64_t total = 0, most = 0;
        for (int64_t s = 0; s < job->n_slices; s++) {
            td_column_buffer *column = &parser->slices[s].columns[d];
            column->start = total;
            total += column->count;
            most = column->most > most ? column->most : most;
        }
        TD_TRY(td_slice_take(parser, d, job->batch.n, total, most, pool, &job->out[d]));
    }
    return TD_OK;
}

static td_status first_failure(const batch_job *job) {
    bool failed = atomic_load_explicit(&job->failed, memory_order_relaxed);
    for (int64_t s = 0; failed && s < job->n_slices; s++) {
        const td_slice *slice = &job->parser->slices[s];
        if (slice->failed != TD_TF_OK) {
            return td_tf_refail(slice->failed, slice->message);
        }
    }
    return TD_OK;
}

td_status td_example_parse_batch(td_example_parser *parser, const td_span *records, int64_t n,
                                 const td_span *names, td_team *team, td_pool *pool,
                                 td_array *out) {
    batch_job job = {.parser = parser,
                     .batch = {records, names, n, out},
                     .n_slices = count_slices(records, n),
                     .out = out};
    TD_TRY(prepare_slices(parser, job.n_slices));
    TD_TRY(take_fixed(parser, n, pool, out));
    if (team != NULL) {
        td_team_run(team, parse_region, &job);
    } else {
        parse_slices(&job, 0, job.n_slices, NULL);
    }
    TD_TRY(first_failure(&job));
    if (!has_rest(parser)) {
        return TD_OK;
    }
    TD_TRY(take_rest(&job, pool));
    if (team != NULL) {
        td_team_run(team, merge_region, &job);
    } else {
        merge_slices(&job, 0, job.n_slices, NULL);
    }
    return TD_OK;
}
