/* SPDX-License-Identifier: Apache-2.0 */
#include "data/example_table.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "data/holdout.h"
#include "data/pair.h"
#include "data/shards.h"
#include "data/table_columns.h"
#include "data/table_synth.h"

enum { CHUNK = 1024 };

/* One side of the hold-out: where its records are among all, and how many there are of a class. */
typedef struct table_side {
    int64_t *rows, count;
    int64_t *classes;
} table_side;

struct td_table {
    const td_table_spec *spec;
    td_table_options options;
    td_column_plan *plan;
    const td_parse_feature *features; /* that the plan reads */
    int n_features;
    td_text bytes; /* all records, with those features */
    size_t *ends;  /* of each in bytes */
    bool *held_out;
    int64_t count, unlabelled;
    table_side sides[2];
    int64_t *order; /* of the rows that train, in one epoch */
    int64_t order_epoch;
    uint64_t order_seed;
    td_span *batch; /* of the call at hand */
    int64_t batch_capacity;
};

static td_status no_memory(void) {
    return td_fail(TD_ENOMEM, "no memory for a table");
}

static td_status make_plan(td_table *table) {
    const td_table_spec *spec = table->spec;
    td_bag_spec bags[2];
    int n = 0;
    if (spec->wide.count > 0) {
        bags[n++] = (td_bag_spec){(const td_column *const *)spec->wide.columns, spec->wide.count,
                                  TD_COMBINER_SUM};
    }
    bags[n++] = (td_bag_spec){(const td_column *const *)spec->label.columns, 1, TD_COMBINER_SUM};
    td_plan_spec plan = {spec->deep, true, bags, n};
    TD_TRY(td_column_plan_create(&plan, &table->plan));
    table->features = td_column_plan_features(table->plan, &table->n_features);
    return TD_OK;
}

static bool is_read(const td_table *table, td_span key) {
    for (int i = 0; i < table->n_features; i++) {
        if (td_span_equal(table->features[i].key, key)) {
            return true;
        }
    }
    return false;
}

/* Keeps what is read of a record, and on which side it is. */
static td_status keep(td_table *table, td_span record, td_example *example, const char *key) {
    TD_TRY(td_example_decode(record.data, record.size, example));
    const td_feature *named = td_example_find(example, TD_PAIR_KEY);
    char text[1024];
    if (named != NULL && named->kind == TD_FEATURE_BYTES && named->count > 0) {
        snprintf(text, sizeof text, "%.*s", (int)named->bytes[0].size,
                 (const char *)named->bytes[0].data);
        key = text;
    }
    table->held_out[table->count] =
        table->options.holdout > 0 && td_is_held_out(key, table->options.holdout);
    int64_t kept = 0;
    for (int64_t i = 0; i < example->count; i++) {
        if (is_read(table, example->features[i].key)) {
            example->features[kept++] = example->features[i];
        }
    }
    TD_TRY(td_example_encode(example->features, kept, &table->bytes));
    TD_TRY(td_text_status(&table->bytes));
    table->ends[table->count++] = table->bytes.size;
    return TD_OK;
}

static td_status reserve(td_table *table, int64_t n) {
    table->ends = td_alloc((size_t)(n + 1) * sizeof *table->ends);
    table->held_out = td_alloc_zero((size_t)(n + 1) * sizeof *table->held_out);
    return table->ends == NULL || table->held_out == NULL ? no_memory() : TD_OK;
}

static td_status read_synthetic(td_table *table) {
    td_example example = {0};
    td_text record = {0};
    td_status status = reserve(table, table->options.n_synthetic);
    for (int64_t i = 0; i < table->options.n_synthetic && status == TD_OK; i++) {
        record.size = 0;
        status = td_table_synth(table->options.seed, i, &record);
        td_span bytes = {(const uint8_t *)record.data, record.size};
        status = status == TD_OK ? keep(table, bytes, &example, "") : status;
    }
    td_text_destroy(&record);
    td_example_destroy(&example);
    return status;
}

