/* SPDX-License-Identifier: Apache-2.0
 * Batches of Examples into arrays, and through feature columns, by number of workers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "bench/case.h"
#include "data/column.h"
#include "data/example_batch.h"

/* About 300 bytes and ten features a record, as tables for ads and ranking have them: 26 floats and
 * 6 integers of fixed number, two lists of strings and one of floats that vary. */
enum { BATCH = 1024, BATCHES = 8, RECORDS = BATCH * BATCHES, SEED = 7, FEATURES = 10 };

typedef struct parse_state {
    td_span *records;
    td_text bytes;
    size_t total_bytes;
    td_example_parser *parser;
    td_parse_feature features[FEATURES];
    int n_features, next;
    td_pool pool, setup_pool;
    td_column_list columns;
    td_array outputs[FEATURES];
} parse_state;

static const struct {
    const char *key;
    td_element_type dtype;
    int64_t values; /* 0: varies */
    int most;
} fields[FEATURES] = {
    {"f_one", TD_ELEMENT_FLOAT32, 1, 1},   {"f_two", TD_ELEMENT_FLOAT32, 1, 1},
    {"f_eight", TD_ELEMENT_FLOAT32, 8, 8}, {"f_sixteen", TD_ELEMENT_FLOAT32, 16, 16},
    {"i_one", TD_ELEMENT_INT64, 1, 1},     {"i_two", TD_ELEMENT_INT64, 1, 1},
    {"i_four", TD_ELEMENT_INT64, 4, 4},    {"b_tags", TD_ELEMENT_BYTES, 0, 3},
    {"b_words", TD_ELEMENT_BYTES, 0, 3},   {"f_list", TD_ELEMENT_FLOAT32, 0, 10},
};

typedef struct field_values {
    float floats[16];
    int64_t ints[16];
    char text[3][12];
    td_span spans[3];
} field_values;

static td_feature make_feature(td_rng *rng, int field, field_values *room) {
    int64_t count = fields[field].values;
    if (count == 0) {
        count = (int64_t)td_rng_below(rng, (uint64_t)fields[field].most + 1);
    }
    for (int64_t i = 0; i < count; i++) {
        room->floats[i] = (float)td_rng_normal(rng);
        room->ints[i] = (int64_t)td_rng_below(rng, UINT64_C(1) << (1 + td_rng_below(rng, 40)));
        if (fields[field].dtype == TD_ELEMENT_BYTES) {
            snprintf(room->text[i], sizeof room->text[i], "word_%06u", td_rng_u32(rng) % 1000000);
            room->spans[i] = (td_span){(const uint8_t *)room->text[i], 11};
        }
    }
    return (td_feature){.key = td_span_text(fields[field].key),
                        .kind = fields[field].dtype == TD_ELEMENT_BYTES     ? TD_FEATURE_BYTES
                                : fields[field].dtype == TD_ELEMENT_FLOAT32 ? TD_FEATURE_FLOAT
                                                                            : TD_FEATURE_INT64,
                        .count = count,
                        .bytes = room->spans,
                        .floats = room->floats,
                        .ints = room->ints};
}

static td_status make_records(parse_state *s) {
    size_t *ends = td_pool_take(&s->setup_pool, (RECORDS + 1) * sizeof *ends);
    s->records = td_pool_take(&s->setup_pool, RECORDS * sizeof *s->records);
    if (ends == NULL || s->records == NULL) {
        return td_fail(TD_ENOMEM, "records");
    }
    ends[0] = 0;
    for (int i = 0; i < RECORDS; i++) {
        td_rng rng = td_rng_make(SEED, TD_PURPOSE_TEST, (uint64_t)i);
        field_values room[FEATURES];
        td_feature features[FEATURES];
        for (int f = 0; f < FEATURES; f++) {
            features[f] = make_feature(&rng, f, &room[f]);
        }
        TD_TRY(td_example_encode(features, FEATURES, &s->bytes));
        ends[i + 1] = s->bytes.size;
    }
    for (int i = 0; i < RECORDS; i++) {
        s->records[i] = (td_span){(const uint8_t *)s->bytes.data + ends[i], ends[i + 1] - ends[i]};
    }
    s->total_bytes = s->bytes.size;
    return TD_OK;
}

