/* SPDX-License-Identifier: Apache-2.0 */
#include "data/column_plan.h"

#include <stdio.h>
#include <stdatomic.h>
#include <string.h>

#include "base/memory.h"
#include "data/column_slice.h"

/* One bag as nodes: an embedding column's ids, or those of a td_bag_spec. */
typedef struct plan_bag {
    const td_column_node **nodes;
    int count;
    td_combiner combiner;
    int32_t *offsets, *ids;
    float *coefficients;
    int64_t rows_capacity, ids_capacity;
} plan_bag;

/* Memory of a worker. Taking writes to the pool, so two of them must never share a cache line, nor
 * the pair of lines that are fetched together, wherever the array starts. */
typedef struct plan_worker {
    td_pool pool, kept; /* of a column, of a slice */
    char apart[128 - 2 * sizeof(td_pool)];
} plan_worker;

struct td_column_plan {
    td_pool setup, batch; /* for ever; of one batch */
    plan_worker *worker;  /* of a slice */
    int n_workers;
    td_example_parser *parser;
    td_parse_feature *features;
    td_array *values; /* of the batch, by feature */
    int n_features;
    td_column_node *dense;
    int64_t *at;
    int n_dense;
    bool tables_outside;
    int64_t width;
    plan_bag *bags;
    td_bags *shown;
    int n_bags;
    td_column_slice *slices;
    int64_t slice_capacity;
};

static td_status no_memory(void) {
    return td_tf_no_memory("a plan of feature columns");
}

static void *take(td_column_plan *plan, int64_t count, size_t bytes) {
    return td_pool_take_zero(&plan->setup, (size_t)count * bytes);
}

static bool is_embedding(const td_column *column) {
    return column->type == TD_COLUMN_EMBEDDING || column->type == TD_COLUMN_SHARED_EMBEDDING;
}

static int value_of(const td_column_plan *plan, td_span key) {
    for (int i = 0; i < plan->n_features; i++) {
        if (td_span_equal(plan->features[i].key, key)) {
            return i;
        }
    }
    return 0; /* not reached of a column that reads one: every key is in the parse specification */
}

/* What a plan does not do, or would only find wrong in the middle of the data. */
static td_status check_column(const td_column *column) {
    const char *name = (const char *)column->name.data;
    if (column->sequence) {
        return td_tf_fail(TD_TF_VALUE, "%s is a sequence column", name);
    }
    if (column->vocabulary_class != TD_TF_OK) {
        return td_tf_refail((td_tf_class)column->vocabulary_class, column->vocabulary_message);
    }
    if (column->type == TD_COLUMN_BUCKETIZED && column->rank != 1) {
        return td_tf_fail(TD_TF_VALUE, "column %s: a shape of %d dimensions; expected one", name,
                          column->rank);
    }
    if (td_column_is_categorical(column) && column->buckets > INT32_MAX) {
        return td_tf_fail(TD_TF_VALUE, "column %s: %lld buckets; at most %d", name,
                          (long long)column->buckets, INT32_MAX);
    }
    for (int i = 0; i < column->n_leaves; i++) {
        const td_column *leaf = column->leaves[i].column;
        if (leaf != NULL && leaf->type == TD_COLUMN_WEIGHTED) {
            return td_tf_fail(TD_TF_VALUE, "column %s: crosses have no weights, its part %s has",
                              name, (const char *)leaf->name.data);
        }
    }
    return TD_OK;
}

static td_status make_node(td_column_plan *plan, const td_column *column, td_column_node *out) {
    TD_TRY(check_column(column));
    const td_column *reads = column->type == TD_COLUMN_BUCKETIZED ? column->source : column;
    *out = (td_column_node){.column = column, .input = value_of(plan, reads->key)};
    if (column->type == TD_COLUMN_WEIGHTED) {
        out->weights = value_of(plan, column->weight_key);
    }
    if (column->source != NULL && column->type != TD_COLUMN_BUCKETIZED) {
        td_column_node *source = take(plan, 1, sizeof *source);
        if (source == NULL) {
            return no_memory();
        }
        TD_TRY(make_node(plan, column->source, source));
        out->source = source;
    }
    td_column_node *leaves = take(plan, column->n_leaves + 1, sizeof *leaves);
    if (leaves == NULL) {
        return no_memory();
    }
    for (int i = 0; i < column->n_leaves; i++) {
        const td_cross_leaf *leaf = &column->leaves[i];
        leaves[i].input = value_of(plan, leaf->key);
        if (leaf->column != NULL) {
            TD_TRY(make_node(plan, leaf->column, &leaves[i]));
        }
    }
    out->leaves = leaves;
    return TD_OK;
}