/* Says where a record is that was found wrong. */
static td_status at_place(const td_shards *shards, int64_t i, td_status status) {
    td_shard_place place = td_shards_place(shards, i);
    char message[800];
    snprintf(message, sizeof message, "%s", td_column_plan_reason());
    return td_fail(status, "%s, record %lld, byte %lld: %s", place.path, (long long)place.number,
                   (long long)place.offset, message);
}

static td_status read_shards(td_table *table, const td_shards *shards) {
    td_example example = {0};
    td_buffer buffer = {0};
    td_tfrecord record;
    td_status status = reserve(table, td_shards_count(shards));
    for (int64_t i = 0; i < td_shards_count(shards) && status == TD_OK; i++) {
        status = td_shards_read(shards, i, &buffer, &record);
        if (status != TD_OK) {
            break;
        }
        td_shard_place place = td_shards_place(shards, i);
        char key[1024];
        snprintf(key, sizeof key, "%s#%lld", place.path, (long long)place.number);
        status = keep(table, (td_span){record.data, record.size}, &example, key);
        status = status == TD_OK ? TD_OK : at_place(shards, i, status);
    }
    td_buffer_destroy(&buffer);
    td_example_destroy(&example);
    return status;
}

static td_span record_of(const td_table *table, int64_t i) {
    size_t start = i == 0 ? 0 : table->ends[i - 1];
    return (td_span){(const uint8_t *)table->bytes.data + start, table->ends[i] - start};
}

static td_status prepare_batch(td_table *table, int64_t n) {
    if (n > table->batch_capacity) {
        td_span *moved = td_realloc(table->batch, (size_t)n * sizeof *moved);
        if (moved == NULL) {
            return no_memory();
        }
        table->batch = moved;
        table->batch_capacity = n;
    }
    return TD_OK;
}

static const td_bags *label_bag(const td_table *table, const td_bags *bags) {
    return &bags[table->spec->shape.n_embeddings + (table->spec->wide.count > 0)];
}

/* Puts records [first, first + n) through the columns and on their sides. */
static td_status check_chunk(td_table *table, int64_t first, int64_t n, float *deep) {
    const td_bags *bags;
    TD_TRY(prepare_batch(table, n));
    for (int64_t i = 0; i < n; i++) {
        table->batch[i] = record_of(table, first + i);
    }
    TD_TRY(td_column_plan_run(table->plan, table->batch, n, NULL, NULL, deep,
                              table->spec->shape.width, &bags));
    const td_bags *labels = label_bag(table, bags);
    for (int64_t i = 0; i < n; i++) {
        int32_t count = labels->offsets[i + 1] - labels->offsets[i];
        if (count > 1) {
            return td_fail(TD_EINPUT, "%d labels; expected one", (int)count);
        }
        if (count == 0) {
            table->unlabelled++;
            continue;
        }
        table_side *side = &table->sides[table->held_out[first + i]];
        side->rows[side->count++] = first + i;
        side->classes[labels->ids[labels->offsets[i]]]++;
    }
    return TD_OK;
}

/* The first record that fails alone is what was wrong with a chunk. */
static td_status blame(td_table *table, const td_shards *shards, int64_t first, int64_t n,
                       float *deep, td_status status) {
    for (int64_t i = first; i < first + n; i++) {
        td_status one = check_chunk(table, i, 1, deep);
        if (one != TD_OK) {
            return shards != NULL ? at_place(shards, i, one) : one;
        }
    }
    return status;
}

static td_status check_all(td_table *table, const td_shards *shards) {
    td_status status = TD_OK;
    float *deep = td_alloc((size_t)(CHUNK * table->spec->shape.width) * sizeof *deep);
    for (int s = 0; s < 2; s++) {
        table->sides[s].rows = td_alloc((size_t)(table->count + 1) * sizeof(int64_t));
        table->sides[s].classes =
            td_alloc_zero((size_t)table->spec->shape.classes * sizeof(int64_t));
        if (table->sides[s].rows == NULL || table->sides[s].classes == NULL || deep == NULL) {
            status = no_memory();
        }
    }
    for (int64_t first = 0; first < table->count && status == TD_OK; first += CHUNK) {
        int64_t n = table->count - first < CHUNK ? table->count - first : CHUNK;
        status = check_chunk(table, first, n, deep);
        if (status == TD_EINPUT) {
            status = blame(table, shards, first, n, deep, status);
        }
    }
    td_free(deep);
    return status;
}