/* What is asked for: by the kind that lists which vary are parsed into. */
static const struct {
    const char *id;
    bool fixed, varying, columns;
    td_parse_kind kind;
} variants[] = {
    {"data/parse/dense/300B-b1024", true, false, false, TD_PARSE_FIXED},
    {"data/parse/padded/300B-b1024", true, true, false, TD_PARSE_PADDED},
    {"data/parse/sparse/300B-b1024", true, true, false, TD_PARSE_SPARSE},
    {"data/parse/ragged/300B-b1024", true, true, false, TD_PARSE_RAGGED},
    {"data/columns/dense_layer/300B-b1024", true, true, true, TD_PARSE_SPARSE},
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

static td_status make_parser(parse_state *s, int variant) {
    for (int f = 0; f < FEATURES; f++) {
        bool varies = fields[f].values == 0;
        if (varies ? !variants[variant].varying : !variants[variant].fixed) {
            continue;
        }
        td_parse_feature *feature = &s->features[s->n_features++];
        *feature = (td_parse_feature){.key = td_span_text(fields[f].key),
                                      .kind = varies ? variants[variant].kind : TD_PARSE_FIXED,
                                      .dtype = fields[f].dtype,
                                      .rank = varies ? 0 : 1,
                                      .shape = {fields[f].values},
                                      .splits_dtype = TD_ELEMENT_INT64};
    }
    return td_example_parser_create(s->features, s->n_features, &s->parser);
}

/* Four numbers, two sets of buckets, an indicator and three embeddings: 49 values wide. */
static const char columns_text[] =
    "[{'type':'numeric','key':'f_one'},{'type':'numeric','key':'f_two'},"
    "{'type':'numeric','key':'i_one','dtype':'int64'},"
    "{'type':'numeric','key':'i_two','dtype':'int64'},"
    "{'type':'bucketized','source':{'type':'numeric','key':'f_one'},"
    "'boundaries':[-1,-0.5,0,0.5,1]},"
    "{'type':'bucketized','source':{'type':'numeric','key':'f_two'},'boundaries':[-1,0,1]},"
    "{'type':'indicator','categorical':{'type':'vocab_list','key':'b_tags','vocabulary':"
    "['word_000001','word_000002','word_000003','word_000004','word_000005','word_000006',"
    "'word_000007','word_000008','word_000009','word_000010'],'num_oov_buckets':1}},"
    "{'type':'embedding','dimension':8,'categorical':{'type':'hash_bucket','key':'b_words',"
    "'hash_bucket_size':1000}},"
    "{'type':'embedding','dimension':8,'categorical':{'type':'hash_bucket','key':'i_four',"
    "'dtype':'int64','hash_bucket_size':1000}},"
    "{'type':'embedding','dimension':8,'categorical':{'type':'crossed','keys':['b_tags','b_words'],"
    "'hash_bucket_size':1000}}]";

static td_status make_columns(parse_state *s) {
    char text[sizeof columns_text];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = columns_text[i] == '\'' ? '"' : columns_text[i];
    }
    json_t *list = json_loads(text, 0, NULL);
    td_column_list built;
    td_status status = td_columns_build(list, false, &s->setup_pool, &built);
    json_decref(list);
    TD_TRY(status);
    for (int i = 0; i < built.count; i++) {
        td_column *column = built.columns[i];
        const int64_t shape[2] = {column->buckets, column->dimension};
        if (column->type == TD_COLUMN_EMBEDDING) {
            TD_TRY(td_tensor_take(&s->setup_pool, TD_ELEMENT_FLOAT32, 2, shape, &column->table));
            td_rng rng = td_rng_make(SEED, TD_PURPOSE_INIT, (uint64_t)i);
            for (int64_t j = 0; j < column->table.count; j++) {
                ((float *)column->table.data)[j] = (float)td_rng_normal(&rng);
            }
        }
    }
    return td_columns_sort(&built, &s->setup_pool, &s->columns);
}

static td_status setup_parse(td_bench *bench) {
    parse_state *s = bench->state = td_alloc_zero(sizeof *s);
    int variant = (int)bench->subject->param[0];
    if (s == NULL) {
        return td_fail(TD_ENOMEM, "a data case");
    }
    TD_TRY(make_records(s));
    TD_TRY(make_parser(s, variant));
    return variants[variant].columns ? make_columns(s) : TD_OK;
}

static td_status parse(td_bench *bench, int batch) {
    parse_state *s = bench->state;
    td_pool_reset(&s->pool);
    return td_example_parse_batch(s->parser, s->records + (size_t)batch * BATCH, BATCH, NULL,
                                  bench->team, &s->pool, s->outputs);
}

static td_status layer(parse_state *s, td_tensor *out) {
    td_span keys[FEATURES];
    for (int i = 0; i < s->n_features; i++) {
        keys[i] = s->features[i].key;
    }
    td_feature_map map = {keys, s->outputs, s->n_features};
    return td_columns_dense(&s->columns, &map, &s->pool, out);
}

static const void *values_of(const td_feature *feature) {
    return feature->kind == TD_FEATURE_BYTES   ? (const void *)feature->bytes
           : feature->kind == TD_FEATURE_FLOAT ? (const void *)feature->floats
                                               : (const void *)feature->ints;
}