/* The parse specification of everything the plan reads, lists that vary as row splits. */
static td_status make_parser(td_column_plan *plan, const td_plan_spec *spec) {
    td_column_list all = {NULL, spec->dense.count};
    for (int b = 0; b < spec->n_bags; b++) {
        all.count += spec->bags[b].count;
    }
    all.columns = take(plan, all.count + 1, sizeof *all.columns);
    if (all.columns == NULL) {
        return no_memory();
    }
    int n = 0;
    for (int i = 0; i < spec->dense.count; i++) {
        all.columns[n++] = spec->dense.columns[i];
    }
    for (int b = 0; b < spec->n_bags; b++) {
        for (int i = 0; i < spec->bags[b].count; i++) {
            all.columns[n++] = (td_column *)spec->bags[b].columns[i]; /* only read */
        }
    }
    td_feature_spec *specs;
    td_spec_plan raw;
    int n_specs;
    TD_TRY(td_columns_parse_spec(&all, &plan->setup, &specs, &n_specs));
    TD_TRY(td_spec_plan_create(specs, n_specs, false, &plan->setup, &raw));
    for (int i = 0; i < raw.n_raw; i++) {
        if (raw.raw[i].kind == TD_PARSE_SPARSE) {
            raw.raw[i].kind = TD_PARSE_RAGGED;
            raw.raw[i].splits_dtype = TD_ELEMENT_INT64;
        }
    }
    plan->features = raw.raw;
    plan->n_features = raw.n_raw;
    plan->values = take(plan, raw.n_raw + 1, sizeof *plan->values);
    return plan->values == NULL
               ? no_memory()
               : td_example_parser_create(plan->features, plan->n_features, &plan->parser);
}

static td_status make_dense(td_column_plan *plan, const td_plan_spec *spec) {
    plan->n_dense = spec->dense.count;
    plan->tables_outside = spec->tables_outside;
    plan->dense = take(plan, spec->dense.count + 1, sizeof *plan->dense);
    plan->at = take(plan, spec->dense.count + 1, sizeof *plan->at);
    if (plan->dense == NULL || plan->at == NULL) {
        return no_memory();
    }
    for (int i = 0; i < spec->dense.count; i++) {
        const td_column *column = spec->dense.columns[i];
        int64_t shape[TD_RANK_MAX];
        if (!td_column_is_dense(column)) {
            return td_tf_fail(TD_TF_VALUE,
                              "column %s is not dense: wrap it in an indicator or an embedding",
                              (const char *)column->name.data);
        }
        if (is_embedding(column) && !spec->tables_outside && column->table.data == NULL) {
            return td_tf_fail(TD_TF_VALUE, "column %s has no table",
                              (const char *)column->name.data);
        }
        TD_TRY(make_node(plan, column, &plan->dense[i]));
        plan->at[i] = plan->width;
        plan->width += td_shape_count(td_column_variable_shape(column, shape), shape);
    }
    return TD_OK;
}

static td_status make_bag(td_column_plan *plan, const td_bag_spec *spec, plan_bag *out) {
    int64_t buckets = 0;
    out->count = spec->count;
    out->combiner = spec->combiner;
    out->nodes = take(plan, spec->count + 1, sizeof *out->nodes);
    td_column_node *nodes = take(plan, spec->count + 1, sizeof *nodes);
    if (out->nodes == NULL || nodes == NULL) {
        return no_memory();
    }
    for (int i = 0; i < spec->count; i++) {
        const td_column *column = spec->columns[i];
        if (!td_column_is_categorical(column)) {
            return td_tf_fail(TD_TF_VALUE, "column %s has no ids", (const char *)column->name.data);
        }
        TD_TRY(make_node(plan, column, &nodes[i]));
        out->nodes[i] = &nodes[i];
        buckets += column->buckets;
    }
    return buckets <= INT32_MAX ? TD_OK
                                : td_tf_fail(TD_TF_VALUE, "%lld buckets of one table; at most %d",
                                             (long long)buckets, INT32_MAX);
}