static td_status open_table(td_table *table, td_shards **shards) {
    const char *path = table->options.path;
    TD_TRY(make_plan(table));
    if (path != NULL) {
        TD_TRY(td_shards_open(path, shards));
        TD_TRY(read_shards(table, *shards));
    } else {
        TD_TRY(read_synthetic(table));
    }
    TD_TRY(check_all(table, *shards));
    table->order_epoch = -1;
    table->order = td_alloc((size_t)(table->sides[0].count + 1) * sizeof *table->order);
    if (table->order == NULL) {
        return no_memory();
    }
    if (table->sides[0].count == 0) {
        return td_fail(TD_EINPUT,
                       "%s: no record to train on among %lld: %lld have no label that is "
                       "a class",
                       path == NULL ? "(embedded table)" : path, (long long)table->count,
                       (long long)table->unlabelled);
    }
    return TD_OK;
}

td_status td_table_open(const td_table_spec *spec, const td_table_options *options,
                        td_table **out) {
    td_table *table = td_alloc_zero(sizeof *table);
    td_shards *shards = NULL;
    if (table == NULL) {
        return no_memory();
    }
    table->spec = spec;
    table->options = *options;
    td_status status = open_table(table, &shards);
    if (shards != NULL) {
        td_shards_close(shards);
    }
    if (status != TD_OK) {
        td_table_close(table);
        return status;
    }
    *out = table;
    return TD_OK;
}

void td_table_close(td_table *table) {
    if (table == NULL) {
        return;
    }
    for (int s = 0; s < 2; s++) {
        td_free(table->sides[s].rows);
        td_free(table->sides[s].classes);
    }
    td_column_plan_destroy(table->plan);
    td_text_destroy(&table->bytes);
    td_free(table->order);
    td_free(table->ends);
    td_free(table->held_out);
    td_free(table->batch);
    td_free(table);
}

int64_t td_table_count(const td_table *table, bool held_out) {
    return table->sides[held_out].count;
}

int64_t td_table_unlabelled(const td_table *table) {
    return table->unlabelled;
}

const int64_t *td_table_classes(const td_table *table, bool held_out) {
    return table->sides[held_out].classes;
}

/* Fisher and Yates; a permutation evaluated row by row took as long as the columns. */
int64_t td_table_at(td_table *table, uint64_t seed, int64_t position) {
    int64_t count = table->sides[0].count, epoch = position / count;
    if (table->order_epoch != epoch || table->order_seed != seed) {
        td_rng rng = td_rng_make(seed, TD_PURPOSE_SHUFFLE, (uint64_t)epoch);
        for (int64_t i = 0; i < count; i++) {
            int64_t j = (int64_t)td_rng_below(&rng, (uint64_t)i + 1);
            table->order[i] = table->order[j];
            table->order[j] = i;
        }
        table->order_epoch = epoch;
        table->order_seed = seed;
    }
    return table->order[position % count];
}

td_status td_table_read(td_table *table, bool held_out, const int64_t *rows, int64_t n,
                        td_team *team, float *deep, td_table_rows *out) {
    const td_bags *bags;
    TD_TRY(prepare_batch(table, n));
    for (int64_t i = 0; i < n; i++) {
        table->batch[i] = record_of(table, table->sides[held_out].rows[rows[i]]);
    }
    TD_TRY(td_column_plan_run(table->plan, table->batch, n, NULL, team, deep,
                              table->spec->shape.width, &bags));
    *out = (td_table_rows){
        .embeddings = bags,
        .wide = table->spec->wide.count > 0 ? &bags[table->spec->shape.n_embeddings] : NULL,
        .labels = label_bag(table, bags)->ids};
    return TD_OK;
}