/* Byte strings point into the record, so equal spans are equal strings. */
static bool same_values(const td_array *value, int64_t row, const td_feature *feature,
                        int64_t *before) {
    const td_tensor *values = value->kind == TD_ARRAY_TENSOR   ? &value->tensor
                              : value->kind == TD_ARRAY_SPARSE ? &value->sparse.values
                                                               : &value->ragged.values;
    int64_t at = *before, count = feature->count;
    size_t bytes = td_element_bytes(values->dtype);
    *before += count;
    if (value->kind == TD_ARRAY_TENSOR) {
        at = row * (values->count / values->shape[0]);
    } else if (value->kind == TD_ARRAY_RAGGED) {
        const int64_t *splits = value->ragged.splits[0].data;
        if (splits[row] != at || splits[row + 1] != at + count) {
            return false;
        }
    }
    for (int64_t i = 0; i < count && value->kind == TD_ARRAY_SPARSE; i++) {
        const int64_t *index = value->sparse.indices + 2 * (at + i);
        if (index[0] != row || index[1] != i) {
            return false;
        }
    }
    return count == 0 || memcmp((const char *)values->data + (size_t)at * bytes, values_of(feature),
                                (size_t)count * bytes) == 0;
}

/* Every value is the one the strict reader of single Examples finds. */
static td_status verify_batch(parse_state *s, int batch) {
    td_example example = {0};
    int64_t before[FEATURES] = {0};
    td_status status = TD_OK;
    for (int64_t row = 0; row < BATCH && status == TD_OK; row++) {
        td_span record = s->records[(int64_t)batch * BATCH + row];
        status = td_example_decode(record.data, record.size, &example);
        for (int f = 0; f < s->n_features && status == TD_OK; f++) {
            const td_feature *feature =
                td_example_find(&example, (const char *)s->features[f].key.data);
            if (feature == NULL || !same_values(&s->outputs[f], row, feature, &before[f])) {
                status = td_fail(TD_ECHECK, "record %lld: feature %s differs", (long long)row,
                                 (const char *)s->features[f].key.data);
            }
        }
    }
    td_example_destroy(&example);
    return status;
}

static td_status verify_parse(td_bench *bench) {
    parse_state *s = bench->state;
    bool columns = variants[bench->subject->param[0]].columns;
    snprintf(bench->outcome->method, sizeof bench->outcome->method,
             columns ? "numbers in place, memcmp:decode" : "memcmp:decode");
    for (int batch = 0; batch < BATCHES; batch++) {
        TD_TRY(parse(bench, batch));
        TD_TRY(verify_batch(s, batch));
    }
    td_tensor out;
    if (columns) {
        TD_TRY(layer(s, &out));
        /* Sorted names put the column f_one first after the embeddings and the indicator. */
        if (out.shape[0] != BATCH || out.shape[1] != 49) {
            return td_fail(TD_ECHECK, "a layer of %lld x %lld", (long long)out.shape[0],
                           (long long)out.shape[1]);
        }
        for (int64_t row = 0; row < BATCH; row++) {
            const float *at = (const float *)out.data + row * 49;
            const float *numbers = s->outputs[0].tensor.data;
            if (at[27] != numbers[row]) {
                return td_fail(TD_ECHECK, "row %lld of the layer has %g for f_one, not %g",
                               (long long)row, (double)at[27], (double)numbers[row]);
            }
        }
    }
    return TD_OK;
}

static td_status step_parse(td_bench *bench) {
    parse_state *s = bench->state;
    TD_TRY(parse(bench, s->next));
    s->next = (s->next + 1) % BATCHES;
    td_tensor out;
    return variants[bench->subject->param[0]].columns ? layer(s, &out) : TD_OK;
}

static void cost_parse(const td_bench *bench, td_cost *out) {
    const parse_state *s = bench->state;
    *out = (td_cost){.value = TD_VALUE_ITEMS,
                     .items = BATCH,
                     .unit = "records/s",
                     .bytes = (double)s->total_bytes / BATCHES,
                     .working_set = (double)s->total_bytes};
}

static void teardown_parse(td_bench *bench) {
    parse_state *s = bench->state;
    td_example_parser_destroy(s->parser);
    td_pool_destroy(&s->pool);
    td_pool_destroy(&s->setup_pool);
    td_text_destroy(&s->bytes);
    td_free(s);
}

static td_status list_parse(const td_workload *self, td_case_list *list) {
    for (int i = 0; i < VARIANTS; i++) {
        td_case *added = td_case_add(list, self, "%s", variants[i].id);
        added->param[0] = i;
        added->quick = true;
    }
    return TD_OK;
}

static bool fits_one_rank(const td_case *subject, const td_layout *layout) {
    (void)subject;
    return layout->ranks == 1;
}

const td_workload td_workload_parse = {
    .name = "parse",
    .list = list_parse,
    .fits = fits_one_rank,
    .setup = setup_parse,
    .verify = verify_parse,
    .step = step_parse,
    .cost = cost_parse,
    .teardown = teardown_parse,
};