static td_status make_bags(td_column_plan *plan, const td_plan_spec *spec) {
    int outside = 0;
    for (int i = 0; i < spec->dense.count && spec->tables_outside; i++) {
        outside += is_embedding(spec->dense.columns[i]);
    }
    plan->n_bags = outside + spec->n_bags;
    plan->bags = take(plan, plan->n_bags + 1, sizeof *plan->bags);
    plan->shown = take(plan, plan->n_bags + 1, sizeof *plan->shown);
    if (plan->bags == NULL || plan->shown == NULL) {
        return no_memory();
    }
    plan_bag *bag = plan->bags;
    for (int i = 0; i < spec->dense.count && spec->tables_outside; i++) {
        const td_column *column = spec->dense.columns[i];
        if (is_embedding(column)) {
            td_bag_spec of = {(const td_column *const *)&column->source, 1, column->combiner};
            TD_TRY(make_bag(plan, &of, bag++));
        }
    }
    for (int b = 0; b < spec->n_bags; b++) {
        TD_TRY(make_bag(plan, &spec->bags[b], bag++));
    }
    return TD_OK;
}

td_status td_column_plan_create(const td_plan_spec *spec, td_column_plan **out) {
    td_column_plan *plan = td_alloc_zero(sizeof *plan);
    if (plan == NULL) {
        return no_memory();
    }
    td_status status = make_parser(plan, spec);
    status = status == TD_OK ? make_dense(plan, spec) : status;
    status = status == TD_OK ? make_bags(plan, spec) : status;
    if (status != TD_OK) {
        td_column_plan_destroy(plan);
        return status;
    }
    *out = plan;
    return TD_OK;
}

void td_column_plan_destroy(td_column_plan *plan) {
    if (plan == NULL) {
        return;
    }
    for (int64_t s = 0; s < plan->slice_capacity; s++) {
        for (int b = 0; b < plan->n_bags; b++) {
            td_free(plan->slices[s].bags[b].ids);
            td_free(plan->slices[s].bags[b].coefficients);
        }
        td_free(plan->slices[s].bags);
    }
    for (int b = 0; b < plan->n_bags && plan->bags != NULL; b++) {
        td_free(plan->bags[b].offsets);
        td_free(plan->bags[b].ids);
        td_free(plan->bags[b].coefficients);
    }
    for (int w = 0; w < plan->n_workers; w++) {
        td_pool_destroy(&plan->worker[w].pool);
        td_pool_destroy(&plan->worker[w].kept);
    }
    td_free(plan->worker);
    td_free(plan->slices);
    if (plan->parser != NULL) {
        td_example_parser_destroy(plan->parser);
    }
    td_pool_destroy(&plan->batch);
    td_pool_destroy(&plan->setup);
    td_free(plan);
}

int64_t td_column_plan_width(const td_column_plan *plan) {
    return plan->width;
}

int64_t td_column_plan_at(const td_column_plan *plan, int i) {
    return plan->at[i];
}

const td_parse_feature *td_column_plan_features(const td_column_plan *plan, int *count) {
    *count = plan->n_features;
    return plan->features;
}

/* Makes *block hold `count` elements at least; what it held is lost. */
static td_status grow(void *block, int64_t count, size_t bytes) {
    void *old, *made = td_alloc((size_t)count * bytes);
    memcpy(&old, block, sizeof old);
    if (made == NULL) {
        return no_memory();
    }
    td_free(old);
    memcpy(block, &made, sizeof made);
    return TD_OK;
}

static td_status prepare_workers(td_column_plan *plan, int workers) {
    if (workers > plan->n_workers) {
        plan_worker *moved = td_realloc(plan->worker, (size_t)workers * sizeof *moved);
        if (moved == NULL) {
            return no_memory();
        }
        memset(moved + plan->n_workers, 0, (size_t)(workers - plan->n_workers) * sizeof *moved);
        plan->worker = moved;
        plan->n_workers = workers;
    }
    return TD_OK;
}

static td_status prepare_slices(td_column_plan *plan, int64_t n_slices) {
    if (n_slices > plan->slice_capacity) {
        td_column_slice *moved = td_realloc(plan->slices, (size_t)n_slices * sizeof *moved);
        if (moved == NULL) {
            return no_memory();
        }
        plan->slices = moved;
        for (; plan->slice_capacity < n_slices; plan->slice_capacity++) {
            td_column_slice *slice = &moved[plan->slice_capacity];
            slice->bags = td_alloc_zero((size_t)(plan->n_bags + 1) * sizeof *slice->bags);
            slice->status = TD_OK;
            if (slice->bags == NULL) {
                return no_memory();
            }
        }
    }
    return TD_OK;
}

static td_status prepare_rows(td_column_plan *plan, int64_t n) {
    for (int b = 0; b < plan->n_bags; b++) {
        plan_bag *bag = &plan->bags[b];
        if (n + 1 > bag->rows_capacity) {
            TD_TRY(grow(&bag->offsets, n + 1, sizeof *bag->offsets));
            bag->rows_capacity = n + 1;
        }
        bag->offsets[0] = 0;
    }
    return TD_OK;
}

/* A batch on its way. */
typedef struct plan_job {
    td_column_plan *plan;
    const td_array *values; /* by feature; read where they are, as copying them would take them out
                               of every worker's caches for each batch */
    int64_t n, n_slices, ld;
    float *dense;
    atomic_bool failed; /* some slice did: only then are their results looked through, which the
                           workers' caches would have to give up for every batch */
} plan_job;

static td_status compute_slice(const plan_job *job, td_column_slice *slice,
                               const td_slice_rows *rows) {
    td_column_plan *plan = job->plan;
    for (int i = 0; i < plan->n_dense; i++) {
        if (!plan->tables_outside || !is_embedding(plan->dense[i].column)) {
            td_pool_reset(rows->memory);
            TD_TRY(td_slice_dense(&plan->dense[i], rows, plan->at[i]));
        }
    }
    for (int b = 0; b < plan->n_bags; b++) {
        const plan_bag *bag = &plan->bags[b];
        td_pool_reset(rows->memory);
        TD_TRY(td_slice_bag_ids(bag->nodes, bag->count, bag->combiner, rows, bag->offsets,
                                &slice->bags[b]));
    }
    return TD_OK;
}

static td_status start_slice(const td_column_plan *plan, td_slice_rows *rows) {
    td_pool_reset(rows->kept);
    rows->hashes =
        td_pool_take_zero(rows->kept, (size_t)(plan->n_features + 1) * sizeof *rows->hashes);
    return rows->hashes == NULL ? no_memory() : TD_OK;
}

static void compute_slices(void *arg, int64_t first, int64_t last, td_worker *worker) {
    plan_job *job = arg;
    plan_worker *self = &job->plan->worker[worker == NULL ? 0 : worker->id];
    for (int64_t s = first; s < last; s++) {
        int64_t from = s * TD_PLAN_SLICE, to = from + TD_PLAN_SLICE;
        td_slice_rows rows = {.first = from,
                              .last = to < job->n ? to : job->n,
                              .values = job->values,
                              .memory = &self->pool,
                              .kept = &self->kept,
                              .dense = job->dense,
                              .ld = job->ld};
        td_column_slice *slice = &job->plan->slices[s];
        td_status status = start_slice(job->plan, &rows);
        status = status == TD_OK ? compute_slice(job, slice, &rows) : status;
        if (status != TD_OK) {
            slice->status = status;
            slice->class = td_tf_last();
            snprintf(slice->message, sizeof slice->message, "%s", td_error());
            atomic_store_explicit(&job->failed, true, memory_order_relaxed); /* a region ends it */
        }
    }
}

/* Puts a slice of a bag where it belongs. */
static void gather_slice(const plan_job *job, int64_t s, int b) {
    plan_bag *bag = &job->plan->bags[b];
    const td_slice_bag *part = &job->plan->slices[s].bags[b];
    int64_t row = s * TD_PLAN_SLICE, end = row + TD_PLAN_SLICE;
    for (end = end < job->n ? end : job->n; row < end; row++) {
        bag->offsets[row + 1] += (int32_t)part->start;
    }
    if (part->count > 0) {
        memcpy(bag->ids + part->start, part->ids, (size_t)part->count * sizeof *part->ids);
        memcpy(bag->coefficients + part->start, part->coefficients,
               (size_t)part->count * sizeof *part->coefficients);
    }
}

static void gather_slices(void *arg, int64_t first, int64_t last, td_worker *worker) {
    plan_job *job = arg;
    (void)worker;
    for (int64_t s = first; s < last; s++) {
        for (int b = 0; b < job->plan->n_bags; b++) {
            gather_slice(job, s, b);
        }
    }
}

/* A worker's slices are the same from batch to batch, so that rows it wrote are in its caches: with
 * slices claimed one by one, half of the lines of a batch had to come from the other's. */
static void compute_region(void *arg, td_worker *worker) {
    td_worker_tiles(worker, ((plan_job *)arg)->n_slices, 1, compute_slices, arg);
}

static void gather_region(void *arg, td_worker *worker) {
    td_worker_tiles(worker, ((plan_job *)arg)->n_slices, 1, gather_slices, arg);
}

/* Forgets all failures, and reports the first. */
static td_status first_failure(plan_job *job) {
    const td_column_slice *first = NULL;
    td_status status = TD_OK;
    if (!atomic_load_explicit(&job->failed, memory_order_relaxed)) {
        return TD_OK;
    }
    for (int64_t s = 0; s < job->n_slices; s++) {
        td_column_slice *slice = &job->plan->slices[s];
        if (first == NULL && slice->status != TD_OK) {
            first = slice;
            status = slice->status;
        }
        slice->status = TD_OK;
    }
    TD_ASSERT(first != NULL);
    return status == TD_EINPUT ? td_tf_refail(first->class, first->message)
                               : td_fail(status, "%s", first->message);
}

/* Where the slices' ids go, and room for all. */
static td_status place_bags(const plan_job *job) {
    td_column_plan *plan = job->plan;
    for (int b = 0; b < plan->n_bags; b++) {
        plan_bag *bag = &plan->bags[b];
        int64_t total = 0;
        for (int64_t s = 0; s < job->n_slices; s++) {
            plan->slices[s].bags[b].start = total;
            total += plan->slices[s].bags[b].count;
        }
        if (total > INT32_MAX) {
            return td_tf_no_memory("so many ids in a batch");
        }
        if (total > bag->ids_capacity) {
            TD_TRY(grow(&bag->ids, 2 * total, sizeof *bag->ids));
            TD_TRY(grow(&bag->coefficients, 2 * total, sizeof *bag->coefficients));
            bag->ids_capacity = 2 * total;
        }
        plan->shown[b] = (td_bags){total, bag->offsets, bag->ids, bag->coefficients};
    }
    return TD_OK;
}

td_status td_column_plan_apply(td_column_plan *plan, const td_array *values, int64_t n,
                               td_team *team, float *dense, int64_t ld, const td_bags **bags) {
    plan_job job = {.plan = plan,
                    .values = values,
                    .n = n,
                    .n_slices = (n + TD_PLAN_SLICE - 1) / TD_PLAN_SLICE,
                    .dense = dense,
                    .ld = ld};
    TD_TRY(prepare_workers(plan, team == NULL ? 1 : td_team_size(team)));
    TD_TRY(prepare_slices(plan, job.n_slices));
    TD_TRY(prepare_rows(plan, n));
    if (team != NULL) {
        td_team_run(team, compute_region, &job);
    } else {
        compute_slices(&job, 0, job.n_slices, NULL);
    }
    TD_TRY(first_failure(&job));
    if (plan->n_bags > 0) {
        TD_TRY(place_bags(&job));
        if (team != NULL) {
            td_team_run(team, gather_region, &job);
        } else {
            gather_slices(&job, 0, job.n_slices, NULL);
        }
    }
    if (bags != NULL) {
        *bags = plan->shown;
    }
    return TD_OK;
}

const char *td_column_plan_reason(void) {
    static const char number[] = "record 0: ";
    size_t size = sizeof number - 1;
    return strncmp(td_error(), number, size) == 0 ? td_error() + size : td_error();
}

td_status td_column_plan_run(td_column_plan *plan, const td_span *records, int64_t n,
                             const td_span *names, td_team *team, float *dense, int64_t ld,
                             const td_bags **bags) {
    td_pool_reset(&plan->batch);
    TD_TRY(
        td_example_parse_batch(plan->parser, records, n, names, team, &plan->batch, plan->values));
    return td_column_plan_apply(plan, plan->values, n, team, dense, ld, bags);
}
